// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/driver.hpp>
#include <runhouse/async/run_queue.hpp>
#include <runhouse/async/timer.hpp>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <mutex>

namespace rh::detail {

/// Gives the driver of this process, made on first use: the runtime (async/runtime.hpp), once main() has said that this
/// program has one. Null until then.
using driver_source = driver& (*)();
[[gnu::visibility("default")]] inline std::atomic<driver_source>& process_driver() noexcept {
  static std::atomic<driver_source> source{nullptr};
  return source;
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
      q.run_ready(turn);
      if (done) return;
      timers_.expire(now());
      if (q.has_ready()) continue;
      const auto next = timers_.next();  // a timer's expiry takes our lock under the timers': never the other way
      std::unique_lock lock(mutex_);
      if (next) {
        changed_.wait_until(lock, *next, [&] { return notified_; });
      } else {
        changed_.wait(lock, [&] { return notified_; });
      }
      notified_ = false;
    }
  }

 private:
  /// Resumptions after which timers are looked at, though more is ready.
  static constexpr std::size_t turn = 4096;

  void notify() noexcept {
    {
      const std::lock_guard lock(mutex_);
      notified_ = true;
    }
    changed_.notify_all();
  }
  timer_queue timers_;
  std::mutex mutex_;
  bool notified_ = false;  // since the last wait: look again
  std::condition_variable changed_;
};

}  // namespace rh::detail
