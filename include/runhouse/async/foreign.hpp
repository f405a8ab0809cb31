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

  explicit foreign_awaiter(A&& awaitable) : awaitable_(std::forward<A>(awaitable)) {}

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
  static detached wait(foreign_awaiter& self) {
    try {
      if constexpr (std::is_void_v<raw_result>) {
        co_await std::forward<A>(self.awaitable_);
      } else {
        self.value_.emplace(co_await std::forward<A>(self.awaitable_));
      }
    } catch (...) {
      self.error_ = std::current_exception();
    }
    self.queue_->post(self.node_);  // the task may now end, and `self` with it
  }

  A awaitable_;
  resumption node_;
  run_queue* queue_ = nullptr;
  std::optional<stored> value_;
  std::exception_ptr error_;
};

}  // namespace rh::detail
