// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/operation.hpp>
#include <runhouse/async/run_queue.hpp>
#include <runhouse/async/task.hpp>
#include <runhouse/async/when_any.hpp>
#include <runhouse/core/error.hpp>

#include <atomic>
#include <chrono>
#include <coroutine>
#include <exception>
#include <map>
#include <mutex>
#include <optional>
#include <stop_token>
#include <type_traits>
#include <utility>

namespace rh {

namespace detail {

/// The timers of a driver, earliest first.
class timer_queue {
 public:
  using clock = timer::clock;

  /// True if it is now the earliest: whoever sleeps until the earliest must look again.
  bool start(timer& t) {
    const std::lock_guard lock(mutex_);
    const auto place = timers_.emplace(t.when(), &t);
    return place == timers_.begin();
  }
  bool cancel(timer& t) noexcept {
    const std::lock_guard lock(mutex_);
    const auto [first, last] = timers_.equal_range(t.when());
    for (auto i = first; i != last; ++i) {
      if (i->second == &t) {
        timers_.erase(i);
        return true;
      }
    }
    return false;
  }
  /// Lets all expire whose time has come.
  void expire(clock::time_point now) noexcept {
    const std::lock_guard lock(mutex_);
    while (!timers_.empty() && timers_.begin()->first <= now) {
      timer* t = timers_.begin()->second;
      timers_.erase(timers_.begin());
      t->expired();
    }
  }
  std::optional<clock::time_point> next() const {
    const std::lock_guard lock(mutex_);
    if (timers_.empty()) return std::nullopt;
    return timers_.begin()->first;
  }

 private:
  mutable std::mutex mutex_;
  std::multimap<clock::time_point, timer*> timers_;
};

class sleep_awaiter final : timer {
 public:
  using queue_aware = void;
  explicit sleep_awaiter(std::chrono::steady_clock::duration delay) : delay_(delay) {}
  bool await_ready() const noexcept { return false; }

  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> h) {
    const task_context& context = h.promise().context;
    node_.coroutine = h;
    queue_ = context.queue;
    stop_ = context.stop;
    begin();
  }
  void await_resume() {
    on_stop_.reset();
    if (cancelled_) fail(errc::cancelled, "a sleep was cancelled");
  }

 private:
  struct on_stop {
    sleep_awaiter* self;
    void operator()() const noexcept { self->stop_requested(); }
  };

  void begin() {
    driver& d = queue_->owner();
    const auto now = d.now();
    const auto longest = std::chrono::steady_clock::time_point::max() - now;
    expires_at(now + (delay_ < longest ? delay_ : longest));
    d.start(*this);
    // From here on the timer may post; the frame cannot be resumed before this thread returns to its queue.
    if (stop_ != nullptr && stop_->stop_possible()) on_stop_.emplace(*stop_, on_stop{this});
  }
  void expired() noexcept override { queue_->post(node_); }
  void stop_requested() noexcept {
    if (queue_->owner().cancel(*this)) {
      cancelled_ = true;
      queue_->post(node_);
    }
  }

  std::chrono::steady_clock::duration delay_;
  resumption node_;
  run_queue* queue_ = nullptr;
  const std::stop_token* stop_ = nullptr;
  bool cancelled_ = false;
  std::optional<std::stop_callback<on_stop>> on_stop_;
};

/// How far the call had come whose error this is.
[[gnu::cold, gnu::noinline]] inline stage stage_of(const std::exception_ptr& cancelled) {
  try {
    std::rethrow_exception(cancelled);
  } catch (const error& e) {
    return e.origin().reached;
  } catch (...) {
    return stage::not_started;
  }
}

/// A task, or a time: what with_timeout awaits.
template <class T>
class timed {
 public:
  using queue_aware = void;
  timed(task<T> t, task<> time) : task_(std::move(t)), time_(std::move(time)), state_(2) {}
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> h) {
    fork children[] = {run_child(std::move(task_), ending_, any_ended{&state_, 0}),
                       run_child(std::move(time_), time_ending_, any_ended{&state_, 1})};
    state_.start(h, h.promise().context, children);
  }
  T await_resume() {
    // A value that came at the last moment is not thrown away. Where the time did not run out, but was cancelled with the
    // awaiting task, what it was given to says how far that had come.
    if (*state_.winner == 1 && ending_.error() && !time_ending_.error()) {
      fail(errc::timed_out, "nothing came within the time given to with_timeout; it was cancelled",
           stage_of(ending_.error()));
    }
    return ending_.take();
  }

 private:
  task<T> task_;
  task<> time_;
  ending<T> ending_;
  ending<void> time_ending_;
  any_state state_;
};

}  // namespace detail

/// Waits. Errors: errc::cancelled.
inline auto sleep_for(std::chrono::steady_clock::duration delay) {
  return detail::operation<detail::sleep_awaiter, std::chrono::steady_clock::duration>(delay);
}

/// Awaits `awaitable` for at most `timeout`; after that it is cancelled, and waited for. A value that it still gives
/// counts.
///
/// Errors: errc::timed_out; otherwise those of the awaitable.
template <class A>
[[nodiscard]] auto with_timeout(std::chrono::steady_clock::duration timeout, A awaitable) {
  using T = std::remove_cvref_t<await_result_t<A>>;
  return detail::operation<detail::timed<T>, task<T>, task<>>(as_task(std::move(awaitable)), as_task(sleep_for(timeout)));
}

}  // namespace rh
