// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/generator.hpp>
#include <runhouse/async/task.hpp>
#include <runhouse/function/fn.hpp>
#include <runhouse/wire/archive.hpp>

#include <concepts>
#include <cstddef>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <vector>

/// What can be sent: the result and parameter types of a callable, and which of them can travel.
namespace rh::detail {

template <class R, class... A>
struct signature {
  using result = R;
  using parameters = std::tuple<A...>;
  using type = R(A...);
  static constexpr std::size_t arity = sizeof...(A);
};

/// The signature of a callable; void where it has none that is certain (generic, overloaded, variadic).
template <class F>
struct callable {
  using type = void;
};
template <class R, class... A>
struct callable<R(A...)> {
  using type = signature<R, A...>;
};
template <class R, class... A>
struct callable<R(A...) noexcept> : callable<R(A...)> {};
template <class R, class... A>
struct callable<R (*)(A...)> : callable<R(A...)> {};
template <class R, class... A>
struct callable<R (*)(A...) noexcept> : callable<R(A...)> {};
template <class C, class R, class... A>
struct callable<R (C::*)(A...) const> : callable<R(A...)> {};
template <class C, class R, class... A>
struct callable<R (C::*)(A...) const noexcept> : callable<R(A...)> {};
template <class C, class R, class... A>
struct callable<R (C::*)(A...) const&> : callable<R(A...)> {};
template <class C, class R, class... A>
struct callable<R (C::*)(A...) const & noexcept> : callable<R(A...)> {};
template <class C, class R, class... A>
struct callable<R (C::*)(A...)> : callable<R(A...)> {};
template <class C, class R, class... A>
struct callable<R (C::*)(A...) noexcept> : callable<R(A...)> {};
template <class C, class R, class... A>
struct callable<R (C::*)(A...)&> : callable<R(A...)> {};
template <class C, class R, class... A>
struct callable<R (C::*)(A...) & noexcept> : callable<R(A...)> {};
template <auto Function>
  requires(!std::is_member_pointer_v<decltype(Function)>)
struct callable<fn<Function>> : callable<std::remove_const_t<decltype(Function)>> {};  // g++ adds const to a lambda's
template <class F>
  requires requires { &F::operator(); }
struct callable<F> : callable<decltype(&F::operator())> {};

template <class T>
inline constexpr bool is_fn = false;
template <auto Function>
inline constexpr bool is_fn<fn<Function>> = true;

/// A parameter without what says only how it is passed: what is encoded for it.
template <class P>
struct parameter {
  using stored = std::remove_cvref_t<P>;
  using travels = stored;
  static constexpr bool is_view = false;
};
template <class P>
  requires std::same_as<std::remove_cvref_t<P>, std::string_view>
struct parameter<P> {
  using stored = std::string_view;
  using travels = std::string;
  static constexpr bool is_view = true;
};
template <class T>
inline constexpr bool is_raw_span = false;
template <class T>
  requires is_raw_v<T>
inline constexpr bool is_raw_span<std::span<T>> = true;
template <class P>
  requires is_raw_span<std::remove_cvref_t<P>>
struct parameter<P> {
  using stored = std::remove_cvref_t<P>;
  using travels = std::vector<typename stored::value_type>;
  static constexpr bool is_view = true;
};

/// A function that is a coroutine gives what its task gives; a generator gives several.
template <class R>
struct sent_result {
  using type = R;
  static constexpr bool is_task = false;
  static constexpr bool is_generator = false;
};
template <class R>
struct sent_result<task<R>> : sent_result<R> {
  static constexpr bool is_task = true;
};
template <class T>
struct sent_result<generator<T>> : sent_result<T> {
  static constexpr bool is_generator = true;
};

/// A parameter for which a list of values can be given, each an element: a std::vector.
template <class T>
inline constexpr bool takes_list = false;
template <class T>
inline constexpr bool takes_list<std::vector<T>> = true;

/// A parameter that would refer to something of the caller's, or of nobody: T&, T*, std::span<T>.
template <class T>
inline constexpr bool is_mutable_span = false;
template <class T>
inline constexpr bool is_mutable_span<std::span<T>> = !std::is_const_v<T>;
template <class P>
inline constexpr bool dangles = (std::is_lvalue_reference_v<P> && !std::is_const_v<std::remove_reference_t<P>>) ||
                                std::is_pointer_v<std::remove_cvref_t<P>> || is_mutable_span<std::remove_cvref_t<P>>;

/// The last parameter, where it is a std::stop_token, is given by the worker and does not travel.
template <class P>
inline constexpr bool is_stop_token = std::same_as<std::remove_cvref_t<P>, std::stop_token>;

template <class Parameters>
struct travelling;
template <>
struct travelling<std::tuple<>> {
  static constexpr std::size_t count = 0;
  static constexpr bool takes_stop_token = false;
};
template <class... P>
struct travelling<std::tuple<P...>> {
  using last = std::tuple_element_t<sizeof...(P) - 1, std::tuple<P...>>;
  static constexpr bool takes_stop_token = is_stop_token<last>;
  static constexpr std::size_t count = sizeof...(P) - (takes_stop_token ? 1 : 0);
};

}  // namespace rh::detail
