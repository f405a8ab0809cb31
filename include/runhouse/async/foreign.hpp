// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/run_queue.hpp>

#include <coroutine>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

namespace rh::detail {

/// Itself to be suspended on, with no operator co_await in between.
template <class A>
concept awaiter = requires(A& a) { a.await_ready(); };

/// What is awaited instead of an awaiter that is named by a reference: g++ 12 would copy that one, or move it.
template <awaiter A>
class awaiter_reference {
 public:
  explicit awaiter_reference(A& to) noexcept : to_(&to) {}
  bool await_ready() { return static_cast<bool>(to_->await_ready()); }
  template <class Promise>
  decltype(auto) await_suspend(std::coroutine_handle<Promise> h) {
    return to_->await_suspend(h);
  }
  decltype(auto) await_resume() { return to_->await_resume(); }

 private:
  A* to_;
};

/// A coroutine that starts at once and cleans up after itself.
struct detached {
  struct promise_type {
    detached get_return_object() const noexcept { return {}; }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
  };
};

/// Lets a task await an awaitable of another library: wherever that one resumes, the task goes on through its own
/// queue. Such an await is not cancellable, since nothing is known of it.
/// Lifetime: refers to the awaitable, which lives as long as the co_await expression, and need not be movable.
template <class A>
class foreign_awaiter {
  template <class B>
  static decltype(auto) resume_of(B&& b) {
    if constexpr (requires { std::forward<B>(b).operator co_await(); }) {
      return std::forward<B>(b).operator co_await().await_resume();
    } else if constexpr (requires { operator co_await(std::forward<B>(b)); }) {
      return operator co_await(std::forward<B>(b)).await_resume();
    } else {
      return std::forward<B>(b).await_resume();
    }
  }
  using raw_result = decltype(resume_of(std::declval<A>()));
  static_assert(!std::is_reference_v<raw_result>, "runhouse: await this in a coroutine of its own library; it gives a reference");
  using stored = std::conditional_t<std::is_void_v<raw_result>, std::monostate, raw_result>;

 public:
  using queue_aware = void;

  explicit foreign_awaiter(A&& awaitable) noexcept : awaitable_(std::forward<A>(awaitable)) {}

  bool await_ready() const noexcept { return false; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> h) {
    node_.coroutine = h;
    queue_ = h.promise().context.queue;
    wait(*this);
  }
  raw_result await_resume() {
    if (error_) std::rethrow_exception(error_);
    if constexpr (!std::is_void_v<raw_result>) return std::move(*value_);
  }

 private:
  RH_TEMPLATE_COROUTINE static detached wait(foreign_awaiter& self) {
    try {
      if constexpr (awaiter<A> && std::is_void_v<raw_result>) {
        co_await awaiter_reference(self.awaitable_);
      } else if constexpr (std::is_void_v<raw_result>) {
        co_await std::forward<A>(self.awaitable_);
      } else if constexpr (awaiter<A>) {
        self.value_.emplace(co_await awaiter_reference(self.awaitable_));
      } else {
        self.value_.emplace(co_await std::forward<A>(self.awaitable_));
      }
    } catch (...) {
      self.error_ = std::current_exception();
    }
    self.queue_->post(self.node_);  // the task may now end, and `self` with it
  }

  A&& awaitable_;
  resumption node_;
  run_queue* queue_ = nullptr;
  std::optional<stored> value_;
  std::exception_ptr error_;
};

}  // namespace rh::detail
