// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/function/callable.hpp>
#include <runhouse/function/registration.hpp>
#include <runhouse/send/argument.hpp>
#include <runhouse/send/each.hpp>
#include <runhouse/send/map.hpp>

#include <cstddef>
#include <ranges>
#include <tuple>
#include <type_traits>

/// The conditions behind the one-sentence errors of send, which asserts them where the user's own line is the only one
/// between the compiler and the sentence.
namespace rh::detail {

template <class F>
inline constexpr bool is_member_fn = false;
template <auto Function>
inline constexpr bool is_member_fn<fn<Function>> = std::is_member_pointer_v<decltype(Function)>;

template <class P>
inline constexpr bool parameter_travels = dangles<P> || is_stop_token<P> || wire::serializable<typename parameter<P>::travels>;

template <class Signature>
struct signature_checks;
template <class R, class... A>
struct signature_checks<signature<R, A...>> {
  static constexpr bool none_dangles = (!dangles<A> && ...);
  static constexpr bool parameters_travel = (parameter_travels<A> && ...);
  static constexpr bool result_is_value = !std::is_reference_v<R> && !std::is_pointer_v<R>;
  static constexpr bool result_travels = [] {
    if constexpr (std::is_void_v<R> || !result_is_value) {
      return true;
    } else {
      return wire::serializable<std::remove_cv_t<R>>;
    }
  }();
};

template <class F>
struct send_checks {
  static constexpr bool is_free = !is_member_fn<F>;
  static constexpr bool has_signature = !is_free || !std::is_void_v<typename callable<F>::type>;
  static constexpr bool has_no_captures = !has_signature || is_fn<F> || std::is_empty_v<F> || wire::serializable<F>;
  using signature = std::conditional_t<is_free && has_signature, typename callable<F>::type, rh::detail::signature<void>>;
  using on_signature = signature_checks<std::conditional_t<std::is_void_v<signature>, rh::detail::signature<void>, signature>>;
};

template <std::size_t I, class Signature, class... A>
inline constexpr bool nth_fits = [] {
  if constexpr (I < sizeof...(A) && I < Signature::arity) {
    return fits_parameter<std::tuple_element_t<I, typename Signature::parameters>, std::tuple_element_t<I, std::tuple<A...>>>;
  } else {
    return true;
  }
}();

/// Arguments against parameters, by position: the first six by name, then the rest.
template <class Signature, class... A>
struct argument_checks {
  static constexpr std::size_t wanted = travelling<typename Signature::parameters>::count;
  static constexpr bool enough = sizeof...(A) >= wanted;
  static constexpr bool not_more = sizeof...(A) <= wanted;
  template <std::size_t Position>
  static constexpr bool fits = nth_fits<Position - 1, Signature, A...>;
  static constexpr bool rest_fits = []<std::size_t... I>(std::index_sequence<I...>) {
    return (nth_fits<I + 6, Signature, A...> && ...);
  }(std::make_index_sequence<(sizeof...(A) > 6 ? sizeof...(A) - 6 : 0)>());
  static constexpr bool all = enough && not_more && fits<1> && fits<2> && fits<3> && fits<4> && fits<5> && fits<6> && rest_fits;
};

/// An argument of map as one call sees it: an element of what is spread.
template <std::size_t I, class Signature, bool Marked, class A>
struct mapped_argument {
  using type = A;
};
template <std::size_t I, class Signature, bool Marked, class A>
  requires is_spread<std::remove_cvref_t<A>>
struct mapped_argument<I, Signature, Marked, A> {
  using type = std::ranges::range_reference_t<decltype(std::declval<A>().range)>;
};
template <class Signature, class A>
  requires(!is_spread<std::remove_cvref_t<A>> && Signature::arity > 0 &&
           spreadable<std::tuple_element_t<0, typename Signature::parameters>, A>)
struct mapped_argument<0, Signature, false, A> {
  using type = std::ranges::range_reference_t<A>;
};

template <class Signature, class Indices, class... A>
struct mapped_checks;
template <class Signature, std::size_t... I, class... A>
struct mapped_checks<Signature, std::index_sequence<I...>, A...>
    : argument_checks<Signature, typename mapped_argument<I, Signature, any_marked<A...>, A>::type...> {};

template <class Signature, class... A>
struct map_checks : mapped_checks<Signature, std::index_sequence_for<A...>, A...> {
  using base = mapped_checks<Signature, std::index_sequence_for<A...>, A...>;
  static constexpr bool has_range = [] {
    if constexpr (any_marked<A...>) {
      return true;
    } else if constexpr (sizeof...(A) == 0 || Signature::arity == 0) {
      return false;
    } else {
      return spreadable<std::tuple_element_t<0, typename Signature::parameters>, std::tuple_element_t<0, std::tuple<A...>>>;
    }
  }();
  static constexpr bool all = has_range && base::all;
};

template <class T>
concept tuple_like = requires { std::tuple_size<std::remove_cvref_t<T>>::value; };

template <class Signature, class Tuples, class... A>
struct starmap_checks {
  static constexpr bool has_tuples = [] {
    if constexpr (std::ranges::input_range<Tuples>) {
      return tuple_like<std::ranges::range_reference_t<Tuples>>;
    } else {
      return false;
    }
  }();
  template <class Indices>
  struct expanded : std::true_type {};
  template <std::size_t... I>
    requires has_tuples
  struct expanded<std::index_sequence<I...>>
      : std::bool_constant<argument_checks<
            Signature, decltype(std::get<I>(std::declval<std::ranges::range_reference_t<Tuples>>()))..., A...>::all> {};
  static constexpr bool elements_fit = [] {
    if constexpr (has_tuples) {
      return expanded<std::make_index_sequence<std::tuple_size_v<tuple_of<Tuples>>>>::value;
    } else {
      return true;
    }
  }();
  static constexpr bool all = has_tuples && elements_fit;
};

}  // namespace rh::detail
