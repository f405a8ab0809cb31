// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/rpc/argument_columns.hpp>
#include <runhouse/send/argument.hpp>
#include <runhouse/send/call.hpp>
#include <runhouse/send/each.hpp>
#include <runhouse/send/outcome.hpp>

#include <cstddef>
#include <ranges>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace rh {

namespace detail {

template <class R>
struct map_result {
  using type = std::vector<R>;
};
template <>
struct map_result<void> {
  using type = void;
};

}  // namespace detail

/// Many calls of a function with result R, whose results come back together: a call of std::vector<R>, in the order of
/// the input. The await throws the first error in that order, after all have ended.
template <class R>
class map_call : public call<typename detail::map_result<R>::type> {
  using base = call<typename detail::map_result<R>::type>;

 public:
  using base::base;
  /// In place of the results, what each gave: an error of one does not lose the others.
  /// Errors: errc::already_taken.
  call<std::vector<outcome<R>>> as_outcomes() { return {this->release(), &detail::take_outcomes<R>}; }
};

namespace detail {

template <class P, class Range>
argument_column encode_column(Range&& range) {
  argument_column column;
  if constexpr (std::ranges::sized_range<Range>) column.reserve(static_cast<std::size_t>(std::ranges::size(range)));
  for (auto&& element : range) column.add(encode_argument<P>(std::forward<decltype(element)>(element)));
  return column;
}

inline argument_columns begin_columns(const wire::shared_payload& state) {
  argument_columns columns;
  if (state) columns.broadcast(state);
  return columns;
}

template <class P, class A>
concept spreadable =
    std::ranges::input_range<A> && fits_parameter<P, std::ranges::range_reference_t<A>> && !fits_parameter<P, A>;

template <class... A>
inline constexpr bool any_marked = (is_spread<std::remove_cvref_t<A>> || ...);

template <class Signature, class... A>
argument_columns encode_map(const wire::shared_payload& state, A&&... arguments) {
  argument_columns columns = begin_columns(state);
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    const auto add = [&]<std::size_t At>(std::integral_constant<std::size_t, At>, auto&& argument) {
      using P = std::tuple_element_t<At, typename Signature::parameters>;
      using given = decltype(argument);
      if constexpr (is_spread<std::remove_cvref_t<given>>) {
        columns.spread(encode_column<P>(argument.range));
      } else if constexpr (At == 0 && !any_marked<A...>) {
        columns.spread(encode_column<P>(std::forward<given>(argument)));
      } else {
        columns.broadcast(to_argument(encode_argument<P>(std::forward<given>(argument))));
      }
    };
    (add(std::integral_constant<std::size_t, I>(), std::forward<A>(arguments)), ...);
  }(std::index_sequence_for<A...>());
  return columns;
}

template <class Tuples>
using tuple_of = std::remove_cvref_t<std::ranges::range_reference_t<Tuples>>;

template <class Signature, class Tuples, class... A>
argument_columns encode_starmap(const wire::shared_payload& state, Tuples&& tuples, A&&... rest) {
  using parameters = typename Signature::parameters;
  constexpr std::size_t leading = std::tuple_size_v<tuple_of<Tuples>>;
  std::vector<argument_column> spread(leading);
  for (auto&& element : tuples) {
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      (spread[I].add(encode_argument<std::tuple_element_t<I, parameters>>(std::get<I>(std::forward<decltype(element)>(element)))), ...);
    }(std::make_index_sequence<leading>());
  }
  argument_columns columns = begin_columns(state);
  for (argument_column& column : spread) columns.spread(std::move(column));
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    (columns.broadcast(to_argument(encode_argument<std::tuple_element_t<leading + I, parameters>>(std::forward<A>(rest)))), ...);
  }(std::index_sequence_for<A...>());
  return columns;
}

}  // namespace detail
}  // namespace rh
