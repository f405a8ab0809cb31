// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/config.hpp>

#include <array>
#include <complex>
#include <cstddef>
#include <string>
#include <type_traits>
#include <vector>

namespace rh {

namespace detail {

/// An enum has a fixed underlying type exactly if it can be list-initialised from 0.
template <class T>
consteval bool is_raw_scalar() {
  if constexpr (std::is_enum_v<T>) {
    return requires { T{0}; } && !std::is_same_v<std::underlying_type_t<T>, bool>;
  } else {
    return std::is_arithmetic_v<T> && !std::is_same_v<T, bool> && !std::is_same_v<T, long double>;
  }
}

}  // namespace detail

/// Whether the bytes of a T are its value, so that arrays of T travel as one block of memory: arithmetic types but
/// bool and long double, enums with a fixed underlying type but bool, std::byte, std::complex, and arrays of these.
/// A struct opts in, if each of its bytes belongs to a member and any bytes make a valid value:
///
///     template <> struct rh::is_raw<vec3> : std::true_type {};
///
/// Precondition of opting in: trivially copyable and aligned to at most 16 bytes, which is checked; no pointer, no
/// bool and no padding inside, which is not.
template <class T>
struct is_raw : std::bool_constant<detail::is_raw_scalar<T>()> {};

template <class T>
struct is_raw<std::complex<T>> : is_raw<T> {};
template <class T, std::size_t N>
struct is_raw<std::array<T, N>> : std::bool_constant<(N > 0) && is_raw<T>::value> {};
template <class T, std::size_t N>
struct is_raw<T[N]> : is_raw<T> {};

namespace detail {

template <class T>
consteval bool checked_is_raw() {
  if constexpr (is_raw<T>::value) {
    static_assert(std::is_trivially_copyable_v<T>,
                  "runhouse: rh::is_raw was specialised for a type that is not trivially copyable; remove that "
                  "specialisation and give the type a serialize()");
    static_assert(alignof(T) <= 16,
                  "runhouse: rh::is_raw was specialised for a type aligned to more than 16 bytes; remove that "
                  "specialisation and give the type a serialize()");
    return true;
  } else {
    return false;
  }
}

}  // namespace detail

/// is_raw<T> without const and volatile; refuses at compile time a type that opted in and must not.
template <class T>
inline constexpr bool is_raw_v = detail::checked_is_raw<std::remove_cv_t<T>>();

namespace wire {

/// Whether a T is a vector or a string of raw elements, which travels as the block of memory that it has.
template <class T>
inline constexpr bool is_raw_array = false;
template <class T, class A>
inline constexpr bool is_raw_array<std::vector<T, A>> = is_raw_v<T>;
template <class C, class Traits, class A>
inline constexpr bool is_raw_array<std::basic_string<C, Traits, A>> = true;

/// The same of one whose memory is its own: none of an allocator that may be gone, or fail in its own way.
template <class T>
inline constexpr bool is_own_raw_array = false;
template <class T>
inline constexpr bool is_own_raw_array<std::vector<T>> = is_raw_v<T>;
template <class C, class Traits>
inline constexpr bool is_own_raw_array<std::basic_string<C, Traits>> = true;

}  // namespace wire

}  // namespace rh
