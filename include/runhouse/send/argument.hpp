// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/function/callable.hpp>
#include <runhouse/rpc/call_argument.hpp>
#include <runhouse/send/ref.hpp>
#include <runhouse/wire/archive.hpp>

#include <concepts>
#include <cstddef>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>

namespace rh::detail {

/// Whether an A is encoded like a parameter P as it is: a std::string for a std::string_view, say, or the reverse.
template <class P, class A>
inline constexpr bool encodes_as = std::same_as<typename parameter<A>::travels, typename parameter<P>::travels>;

/// Whether an argument of type A can be given for a parameter P. An lvalue that cannot be copied can: it is only read.
/// A ref does not convert: what it stands for is not here.
template <class P, class A>
inline constexpr bool fits_parameter = encodes_as<P, A> || std::is_convertible_v<A, typename parameter<P>::stored>;
template <class P, class A>
  requires is_ref<std::remove_cvref_t<A>>
inline constexpr bool fits_parameter<P, A> =
    std::same_as<typename std::remove_cvref_t<A>::value_type, typename parameter<P>::travels>;
template <class P, class A>
  requires is_ref_list<std::remove_cvref_t<A>>
inline constexpr bool fits_parameter<P, A> =
    std::same_as<std::vector<typename std::remove_cvref_t<A>::value_type::value_type>, typename parameter<P>::stored>;

/// An argument for a parameter P, as bytes or refs. Something else than what travels is converted first, as by
/// static_cast.
template <class P, class A>
auto encode_argument(A&& argument) {
  using given = std::remove_cvref_t<A>;
  if constexpr (is_ref<given>) {
    return argument.held();
  } else if constexpr (is_ref_list<given>) {
    std::vector<std::shared_ptr<const value_holder>> list;
    list.reserve(argument.size());
    for (const auto& each : argument) list.push_back(each.held());
    return list;
  } else if constexpr (encodes_as<P, A>) {
    return wire::encode(argument);
  } else {
    using stored = typename parameter<P>::stored;
    return wire::encode(static_cast<stored>(std::forward<A>(argument)));
  }
}

[[gnu::noinline]] inline call_argument to_argument(wire::payload argument) {
  return wire::shared_payload(std::make_shared<const wire::payload>(std::move(argument)));
}
[[gnu::noinline]] inline call_argument to_argument(std::shared_ptr<const value_holder> argument) { return argument; }
[[gnu::noinline]] inline call_argument to_argument(std::vector<std::shared_ptr<const value_holder>> list) {
  return call_argument(std::move(list));
}
[[gnu::noinline]] inline call_arguments begin_arguments(const wire::shared_payload& state, std::size_t count) {
  call_arguments encoded;
  encoded.reserve(count + 1);
  if (state) encoded.push_back(state);
  return encoded;
}

template <class Signature, class... A>
call_arguments encode_arguments(const wire::shared_payload& state, A&&... arguments) {
  call_arguments encoded = begin_arguments(state, sizeof...(A));
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    (encoded.push_back(
         to_argument(encode_argument<std::tuple_element_t<I, typename Signature::parameters>>(std::forward<A>(arguments)))),
     ...);
  }(std::index_sequence_for<A...>());
  return encoded;
}

}  // namespace rh::detail
