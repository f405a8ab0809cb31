// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/cluster/cluster.hpp>
#include <runhouse/function/registration.hpp>
#include <runhouse/send/argument.hpp>
#include <runhouse/send/call.hpp>
#include <runhouse/send/checks.hpp>
#include <runhouse/send/each.hpp>
#include <runhouse/send/map.hpp>
#include <runhouse/send/ref.hpp>
#include <runhouse/send/stream.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace rh {

// The sentences about arguments, for each function that takes some. Macros, so that the user's own line is the only one
// between the compiler and the sentence.
#define RH_CHECK_ARGUMENTS                                                                                         \
  static_assert(!is_sent || fits::unmarked, "runhouse: rh::each() marks what map() spreads; call .map() instead"); \
  constexpr bool asks = is_sent && fits::unmarked && !fits::refused;                                               \
  static_assert(!asks || fits::enough,                                                                             \
                "runhouse: too few arguments for the function (default arguments do not travel)");                 \
  static_assert(!asks || fits::not_more, "runhouse: too many arguments for the function");                         \
  constexpr bool counts = asks && fits::enough && fits::not_more;                                                  \
  static_assert(!counts || fits::template fits<1>,                                                                 \
                "runhouse: argument 1 does not convert to the function's parameter 1");                            \
  static_assert(!counts || fits::template fits<2>,                                                                 \
                "runhouse: argument 2 does not convert to the function's parameter 2");                            \
  static_assert(!counts || fits::template fits<3>,                                                                 \
                "runhouse: argument 3 does not convert to the function's parameter 3");                            \
  static_assert(!counts || fits::template fits<4>,                                                                 \
                "runhouse: argument 4 does not convert to the function's parameter 4");                            \
  static_assert(!counts || fits::template fits<5>,                                                                 \
                "runhouse: argument 5 does not convert to the function's parameter 5");                            \
  static_assert(!counts || fits::template fits<6>,                                                                 \
                "runhouse: argument 6 does not convert to the function's parameter 6");                            \
  static_assert(!counts || fits::rest_fits,                                                                        \
                "runhouse: an argument after the sixth does not convert to the function's parameter");
#define RH_CHECK_SINGLE                    \
  static_assert(!is_sent || !is_generator, \
                "runhouse: a generator gives its values as a stream; call it, or enqueue() it");
#define RH_CHECK_MAP                                                                                                \
  constexpr bool asks = is_sent && !fits::refused;                                                                  \
  static_assert(                                                                                                    \
      !asks || fits::has_range,                                                                                     \
      "runhouse: map needs a range to spread: mark it with rh::each(), or pass a range of the first parameter's "   \
      "type first");                                                                                                \
  constexpr bool spreads = asks && fits::has_range;                                                                 \
  static_assert(!spreads || fits::enough, "runhouse: too few arguments for the function that map calls");           \
  static_assert(!spreads || fits::not_more, "runhouse: too many arguments for the function that map calls");        \
  static_assert(                                                                                                    \
      !spreads || !fits::enough || !fits::not_more || fits::all,                                                    \
      "runhouse: an argument of map, or an element of a range that it spreads, does not convert to the function's " \
      "parameter");
#define RH_CHECK_STARMAP                                                                                          \
  static_assert(!is_sent || fits::has_tuples, "runhouse: starmap needs a range of tuples as its first argument"); \
  static_assert(                                                                                                  \
      !is_sent || fits::elements_fit,                                                                             \
      "runhouse: the elements of starmap's tuples and the arguments after them do not fit the function's parameters");

/// A callable bound to a cluster: calling it runs it there.
///
///     auto there = gpu.send<&render>();              // an ordinary function
///     rh::send shade([](float x) { return x * x; }, gpu);  // a captureless lambda
///     rh::send filter(gaussian{1.5}, gpu);           // a function object with serialize(): its state travels
///
/// Parameters may be T, const T& and T&& of serializable types; std::string_view and std::span<const raw> view the
/// arguments where they arrive, until the function returns. The result is a value or void, or an rh::task of one: a
/// coroutine runs there to its end.
///
/// Arguments are serialized before a call returns, so nothing of the caller's must outlive it. A large vector or string
/// that is given away to a cluster over a network, `there(std::move(values))`, is sent from where it is, not copied.
/// Executor: any thread may call. Lifetime: keeps its cluster.
template <class F>
class send {
  using problem = detail::send_problem;
  static constexpr problem found = detail::problem_of<F>();
  using signature = typename detail::checked_signature<F, found>::type;
  static constexpr bool is_sent = found == problem::none;
  static constexpr bool carries_state = is_sent && detail::carries_state<F>;
  static constexpr bool is_generator = detail::sent_result<typename signature::result>::is_generator;

 public:
  using result_type = typename detail::sent_result<typename signature::result>::type;
  /// What calling it gives: of a generator, its values as they come.
  using call_type = std::conditional_t<is_generator, stream<result_type>, call<result_type>>;

  /// Errors: errc::impossible_needs where a need makes no sense.
  template <class... Needs>
  send([[maybe_unused]] F f, const cluster& on, const Needs&... needs) : session_(on.session()) {
    static_assert(detail::are_needs<Needs...>,
                  "runhouse: what the calls of a send need is given as rh::gpus, rh::cpus, rh::memory, rh::resource, "
                  "rh::env and rh::cwd");
    if constexpr (carries_state) state_ = std::make_shared<const wire::payload>(wire::encode(f));
    need(needs...);
  }
  template <class... Needs>
    requires(!detail::carries_state<F>)
  explicit send(const cluster& on, const Needs&... needs) : session_(on.session()) {
    static_assert(detail::are_needs<Needs...>,
                  "runhouse: what the calls of a send need is given as rh::gpus, rh::cpus, rh::memory, rh::resource, "
                  "rh::env and rh::cwd");
    need(needs...);
  }

  /// The same, for calls that are made again, up to `times`, if the worker that ran them died: for functions that may
  /// run more than once. Never after an exception.
  send retry(unsigned times) const {
    send with = *this;
    with.options_.retries = times;
    return with;
  }
  /// The same, whose calls run at most `count` at a time, in workers of their own, however many CPUs there are: more
  /// for calls that mostly wait, fewer for those that disturb each other. Precondition: count > 0.
  send workers(unsigned count) const {
    send with = *this;
    rh::needs own = options_.needs ? *options_.needs : rh::needs();
    own.workers = count;
    with.need(own);
    return with;
  }
  /// The same, whose enqueue() uses the queue of that name. Precondition: it is not empty.
  send queue(std::string name) const {
    send with = *this;
    with.options_.queue = std::move(name);
    return with;
  }

  /// Runs it there.
  /// Errors: errc::bad_payload where an argument's own serialize() fails. All else comes out of the await.
  template <class... A>
  call_type operator()(A&&... arguments) const {
    using fits = detail::argument_checks<signature, A...>;
    RH_CHECK_ARGUMENTS
    if constexpr (counts && fits::all) {
      return start(detail::encode_arguments<signature>(*session_, state_, std::forward<A>(arguments)...), options_);
    } else {
      return {{}, nullptr};
    }
  }

  /// Runs it there when those that were enqueued before have ended: one at a time, in this order, per queue. The queue
  /// is the function's own, unless queue() has named another. Errors: as operator().
  template <class... A>
  call_type enqueue(A&&... arguments) const {
    using fits = detail::argument_checks<signature, A...>;
    RH_CHECK_ARGUMENTS
    if constexpr (counts && fits::all) {
      detail::call_options options = options_;
      if (options.queue.empty()) options.queue = detail::registration<F>::get().name;
      options.is_queued = true;
      return start(detail::encode_arguments<signature>(*session_, state_, std::forward<A>(arguments)...), options);
    } else {
      return {{}, nullptr};
    }
  }

  /// Runs it `times` times with the same arguments, in parallel over the workers.
  template <class... A>
  map_call<result_type> repeat(std::size_t times, A&&... arguments) const {
    RH_CHECK_SINGLE
    using fits = detail::argument_checks<signature, A...>;
    RH_CHECK_ARGUMENTS
    if constexpr (counts && fits::all) {
      return gather(
          detail::argument_columns(times, detail::encode_arguments<signature>(*session_, state_, std::forward<A>(arguments)...)));
    } else {
      return map_call<result_type>({}, nullptr);
    }
  }

  /// Runs it there and leaves the result there: a ref, at once, before anything has left. Given to a send of the same
  /// cluster it stands for the result, which need not exist yet; awaited, it is fetched.
  /// Errors: as operator(). errc::ref_elsewhere if an argument is a ref of another cluster.
  template <class... A>
  ref<result_type> remote(A&&... arguments) const {
    RH_CHECK_SINGLE
    using fits = detail::argument_checks<signature, A...>;
    RH_CHECK_ARGUMENTS
    if constexpr (counts && fits::all) {
      return leave(detail::encode_arguments<signature>(*session_, state_, std::forward<A>(arguments)...));
    } else {
      return ref<result_type>(nullptr);
    }
  }

  /// Runs it once for each element of the ranges marked rh::each, in parallel over the workers; gives the results in
  /// the order of the input. Several ranges are zipped; everything else goes to every call. Where nothing is marked,
  /// a first argument that is a range of the first parameter's type is spread.
  ///
  /// Errors: errc::length_mismatch, before anything is sent. At the await, after all have ended, the first error in
  /// the order of the input; `as_outcomes()` in its place gives all of them.
  template <class... A>
  auto map(A&&... arguments) const {
    RH_CHECK_SINGLE
    using fits = detail::map_checks<signature, A...>;
    RH_CHECK_MAP
    if constexpr (spreads && fits::all) {
      return gather(detail::encode_map<signature>(state_, std::forward<A>(arguments)...));
    } else {
      return map_call<result_type>({}, nullptr);
    }
  }

  /// The same, with the results as they come, each with its place in the input, and errors among them. What is not
  /// taken holds further calls back.
  /// Errors: errc::length_mismatch, before anything is sent.
  template <class... A>
  stream<completed<result_type>> map_as_completed(A&&... arguments) const {
    RH_CHECK_SINGLE
    using fits = detail::map_checks<signature, A...>;
    RH_CHECK_MAP
    if constexpr (spreads && fits::all) {
      return {session_->map(detail::registration<F>::get(),
                            detail::encode_map<signature>(state_, std::forward<A>(arguments)...), options_,
                            detail::map_results::one_by_one),
              &detail::take_completed<result_type>};
    } else {
      return {{}, nullptr};
    }
  }

  /// The same, with the results left there. A std::vector of refs is what a send takes for a std::vector parameter.
  /// Errors: errc::length_mismatch, before anything is sent.
  template <class... A>
  std::vector<ref<result_type>> map_remote(A&&... arguments) const {
    RH_CHECK_SINGLE
    using fits = detail::map_checks<signature, A...>;
    RH_CHECK_MAP
    if constexpr (spreads && fits::all) {
      return leave_each(detail::encode_map<signature>(state_, std::forward<A>(arguments)...));
    } else {
      return {};
    }
  }

  /// As map, for a range of tuples (or pairs), each the leading arguments of one call; the rest goes to every call.
  template <class Tuples, class... A>
  auto starmap(Tuples&& tuples, A&&... rest) const {
    RH_CHECK_SINGLE
    using fits = detail::starmap_checks<signature, Tuples, A...>;
    RH_CHECK_STARMAP
    if constexpr (is_sent && fits::all) {
      return gather(detail::encode_starmap<signature>(state_, std::forward<Tuples>(tuples), std::forward<A>(rest)...));
    } else {
      return map_call<result_type>({}, nullptr);
    }
  }

  /// The same, with the results left there.
  template <class Tuples, class... A>
  std::vector<ref<result_type>> starmap_remote(Tuples&& tuples, A&&... rest) const {
    RH_CHECK_SINGLE
    using fits = detail::starmap_checks<signature, Tuples, A...>;
    RH_CHECK_STARMAP
    if constexpr (is_sent && fits::all) {
      return leave_each(
          detail::encode_starmap<signature>(state_, std::forward<Tuples>(tuples), std::forward<A>(rest)...));
    } else {
      return {};
    }
  }

 private:
  template <class... Needs>
  void need(const Needs&... needs) {
    if constexpr (sizeof...(Needs) > 0 && detail::are_needs<Needs...>) options_.set(rh::needs(needs...));
  }
  call_type start(detail::call_arguments arguments, const detail::call_options& options) const {
    if constexpr (is_generator) {
      return {session_->generate(detail::registration<F>::get(), std::move(arguments), options), &detail::take_item<result_type>};
    } else {
      return {session_->call(detail::registration<F>::get(), std::move(arguments), options), &detail::take_one<result_type>};
    }
  }
  map_call<result_type> gather(detail::argument_columns arguments) const {
    auto all = session_->map(detail::registration<F>::get(), std::move(arguments), options_, detail::map_results::all);
    if constexpr (std::is_void_v<result_type>) {
      return {std::move(all), &detail::take_all_void};
    } else {
      return {std::move(all), &detail::take_all<result_type>};
    }
  }
  ref<result_type> leave(detail::call_arguments arguments) const {
    return ref<result_type>(session_->keep(detail::registration<F>::get(), std::move(arguments), options_));
  }
  std::vector<ref<result_type>> leave_each(detail::argument_columns arguments) const {
    std::vector<ref<result_type>> refs;
    refs.reserve(arguments.size());
    for (std::size_t i = 0; i < arguments.size(); ++i) refs.push_back(leave(arguments.take(i)));
    return refs;
  }

  std::shared_ptr<detail::session> session_;
  wire::shared_payload state_;
  detail::call_options options_{detail::receiver_of<result_type>()};

  // Last, since clang reads no further in a class where one fails.
  static_assert(
      found != problem::member_function,
      "runhouse: a member function cannot be sent; send a free function that takes the object, or a function object");
  static_assert(
      found != problem::function_pointer,
      "runhouse: a pointer does not name its function; write cluster.send<&function>() in place of rh::send(&function, "
      "cluster)");
  static_assert(
      found != problem::unknown_signature,
      "runhouse: the parameter types of a generic lambda, an overloaded operator() or a variadic function are not "
      "known; send one with definite types");
  static_assert(
      found != problem::capture,
      "runhouse: a lambda that captures cannot be sent; pass the value as an argument, or make it a struct with "
      "serialize()");
  static_assert(
      found != problem::state,
      "runhouse: a function object with members needs a serialize() to be sent, which takes them along; give it one");
  static_assert(
      found != problem::construction,
      "runhouse: a function object without members is made anew where it runs; give it a default constructor");
  static_assert(
      found != problem::dangling_parameter,
      "runhouse: a parameter that is a pointer, a non-const reference or a std::span of non-const would refer to "
      "nothing there; take a value, std::string_view or std::span<const T>");
  static_assert(
      found != problem::ref_parameter,
      "runhouse: a function takes values, not rh::ref; let it take the T, and pass the rh::ref<T> to the send");
  static_assert(found != problem::stop_token_place,
                "runhouse: a std::stop_token must be the last parameter; move it there");
  static_assert(found != problem::long_double,
                "runhouse: long double is not the same on all machines; take and return double");
  static_assert(found != problem::map, "runhouse: to send a std::map, include <cereal/types/map.hpp>");
  static_assert(found != problem::set, "runhouse: to send a std::set, include <cereal/types/set.hpp>");
  static_assert(found != problem::unordered_map,
                "runhouse: to send a std::unordered_map, include <cereal/types/unordered_map.hpp>");
  static_assert(found != problem::unordered_set,
                "runhouse: to send a std::unordered_set, include <cereal/types/unordered_set.hpp>");
  static_assert(found != problem::list, "runhouse: to send a std::list, include <cereal/types/list.hpp>");
  static_assert(found != problem::forward_list,
                "runhouse: to send a std::forward_list, include <cereal/types/forward_list.hpp>");
  static_assert(found != problem::deque, "runhouse: to send a std::deque, include <cereal/types/deque.hpp>");
  static_assert(found != problem::queue, "runhouse: to send a std::queue, include <cereal/types/queue.hpp>");
  static_assert(found != problem::stack, "runhouse: to send a std::stack, include <cereal/types/stack.hpp>");
  static_assert(found != problem::variant, "runhouse: to send a std::variant, include <cereal/types/variant.hpp>");
  static_assert(found != problem::memory,
                "runhouse: to send a std::unique_ptr or std::shared_ptr, include <cereal/types/memory.hpp>");
  static_assert(found != problem::chrono, "runhouse: to send a type of std::chrono, include <cereal/types/chrono.hpp>");
  static_assert(found != problem::bitset, "runhouse: to send a std::bitset, include <cereal/types/bitset.hpp>");
  static_assert(found != problem::valarray, "runhouse: to send a std::valarray, include <cereal/types/valarray.hpp>");
  static_assert(found != problem::atomic, "runhouse: to send a std::atomic, include <cereal/types/atomic.hpp>");
  static_assert(found != problem::parameter,
                "runhouse: a parameter cannot be serialized; give its type a serialize() and a default constructor");
  static_assert(found != problem::result_reference,
                "runhouse: a function that returns a reference or a pointer cannot be sent; return a value");
  static_assert(found != problem::result_view,
                "runhouse: a function that returns a view cannot be sent; return a std::string or a std::vector");
  static_assert(
      found != problem::result_ref,
      "runhouse: a function returns a value, not rh::ref; call it with .remote(), which leaves the value there");
  static_assert(found != problem::result,
                "runhouse: the result cannot be serialized; give its type a serialize() and a default constructor");
};

#undef RH_CHECK_ARGUMENTS
#undef RH_CHECK_MAP
#undef RH_CHECK_SINGLE
#undef RH_CHECK_STARMAP

template <class F, class... Needs>
send(F, const cluster&, const Needs&...) -> send<F>;

template <auto Function, class... Needs>
rh::send<fn<Function>> cluster::send(const Needs&... needs) const {
  static_assert(detail::are_needs<Needs...>,
                "runhouse: what the calls of a send need is given as rh::gpus, rh::cpus, rh::memory, rh::resource, "
                "rh::env and rh::cwd");
  if constexpr (detail::are_needs<Needs...>) {
    return rh::send<fn<Function>>(*this, needs...);
  } else {
    return rh::send<fn<Function>>(*this);
  }
}

}  // namespace rh
