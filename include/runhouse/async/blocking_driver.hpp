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
  /// Resumptions after which timers are looked at, though more is ready.
  static constexpr std::size_t turn = 4096;

  void notify() noexcept {
    { const std::lock_guard lock(mutex_); }
    changed_.notify_all();
  }
  timer_queue timers_;
  std::mutex mutex_;
  std::condition_variable changed_;
};

}  // namespace rh::detail
