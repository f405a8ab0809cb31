// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/send/argument.hpp>
#include <runhouse/send/call.hpp>
#include <runhouse/send/each.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <ranges>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace rh::detail {

/// What map of a function with result R gives.
template <class R>
struct map_result {
  using type = call<std::vector<R>>;
};
template <>
struct map_result<void> {
  using type = call<void>;
};
template <class R>
using map_call = typename map_result<R>::type;

template <class P, class Range>
call_arguments encode_column(Range&& range) {
  call_arguments column;
  if constexpr (std::ranges::sized_range<Range>) column.reserve(static_cast<std::size_t>(std::ranges::size(range)));
  for (auto&& element : range) add_argument(column, encode_argument<P>(std::forward<decltype(element)>(element)));
  return column;
}

/// Columns of one argument each (an empty optional length: the same for every call) as rows of one call each.
class map_rows {
 public:
  explicit map_rows(const wire::shared_payload& state) {
    if (state) broadcast(state);
  }
  void broadcast(call_argument argument) {
    call_arguments one;
    one.push_back(std::move(argument));
    broadcast(std::move(one));
  }
  /// `one` has one element.
  void broadcast(call_arguments one) { columns_.push_back(std::move(one)), is_spread_.push_back(false); }
  void spread(call_arguments column) {
    if (length_ && *length_ != column.size()) {
      fail(errc::length_mismatch, "map: the ranges to be zipped have " + std::to_string(*length_) + " and " +
                                      std::to_string(column.size()) + " elements; nothing was sent");
    }
    length_ = column.size();
    columns_.push_back(std::move(column)), is_spread_.push_back(true);
  }
  std::vector<call_arguments> rows() && {
    std::vector<call_arguments> rows(length_.value_or(0));
    for (std::size_t i = 0; i < rows.size(); ++i) {
      rows[i].reserve(columns_.size());
      for (std::size_t c = 0; c < columns_.size(); ++c) {
        rows[i].push_back(is_spread_[c] ? std::move(columns_[c][i]) : columns_[c].front());
      }
    }
    return rows;
  }

 private:
  std::vector<call_arguments> columns_;
  std::vector<bool> is_spread_;
  std::optional<std::size_t> length_;
};

template <class P, class A>
concept spreadable =
    std::ranges::input_range<A> && fits_parameter<P, std::ranges::range_reference_t<A>> && !fits_parameter<P, A>;

template <class... A>
inline constexpr bool any_marked = (is_spread<std::remove_cvref_t<A>> || ...);

template <class Signature, class... A>
std::vector<call_arguments> encode_map(const wire::shared_payload& state, A&&... arguments) {
  map_rows rows(state);
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    const auto add = [&]<std::size_t At>(std::integral_constant<std::size_t, At>, auto&& argument) {
      using P = std::tuple_element_t<At, typename Signature::parameters>;
      using given = decltype(argument);
      if constexpr (is_spread<std::remove_cvref_t<given>>) {
        rows.spread(encode_column<P>(argument.range));
      } else if constexpr (At == 0 && !any_marked<A...>) {
        rows.spread(encode_column<P>(std::forward<given>(argument)));
      } else {
        call_arguments one;
        add_argument(one, encode_argument<P>(std::forward<given>(argument)));
        rows.broadcast(std::move(one));
      }
    };
    (add(std::integral_constant<std::size_t, I>(), std::forward<A>(arguments)), ...);
  }(std::index_sequence_for<A...>());
  return std::move(rows).rows();
}

template <class Tuples>
using tuple_of = std::remove_cvref_t<std::ranges::range_reference_t<Tuples>>;

template <class Signature, class Tuples, class... A>
std::vector<call_arguments> encode_starmap(const wire::shared_payload& state, Tuples&& tuples, A&&... rest) {
  using parameters = typename Signature::parameters;
  constexpr std::size_t leading = std::tuple_size_v<tuple_of<Tuples>>;
  std::vector<call_arguments> columns(leading);
  for (auto&& element : tuples) {
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      (add_argument(columns[I], encode_argument<std::tuple_element_t<I, parameters>>(
                                    std::get<I>(std::forward<decltype(element)>(element)))),
       ...);
    }(std::make_index_sequence<leading>());
  }
  map_rows rows(state);
  for (call_arguments& column : columns) rows.spread(std::move(column));
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    [[maybe_unused]] const auto add = [&](auto&& encoded) {
      call_arguments one;
      add_argument(one, std::forward<decltype(encoded)>(encoded));
      rows.broadcast(std::move(one));
    };
    (add(encode_argument<std::tuple_element_t<leading + I, parameters>>(std::forward<A>(rest))), ...);
  }(std::index_sequence_for<A...>());
  return std::move(rows).rows();
}

}  // namespace rh::detail
