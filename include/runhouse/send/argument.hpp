// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/limits.hpp>
#include <runhouse/function/callable.hpp>
#include <runhouse/rpc/call_argument.hpp>
#include <runhouse/rpc/session.hpp>
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

/// Whether an argument of type A may be taken over instead of copied: one that is given away, and travels as its memory.
template <class A>
inline constexpr bool may_be_taken = !std::is_lvalue_reference_v<A> && !std::is_const_v<std::remove_reference_t<A>> && wire::is_own_raw_array<std::remove_reference_t<A>>;

/// An argument for a parameter P, as bytes or refs. Something else than what travels is converted first, as by
/// static_cast. `to_far`: it goes over a network, so a large one that is given away is sent from where it is.
template <class P, class A>
auto encode_argument(A&& argument, bool to_far = false) {
  using given = std::remove_cvref_t<A>;
  if constexpr (is_ref<given>) {
    return argument.held();
  } else if constexpr (is_ref_list<given>) {
    std::vector<std::shared_ptr<const value_holder>> list;
    list.reserve(argument.size());
    for (const auto& each : argument) list.push_back(each.held());
    return list;
  } else if constexpr (encodes_as<P, A>) {
    if constexpr (may_be_taken<A>) {
      if (to_far && argument.size() * sizeof(typename given::value_type) >= limits::memory_file_bytes) return wire::encode_taken(std::forward<A>(argument));
    }
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
call_arguments encode_arguments(const session& to, const wire::shared_payload& state, A&&... arguments) {
  call_arguments encoded = begin_arguments(state, sizeof...(A));
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    (encoded.push_back(
         to_argument(encode_argument<std::tuple_element_t<I, typename Signature::parameters>>(std::forward<A>(arguments), to.is_far()))),
     ...);
  }(std::index_sequence_for<A...>());
  return encoded;
}

}  // namespace rh::detail
