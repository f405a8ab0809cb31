// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/driver.hpp>
#include <runhouse/async/run_queue.hpp>
#include <runhouse/async/timer.hpp>

#include <atomic>
#include <condition_variable>
#include <mutex>

namespace rh::detail {

/// The driver of this process once it has a runtime (async/runtime.hpp installs it), else null.
inline std::atomic<driver*>& process_driver() {
  static std::atomic<driver*> installed{nullptr};
  return installed;
}

/// A driver for a process that has no runtime: timers and other threads' posts, no I/O.
class blocking_driver final : public driver {
 public:
  clock::time_point now() const noexcept override { return clock::now(); }
  void start(timer& t) override {
    if (timers_.start(t)) notify();
  }
  bool cancel(timer& t) noexcept override { return timers_.cancel(t); }
  void wake(run_queue&) noexcept override { notify(); }

  void run(run_queue& q, const bool& done) override {
    for (;;) {
      q.run_ready();
      if (done) return;
      timers_.expire(now());
      std::unique_lock lock(mutex_);
      if (q.has_ready()) continue;
      if (const auto next = timers_.next()) {
        changed_.wait_until(lock, *next);
      } else {
        changed_.wait(lock, [&] { return q.has_ready() || timers_.next(); });
      }
    }
  }

 private:
  void notify() noexcept {
    { const std::lock_guard lock(mutex_); }
    changed_.notify_all();
  }
  timer_queue timers_;
  std::mutex mutex_;
  std::condition_variable changed_;
};

}  // namespace rh::detail
