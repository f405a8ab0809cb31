// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/fork.hpp>
#include <runhouse/async/operation.hpp>

#include <coroutine>
#include <cstddef>
#include <exception>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace rh {

namespace detail {

/// A void result as a value, where results are collected.
template <class T>
using collected_t = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

template <class T>
collected_t<T> collect(ending<T>& e) {
  if constexpr (std::is_void_v<T>) {
    e.take();
    return {};
  } else {
    return e.take();
  }
}

/// What the children of one parent share: their stop, and where it waits for them.
struct children_state {
  explicit children_state(std::size_t children) : join(children) {}
  template <class Forks>
  void start(std::coroutine_handle<> parent, task_context context, Forks& children) {
    join.wait(parent, *context.queue);
    stop.follow(context.stop);
    for (fork& child : children) child.start({context.queue, &stop.token()});
  }
  nested_stop stop;
  join_point join;
};

struct all_ended {
  children_state* state;
  std::exception_ptr* first;
  const std::exception_ptr* mine;
  void operator()(bool failed) const noexcept {
    if (failed) {
      if (!*first) *first = *mine;
      state->stop.request_stop();
    }
    state->join.arrive();
  }
};

template <class... T>
class all_of_pack {
 public:
  using queue_aware = void;
  explicit all_of_pack(task<T>... tasks) : tasks_(std::move(tasks)...), state_(sizeof...(T)) {}
  bool await_ready() const noexcept { return sizeof...(T) == 0; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> h) {
    if constexpr (sizeof...(T) > 0) {
      // All are made before one is started: nothing can throw after that.
      [&]<std::size_t... I>(std::index_sequence<I...>) {
        fork children[] = {run_child(std::move(std::get<I>(tasks_)), std::get<I>(endings_),
                                     all_ended{&state_, &first_, &std::get<I>(endings_).error()})...};
        state_.start(h, h.promise().context, children);
      }(std::index_sequence_for<T...>());
    }
  }
  std::tuple<collected_t<T>...> await_resume() {
    if (first_) std::rethrow_exception(first_);
    return std::apply([](auto&... e) { return std::tuple<collected_t<T>...>(collect(e)...); }, endings_);
  }

 private:
  std::tuple<task<T>...> tasks_;
  std::tuple<ending<T>...> endings_;
  children_state state_;
  std::exception_ptr first_;
};

template <class T>
class all_of_range {
 public:
  using queue_aware = void;
  explicit all_of_range(std::vector<task<T>> tasks) : tasks_(std::move(tasks)), endings_(tasks_.size()), state_(tasks_.size()) {}
  bool await_ready() const noexcept { return tasks_.empty(); }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> h) {
    std::vector<fork> children;
    children.reserve(tasks_.size());
    for (std::size_t i = 0; i < tasks_.size(); ++i) {
      children.push_back(run_child(std::move(tasks_[i]), endings_[i], all_ended{&state_, &first_, &endings_[i].error()}));
    }
    state_.start(h, h.promise().context, children);
  }
  auto await_resume() {
    if (first_) std::rethrow_exception(first_);
    if constexpr (!std::is_void_v<T>) {
      std::vector<T> values;
      values.reserve(endings_.size());
      for (auto& e : endings_) values.push_back(e.take());
      return values;
    }
  }

 private:
  std::vector<task<T>> tasks_;
  std::vector<ending<T>> endings_;
  children_state state_;
  std::exception_ptr first_;
};

}  // namespace detail

/// Runs all at once and gives a tuple of their results (std::monostate for void).
///
/// Cancellation: of all, if the awaiting task is cancelled, or if one of them fails.
/// Errors: the first one's, after all have ended.
template <class... A>
[[nodiscard]] auto when_all(A... awaitables) {
  using awaiter = detail::all_of_pack<std::remove_cvref_t<await_result_t<A>>...>;
  return detail::operation<awaiter, task<std::remove_cvref_t<await_result_t<A>>>...>(as_task(std::move(awaitables))...);
}

/// The same of a range: a std::vector of their results, in order; nothing if they are void.
template <class A>
[[nodiscard]] auto when_all(std::vector<A> awaitables) {
  using T = std::remove_cvref_t<await_result_t<A>>;
  std::vector<task<T>> tasks;
  tasks.reserve(awaitables.size());
  for (A& a : awaitables) tasks.push_back(as_task(std::move(a)));
  return detail::operation<detail::all_of_range<T>, std::vector<task<T>>>(std::move(tasks));
}

}  // namespace rh
