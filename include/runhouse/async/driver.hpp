// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/config.hpp>

#include <chrono>

namespace rh {

class run_queue;

namespace detail {

/// Something that happens at a time: lives in the awaiter that waits for it.
class timer {
 public:
  using clock = std::chrono::steady_clock;

  /// Set before it is started.
  void expires_at(clock::time_point when) noexcept { when_ = when; }
  clock::time_point when() const noexcept { return when_; }
  /// Called once, on the driver's thread, under its timer lock: must only post.
  virtual void expired() noexcept = 0;

 protected:
  ~timer() = default;

 private:
  clock::time_point when_{};
};

}  // namespace detail

/// Who moves things forward while a thread waits: runs a queue of coroutines, and whatever timers and I/O they wait
/// for. The process has one (async/runtime.hpp); tests have one whose clock stands still until it is told.
class driver {
 public:
  using clock = std::chrono::steady_clock;

  virtual clock::time_point now() const noexcept = 0;

  /// Starts a timer; it must stay alive until it has expired or was cancelled. Any thread.
  virtual void start(detail::timer& t) = 0;
  /// True if the timer was withdrawn; false if it has expired, or is about to return from expired(). Any thread.
  virtual bool cancel(detail::timer& t) noexcept = 0;

  /// Sees to it that `q`, which has just got something ready, is run soon. Any thread.
  virtual void wake(run_queue& q) noexcept = 0;

  /// Runs `q` on this thread until `done`, which a coroutine of `q` sets.
  virtual void run(run_queue& q, const bool& done) = 0;

 protected:
  ~driver() = default;
};

}  // namespace rh
