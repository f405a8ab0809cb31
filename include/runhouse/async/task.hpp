// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/foreign.hpp>
#include <runhouse/async/run_queue.hpp>
#include <runhouse/core/error.hpp>

#include <coroutine>
#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

namespace rh {

template <class T>
class task;

namespace detail {

/// An awaitable that resumes its coroutine through the coroutine's own run_queue. Others are adapted (foreign.hpp).
template <class A>
concept queue_aware = requires { typename std::remove_cvref_t<A>::queue_aware; };

class promise_base {
 public:
  struct ending {
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> h) const noexcept {
      promise_base& p = h.promise();
      p.context.queue->transfer(p.continuation);
    }
    void await_resume() const noexcept {}
  };

  std::suspend_always initial_suspend() const noexcept { return {}; }
  ending final_suspend() const noexcept { return {}; }

  template <class A>
  decltype(auto) await_transform(A&& awaitable) {
    if constexpr (queue_aware<A> && awaiter<A>) {
      return awaiter_reference(static_cast<std::remove_reference_t<A>&>(awaitable));
    } else if constexpr (queue_aware<A>) {
      return std::forward<A>(awaitable);
    } else {
      return foreign_awaiter<A>(std::forward<A>(awaitable));
    }
  }

  task_context context;
  std::coroutine_handle<> continuation;
};

template <class T>
class task_promise : public promise_base {
 public:
  task<T> get_return_object() noexcept;
  void unhandled_exception() noexcept { outcome_.template emplace<2>(std::current_exception()); }
  template <class U = T>
    requires std::is_convertible_v<U&&, T>
  void return_value(U&& value) {
    outcome_.template emplace<1>(std::forward<U>(value));
  }
  T take() {
    if (outcome_.index() == 2) std::rethrow_exception(std::move(std::get<2>(outcome_)));
    return std::move(std::get<1>(outcome_));
  }

 private:
  std::variant<std::monostate, T, std::exception_ptr> outcome_;
};

template <>
class task_promise<void> : public promise_base {
 public:
  task<void> get_return_object() noexcept;
  void unhandled_exception() noexcept { error_ = std::current_exception(); }
  void return_void() const noexcept {}
  void take() {
    if (error_) std::rethrow_exception(std::move(error_));
  }

 private:
  std::exception_ptr error_;
};

}  // namespace detail

/// A coroutine that computes a T: lazy (it begins when it is awaited), awaited once, and always finished by whoever
/// awaits it, on the same thread. T is a value or void, never a reference: return a pointer, or std::ref.
///
/// Cancellation: flows down from whoever awaits. What the task is waiting for then fails with errc::cancelled, at that
/// co_await, and the task unwinds like at any other exception.
/// Lifetime: parameters of the coroutine live in its frame; references among them must outlive the co_await.
template <class T = void>
class [[nodiscard("a task does nothing until it is awaited")]] task {
  static_assert(!std::is_reference_v<T>, "runhouse: a task returns a value; return a pointer or std::reference_wrapper");

 public:
  using promise_type = detail::task_promise<T>;
  using value_type = T;
  using queue_aware = void;

  task() noexcept = default;
  task(task&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
  task& operator=(task&& other) noexcept {
    if (this != &other) {
      reset();
      frame_ = std::exchange(other.frame_, nullptr);
    }
    return *this;
  }
  /// A task that never began is dropped; one that is suspended may not be destroyed (nothing in this library does).
  ~task() { reset(); }

  explicit operator bool() const noexcept { return static_cast<bool>(frame_); }

  class awaiter {
   public:
    using queue_aware = void;
    explicit awaiter(task&& t) : task_(std::move(t)) {
      if (!task_) fail(errc::already_taken, "this task was awaited before, or moved from, or is empty");
    }
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> parent) noexcept {
      promise_type& p = task_.frame_.promise();
      p.context = parent.promise().context;
      p.continuation = parent;
      p.context.queue->transfer(task_.frame_);
    }
    T await_resume() {
      // The frame goes with this awaiter, at the end of the full expression.
      return task_.frame_.promise().take();
    }

   private:
    task task_;
  };

  /// Errors: those of the coroutine; errc::already_taken if the task was awaited before.
  awaiter operator co_await() && { return awaiter(std::move(*this)); }

 private:
  friend promise_type;
  explicit task(std::coroutine_handle<promise_type> frame) noexcept : frame_(frame) {}
  void reset() noexcept {
    if (frame_) std::exchange(frame_, nullptr).destroy();
  }

  std::coroutine_handle<promise_type> frame_;
};

namespace detail {

template <class T>
task<T> task_promise<T>::get_return_object() noexcept {
  return task<T>(std::coroutine_handle<task_promise>::from_promise(*this));
}
inline task<void> task_promise<void>::get_return_object() noexcept {
  return task<void>(std::coroutine_handle<task_promise>::from_promise(*this));
}

template <class A>
decltype(auto) awaiter_of(A&& a) {
  if constexpr (requires { std::forward<A>(a).operator co_await(); }) {
    return std::forward<A>(a).operator co_await();
  } else if constexpr (requires { operator co_await(std::forward<A>(a)); }) {
    return operator co_await(std::forward<A>(a));
  } else {
    return std::forward<A>(a);
  }
}

}  // namespace detail

/// What `co_await a` gives.
template <class A>
using await_result_t = decltype(detail::awaiter_of(std::declval<A>()).await_resume());

/// Any awaitable as a task.
template <class A>
RH_TEMPLATE_COROUTINE task<std::remove_cvref_t<await_result_t<A>>> as_task(A awaitable) {
  co_return co_await std::move(awaitable);
}
template <class T>
task<T> as_task(task<T> t) {
  return t;
}

}  // namespace rh
