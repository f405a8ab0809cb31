// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/when_all.hpp>
#include <runhouse/core/error.hpp>

#include <cstddef>
#include <optional>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

namespace rh {

/// The first of several: which one, and what it gave (std::monostate for void).
template <class T>
struct any_result {
  std::size_t index;
  detail::collected_t<T> value;
};

namespace detail {

struct any_state : children_state {
  using children_state::children_state;
  std::optional<std::size_t> winner;
};

struct any_ended {
  any_state* state;
  std::size_t index;
  void operator()(bool) const noexcept {
    if (!state->winner) {
      state->winner = index;
      state->stop.request_stop();
    }
    state->join.arrive();
  }
};

template <class... T>
class any_of_pack {
 public:
  using queue_aware = void;
  using value_type = std::variant<collected_t<T>...>;
  explicit any_of_pack(task<T>... tasks) : tasks_(std::move(tasks)...), state_(sizeof...(T)) {}
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> h) {
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      fork children[] = {run_child(std::move(std::get<I>(tasks_)), std::get<I>(endings_), any_ended{&state_, I})...};
      state_.start(h, h.promise().context, children);
    }(std::index_sequence_for<T...>());
  }
  value_type await_resume() { return take<0>(); }

 private:
  template <std::size_t I>
  value_type take() {
    if constexpr (I + 1 < sizeof...(T)) {
      if (*state_.winner != I) return take<I + 1>();
    }
    return value_type(std::in_place_index<I>, collect(std::get<I>(endings_)));
  }

  std::tuple<task<T>...> tasks_;
  std::tuple<ending<T>...> endings_;
  any_state state_;
};

template <class T>
class any_of_range {
 public:
  using queue_aware = void;
  explicit any_of_range(std::vector<task<T>> tasks) : tasks_(std::move(tasks)), endings_(tasks_.size()), state_(tasks_.size()) {}
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> h) {
    std::vector<fork> children;
    children.reserve(tasks_.size());
    for (std::size_t i = 0; i < tasks_.size(); ++i) {
      children.push_back(run_child(std::move(tasks_[i]), endings_[i], any_ended{&state_, i}));
    }
    state_.start(h, h.promise().context, children);
  }
  any_result<T> await_resume() {
    const std::size_t i = *state_.winner;
    return {i, collect(endings_[i])};
  }

 private:
  std::vector<task<T>> tasks_;
  std::vector<ending<T>> endings_;
  any_state state_;
};

}  // namespace detail

/// Runs all at once; the first that ends decides, the others are cancelled and waited for. Gives a std::variant whose
/// index() tells which (std::monostate for void). What a loser gave before it could be cancelled is dropped.
///
/// Errors: the first one's, if it ended by an exception.
template <class... A>
  requires(sizeof...(A) > 0)
[[nodiscard]] auto when_any(A... awaitables) {
  using awaiter = detail::any_of_pack<std::remove_cvref_t<await_result_t<A>>...>;
  return detail::operation<awaiter, task<std::remove_cvref_t<await_result_t<A>>>...>(as_task(std::move(awaitables))...);
}

/// The same of a range: rh::any_result{index, value}.
///
/// Errors: errc::length_mismatch for an empty range, which has no first.
template <class A>
[[nodiscard]] auto when_any(std::vector<A> awaitables) {
  using T = std::remove_cvref_t<await_result_t<A>>;
  if (awaitables.empty()) fail(errc::length_mismatch, "when_any: the range is empty, so none can be first");
  std::vector<task<T>> tasks;
  tasks.reserve(awaitables.size());
  for (A& a : awaitables) tasks.push_back(as_task(std::move(a)));
  return detail::operation<detail::any_of_range<T>, std::vector<task<T>>>(std::move(tasks));
}

}  // namespace rh
