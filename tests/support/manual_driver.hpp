// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/driver.hpp>
#include <runhouse/async/run_queue.hpp>
#include <runhouse/async/timer.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <optional>

namespace rh::test {

/// A driver whose clock stands still until advance() moves it.
///
///     manual_driver d;
///     rh::sync_wait(test_of_a_timeout(d), d);   // a coroutine that says d.advance(5s) where time is to pass
///
/// One in which nothing is ready, and nobody posts for half a minute, is a test that hangs: it aborts.
class manual_driver final : public driver {
 public:
  clock::time_point now() const noexcept override { return clock::time_point(clock::duration(now_.load())); }
  void start(detail::timer& t) override { timers_.start(t); }
  bool cancel(detail::timer& t) noexcept override { return timers_.cancel(t); }
  void wake(run_queue&) noexcept override {
    { const std::lock_guard lock(mutex_); }
    changed_.notify_all();
  }
  void run(run_queue& q, const bool& done) override {
    for (;;) {
      q.run_ready();
      if (done) return;
      std::unique_lock lock(mutex_);
      if (changed_.wait_for(lock, std::chrono::seconds(30), [&] { return q.has_ready(); })) continue;
      std::fputs("manual_driver: nothing is ready, and the clock stands still\n", stderr);
      std::abort();
    }
  }

  /// Lets time pass: timers that expire meanwhile do so in order, each at its own time. Their tasks go on when the
  /// calling one suspends. Any thread.
  void advance(clock::duration d) {
    const auto until = now() + d;
    for (auto next = timers_.next(); next && *next <= until; next = timers_.next()) {
      if (*next > now()) now_ = next->time_since_epoch().count();
      timers_.expire(now());
    }
    now_ = until.time_since_epoch().count();
  }
  /// When the next timer expires; nothing if none is started.
  std::optional<clock::time_point> next_timer() const { return timers_.next(); }

 private:
  std::atomic<clock::rep> now_{0};
  detail::timer_queue timers_;
  std::mutex mutex_;
  std::condition_variable changed_;
};

}  // namespace rh::test
