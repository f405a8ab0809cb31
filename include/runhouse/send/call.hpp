// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/run_queue.hpp>
#include <runhouse/async/sync_wait.hpp>
#include <runhouse/async/task.hpp>
#include <runhouse/rpc/call_state.hpp>
#include <runhouse/send/take_result.hpp>

#include <atomic>
#include <coroutine>
#include <cstddef>
#include <memory>
#include <optional>
#include <stop_token>
#include <utility>
#include <vector>

namespace rh {

template <class R>
class call;

namespace detail {

/// Several calls as one: ends when all have.
class gathered_calls final : public pending {
 public:
  explicit gathered_calls(std::vector<call_ptr> calls) : calls_(std::move(calls)), waiters_(calls_.size()), open_(calls_.size() + 1) {
    for (std::size_t i = 0; i < calls_.size(); ++i) waiters_[i].all = this;
  }
  /// Begins to wait for them, holding itself. Once.
  void start() {
    self_ = counted<gathered_calls>(this);
    for (std::size_t i = 0; i < calls_.size(); ++i) {
      if (!calls_[i]->wait(waiters_[i])) arrive();
    }
    arrive();
  }
  void cancel() noexcept override {
    for (const call_ptr& c : calls_) c->cancel();
  }
  std::size_t calls_made() const noexcept override { return calls_.size(); }
  std::size_t calls_ended() const noexcept override {
    const std::size_t open = open_.load(std::memory_order_acquire);
    return open > calls_.size() ? 0 : calls_.size() - open;
  }
  const std::vector<call_ptr>& calls() const noexcept { return calls_; }

 private:
  struct element_waiter final : end_waiter {
    gathered_calls* all = nullptr;
    void ended() noexcept override { all->arrive(); }
  };
  void arrive() noexcept {
    if (open_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    const auto hold = std::exchange(self_, {});
    end();
  }
  std::vector<call_ptr> calls_;
  std::vector<element_waiter> waiters_;
  std::atomic<std::size_t> open_;
  counted<gathered_calls> self_;
};

template <class R>
R take_one(pending& ended) {
  return take_result<R>(static_cast<call_state&>(ended));
}

/// In input order; the first error of the input's order, if there is one.
template <class T>
std::vector<T> take_all(pending& ended) {
  std::vector<T> values;
  const auto& calls = static_cast<gathered_calls&>(ended).calls();
  values.reserve(calls.size());
  for (const call_ptr& c : calls) values.push_back(take_result<T>(*c));
  return values;
}
inline void take_all_void(pending& ended) {
  for (const call_ptr& c : static_cast<gathered_calls&>(ended).calls()) take_result<void>(*c);
}

template <class R>
class call_awaiter final : end_waiter {
 public:
  using queue_aware = void;
  call_awaiter(counted<pending> of, R (*take)(pending&)) noexcept : pending_(std::move(of)), take_(take) {}

  bool await_ready() const noexcept { return pending_->has_ended(); }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> h) {
    const task_context& context = h.promise().context;
    node_.coroutine = h;
    queue_ = context.queue;
    if (!pending_->wait(*this)) return false;
    // From here on another thread may post; the frame is not resumed before this one is back in its queue.
    if (context.stop != nullptr && context.stop->stop_possible()) on_stop_.emplace(*context.stop, on_stop{this});
    return true;
  }
  R await_resume() {
    on_stop_.reset();
    if (cancelled_) {
      pending_->cancel();
      fail(errc::cancelled, "a call was cancelled, because the task that awaited it was");
    }
    return take_(*pending_);
  }

 private:
  struct on_stop {
    call_awaiter* self;
    void operator()() const noexcept { self->stop_requested(); }
  };
  void ended() noexcept override { queue_->post(node_); }
  void stop_requested() noexcept {
    if (!pending_->withdraw(*this)) return;
    cancelled_ = true;
    queue_->post(node_);
  }

  counted<pending> pending_;
  R (*take_)(pending&);
  resumption node_;
  run_queue* queue_ = nullptr;
  bool cancelled_ = false;
  std::optional<std::stop_callback<on_stop>> on_stop_;
};

}  // namespace detail

/// How far a call, or a map of many, has come; for a progress bar. Any thread; keeps the results alive.
class progress {
 public:
  explicit progress(detail::counted<detail::pending> of) noexcept : of_(std::move(of)) {}
  std::size_t total() const noexcept { return of_->calls_made(); }
  std::size_t ended() const noexcept { return of_->calls_ended(); }

 private:
  detail::counted<detail::pending> of_;
};

/// An invocation that was made, whose result comes back: running there while the caller goes on. Await it, or get();
/// either takes the result, once.
///
/// Cancellation: dropping it before its result was taken cancels the call; so does cancelling the awaiting task.
/// Errors, at the await: what the function threw (a standard exception as its own type, else rh::remote_error);
/// errc::worker_died, errc::worker_not_started, errc::unknown_function, errc::signature_mismatch, errc::bad_payload,
/// errc::cancelled, errc::already_taken.
template <class R>
class [[nodiscard("a call whose result nobody takes is cancelled")]] call {
 public:
  using value_type = R;
  using queue_aware = void;

  call(detail::counted<detail::pending> of, R (*take)(detail::pending&)) noexcept : pending_(std::move(of)), take_(take) {}
  call(call&&) noexcept = default;
  call& operator=(call&& other) noexcept {
    cancel();
    pending_ = std::move(other.pending_);
    take_ = other.take_;
    return *this;
  }
  ~call() { cancel(); }

  detail::call_awaiter<R> operator co_await() & { return {take_pending(), take_}; }
  detail::call_awaiter<R> operator co_await() && { return {take_pending(), take_}; }

  /// Blocks until the result is there. Errors: as the await; errc::would_deadlock inside a task.
  R get() {
    if (run_queue::current() != nullptr) {
      fail(errc::would_deadlock, "get() inside a task would stop the thread that must answer it; use co_await");
    }
    return sync_wait(await(std::move(*this)));
  }
  /// Calls `token`'s handler with (std::exception_ptr, R), or only the former for void, on the handler's associated
  /// executor. Needs <runhouse/runhouse.hpp>.
  template <class Token>
  auto async_get(Token&& token);

  /// Errors: errc::already_taken.
  rh::progress progress() const {
    if (!pending_) fail_taken();
    return rh::progress(pending_);
  }

  /// True if the await would not wait.
  bool is_ready() const noexcept { return pending_ && pending_->has_ended(); }

  /// Gives the call up.
  void cancel() noexcept {
    if (const auto p = std::exchange(pending_, {})) p->cancel();
  }

 private:
  [[noreturn]] static void fail_taken() {
    fail(errc::already_taken, "the result of this call was taken already, or the call was moved from or cancelled");
  }
  RH_TEMPLATE_COROUTINE static task<R> await(call c) { co_return co_await c; }
  detail::counted<detail::pending> take_pending() {
    if (!pending_) fail_taken();
    return std::exchange(pending_, {});
  }
  detail::counted<detail::pending> pending_;
  R (*take_)(detail::pending&);
};

}  // namespace rh
