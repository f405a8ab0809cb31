// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/function/callable.hpp>
#include <runhouse/function/fn.hpp>
#include <runhouse/send/argument.hpp>
#include <runhouse/send/each.hpp>
#include <runhouse/send/map.hpp>
#include <runhouse/wire/archive.hpp>

#include <concepts>
#include <cstddef>
#include <ranges>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

/// The conditions behind the one-sentence errors of send, which asserts them where the user's own line is the only one
/// between the compiler and the sentence.
namespace rh::detail {

template <class F>
inline constexpr bool is_member_fn = false;
template <auto Function>
inline constexpr bool is_member_fn<fn<Function>> = std::is_member_pointer_v<decltype(Function)>;

template <class T>
inline constexpr bool is_function_pointer = std::is_pointer_v<T> && std::is_function_v<std::remove_pointer_t<T>>;

/// Whether F is the type of a lambda, by what the compilers call those.
template <class F>
inline constexpr bool is_lambda = wire::detail::spelled<F>().find("<lambda") != std::string_view::npos ||
                                  wire::detail::spelled<F>().find("(lambda at") != std::string_view::npos;

/// What is wrong with a callable; the first that applies, so that one sentence is said and not five.
enum class send_problem {
  none,
  member_function,
  function_pointer,
  unknown_signature,
  capture,
  state,
  construction,
  dangling_parameter,
  ref_parameter,
  stop_token_place,
  long_double,
  map,
  set,
  unordered_map,
  unordered_set,
  list,
  forward_list,
  deque,
  queue,
  stack,
  variant,
  memory,
  chrono,
  bitset,
  valarray,
  atomic,
  parameter,
  result_reference,
  result_view,
  result_ref,
  result,
};

/// The problem of a type that cannot be serialized: the cereal header that it lacks, or else `otherwise`.
template <class T>
consteval send_problem travel_problem(send_problem otherwise) {
  if constexpr (wire::serializable<T>) {
    return send_problem::none;
  } else if constexpr (std::is_same_v<T, long double>) {
    return send_problem::long_double;
  } else {
    using enum send_problem;
    constexpr std::pair<std::string_view, send_problem> headers[] = {
        {"map", map},
        {"set", set},
        {"unordered_map", unordered_map},
        {"unordered_set", unordered_set},
        {"list", list},
        {"deque", deque},
        {"forward_list", forward_list},
        {"queue", queue},
        {"stack", stack},
        {"chrono", chrono},
        {"variant", variant},
        {"memory", memory},
        {"bitset", bitset},
        {"atomic", atomic},
        {"valarray", valarray},
    };
    if (const char* missing = wire::missing_header<T>()) {
      std::string_view name = missing;  // "cereal/types/map.hpp"
      name.remove_prefix(name.rfind('/') + 1);
      name.remove_suffix(std::string_view(".hpp").size());
      for (const auto& [header, problem] : headers) {
        if (name == header) return problem;
      }
    }
    return otherwise;
  }
}

template <class P, bool IsLast>
consteval send_problem parameter_problem() {
  if constexpr (dangles<P>) {
    return send_problem::dangling_parameter;
  } else if constexpr (is_ref<std::remove_cvref_t<P>> || is_ref_list<std::remove_cvref_t<P>>) {
    return send_problem::ref_parameter;
  } else if constexpr (is_stop_token<P>) {
    return IsLast ? send_problem::none : send_problem::stop_token_place;
  } else {
    return travel_problem<typename parameter<P>::travels>(send_problem::parameter);
  }
}

template <class R>
consteval send_problem result_problem() {
  if constexpr (std::is_void_v<R>) {
    return send_problem::none;
  } else if constexpr (std::is_reference_v<R> || std::is_pointer_v<R>) {
    return send_problem::result_reference;
  } else if constexpr (!std::same_as<typename parameter<R>::travels, std::remove_cv_t<R>>) {
    return send_problem::result_view;
  } else if constexpr (is_ref<R> || is_ref_list<R>) {
    return send_problem::result_ref;
  } else {
    return travel_problem<std::remove_cv_t<R>>(send_problem::result);
  }
}

template <class R, class... A>
consteval send_problem signature_problem(std::type_identity<signature<R, A...>>) {
  return []<std::size_t... I>(std::index_sequence<I...>) {
    for (const send_problem p : {parameter_problem<A, I + 1 == sizeof...(A)>()..., result_problem<typename sent_result<R>::type>()}) {
      if (p != send_problem::none) return p;
    }
    return send_problem::none;
  }(std::index_sequence_for<A...>());
}

template <class F>
consteval send_problem problem_of() {
  if constexpr (is_member_fn<F>) {
    return send_problem::member_function;
  } else if constexpr (is_function_pointer<F>) {
    return send_problem::function_pointer;
  } else if constexpr (std::is_void_v<typename callable<F>::type>) {
    return send_problem::unknown_signature;
  } else if constexpr (std::is_empty_v<F> && !std::is_default_constructible_v<F>) {
    return send_problem::construction;
  } else if constexpr (!std::is_empty_v<F> && !wire::serializable<F>) {
    return is_lambda<F> ? send_problem::capture : send_problem::state;
  } else {
    return signature_problem(std::type_identity<typename callable<F>::type>());
  }
}

/// The signature of F; where F cannot be sent, one that brings no further errors.
template <class F, send_problem Problem>
struct checked_signature {
  using type = signature<void>;
};
template <class F>
struct checked_signature<F, send_problem::none> : callable<F> {
  using type = typename callable<F>::type;
};

template <std::size_t I, class Signature, class... A>
inline constexpr bool nth_fits = [] {
  if constexpr (I < sizeof...(A) && I < Signature::arity) {
    return fits_parameter<std::tuple_element_t<I, typename Signature::parameters>,
                          std::tuple_element_t<I, std::tuple<A...>>>;
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
  static constexpr bool unmarked = !(is_spread<std::remove_cvref_t<A>> || ...);
  static constexpr bool refused = (std::same_as<std::remove_cvref_t<A>, refused_range> || ...);  // each() has said why
  static constexpr bool all =
      enough && not_more && fits<1> && fits<2> && fits<3> && fits<4> && fits<5> && fits<6> && rest_fits;
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
      return spreadable<std::tuple_element_t<0, typename Signature::parameters>,
                        std::tuple_element_t<0, std::tuple<A...>>>;
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
