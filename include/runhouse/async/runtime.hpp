// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/asio.hpp>
#include <runhouse/async/blocking_driver.hpp>
#include <runhouse/async/driver.hpp>
#include <runhouse/async/run_queue.hpp>
#include <runhouse/async/strand_work.hpp>
#include <runhouse/async/timer.hpp>
#include <runhouse/core/limits.hpp>
#include <runhouse/io/waiting.hpp>
#include <runhouse/os/thread.hpp>
#include <runhouse/os/timer_fd.hpp>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace rh::detail {

/// Something that may have an answer: asked by a thread that spins.
class poller {
 public:
  /// Reads what is there without blocking, and delivers it; true if there was something.
  virtual bool poll() noexcept = 0;

 protected:
  ~poller() = default;
};

/// Something that gathers bytes to be written, and writes them at the end of a turn.
class flushable {
 public:
  virtual void flush() noexcept = 0;

 protected:
  ~flushable() = default;
};

/// The one runtime of a process: its io_context, its timers, and the rule of who drives them.
///
/// One thread drives at a time: a thread that waits in a task reads the answers itself, so that a call costs one
/// thread a hop. When no thread waits, the I/O thread takes over, after limits::flush_delay or a few times that. All that
/// is said to run "on the strand" is run by the driving thread, so by one at a time, without locks.
///
/// Lifetime: made on first use and never destroyed, so that handles in static objects do no harm at exit. The I/O
/// thread ends when exit() begins: what it uses, of other libraries too, is about to be destroyed.
class runtime final : public driver {
 public:
  [[gnu::visibility("default")]] static runtime& instance();
  /// From here on a blocking wait of any thread drives the runtime.
  static void use() noexcept {
    process_driver().store([]() -> driver& { return instance(); }, std::memory_order_release);
  }

  /// For what waits on descriptors. On the strand only.
  asio::io_context& io() noexcept { return io_; }

  /// Runs `w` on the strand: when this thread's task next suspends, or when the I/O thread takes over. Any thread.
  void defer(strand_work& w) noexcept;
  /// How long deferred work may wait for its task to suspend, from now on.
  void set_flush_delay(std::chrono::nanoseconds delay) noexcept {
    shortest_delay_ = delay;
    flush_delay_ = delay;
    if (flush_timer_started_) flush_timer_.start(delay);
  }
  /// On the strand: flush `f` at the end of this turn, once.
  void flush_later(flushable& f) { dirty_.push_back(&f); }
  /// On the strand: `f` is about to be destroyed.
  void forget(flushable& f) { std::replace(dirty_.begin(), dirty_.end(), &f, static_cast<flushable*>(nullptr)); }
  /// On the strand: one more to ask while spinning, until it is removed.
  void add_poller(poller& p) { pollers_.push_back(&p); }
  void remove_poller(poller& p) noexcept { std::erase(pollers_, &p); }
  /// On the strand: whether to spin at all, where there is somebody to ask.
  void set_spinning(bool may_spin) noexcept { may_spin_ = may_spin; }

  clock::time_point now() const noexcept override { return clock::now(); }
  inline void start(timer& t) override;
  bool cancel(timer& t) noexcept override { return timers_.cancel(t); }
  inline void wake(run_queue& q) noexcept override;
  inline void run(run_queue& q, const bool& done) override;

 private:
  struct parked {
    run_queue* queue;
    std::thread::id thread;
    std::condition_variable changed;
    bool offered = false;
  };

  runtime();
  bool take_turn(run_queue& q);
  void pass_turn(std::unique_lock<std::mutex>& lock);
  void pump(run_queue* q);
  void drain() noexcept;
  void watch_flush_timer();
  void clear_flush_timer() noexcept;
  void start_flush_timer() noexcept;
  void was_woken(bool for_something) noexcept;
  void interrupt() noexcept;
  void io_thread() noexcept;
  void end_io_thread() noexcept;

  asio::io_context io_;
  asio::executor_work_guard<asio::io_context::executor_type> keep_running_;
  os::timer_fd flush_timer_;
  std::atomic<bool> flush_timer_started_{false};
  std::atomic<std::chrono::nanoseconds> shortest_delay_{limits::flush_delay};
  std::atomic<std::chrono::nanoseconds> flush_delay_{limits::flush_delay};
  asio::posix::stream_descriptor flush_timer_events_;
  timer_queue timers_;
  asio::steady_timer next_timer_;
  std::optional<clock::time_point> next_timer_at_;
  strand_inbox inbox_;
  std::vector<flushable*> dirty_;
  std::vector<poller*> pollers_;
  bool may_spin_ = true;
  io::waiting_policy waiting_;
  unsigned turns_ = 0;

  // Who drives.
  std::mutex mutex_;
  bool driven_ = false;
  std::atomic<bool> driven_by_io_thread_{false};
  std::atomic<bool> hand_over_{false};
  std::atomic<std::thread::id> driving_thread_{};
  std::atomic<run_queue*> driving_queue_{nullptr};
  clock::time_point left_at_{};
  std::vector<parked*> parked_;
  bool exiting_ = false;
  std::condition_variable turn_passed_;
  std::thread::id io_thread_;
};

// ---- implementation

inline runtime& runtime::instance() {
  static runtime& only = *new runtime;
  return only;
}

inline runtime::runtime()
    : keep_running_(io_.get_executor()), flush_timer_events_(io_, flush_timer_.get()), next_timer_(io_) {
  std::atexit([] { instance().end_io_thread(); });
  io_thread_ = os::start_thread([this] { io_thread(); });
  start_flush_timer();  // so that timers expire though the first task never suspends
  use();
}

inline void runtime::defer(strand_work& w) noexcept {
  if (!inbox_.push(w)) return;
  if (driven_by_io_thread_) {
    interrupt();  // by the time that it has woken, more may have come
  } else {
    start_flush_timer();
  }
}

inline void runtime::start(timer& t) {
  if (timers_.start(t) && driving_thread_.load() != std::this_thread::get_id()) interrupt();
}

inline void runtime::wake(run_queue& q) noexcept {
  if (driving_queue_.load() == &q && driving_thread_.load() == std::this_thread::get_id()) return;
  const std::lock_guard lock(mutex_);
  if (driving_queue_.load() == &q) {
    interrupt();
    return;
  }
  for (parked* p : parked_) {
    if (p->queue == &q) p->changed.notify_one();
  }
}

inline void runtime::run(run_queue& q, const bool& done) {
  for (;;) {
    q.run_ready();
    if (done) return;
    if (!take_turn(q)) continue;
    while (!q.has_ready()) pump(&q);
    std::unique_lock lock(mutex_);
    pass_turn(lock);
  }
}

/// True if this thread is to drive; false if `q` has got something ready meanwhile.
inline bool runtime::take_turn(run_queue& q) {
  std::unique_lock lock(mutex_);
  if (driven_) {
    parked me;
    me.queue = &q;
    me.thread = std::this_thread::get_id();
    parked_.push_back(&me);
    if (driven_by_io_thread_ && !hand_over_.exchange(true)) interrupt();
    me.changed.wait(lock, [&] { return me.offered || q.has_ready(); });
    std::erase(parked_, &me);
    if (!me.offered) return false;
  } else {
    driven_ = true;
  }
  driving_thread_ = std::this_thread::get_id();
  driving_queue_ = &q;
  return true;
}

/// Gives the turn to a thread that waits for it, or leaves it to the I/O thread's timer.
inline void runtime::pass_turn(std::unique_lock<std::mutex>& lock) {
  driving_queue_ = nullptr;
  driving_thread_ = std::thread::id();
  if (driven_by_io_thread_.exchange(false)) turn_passed_.notify_all();
  for (parked* p : parked_) {
    if (p->offered || p->queue->has_ready()) continue;
    p->offered = true;
    p->changed.notify_one();
    return;  // driven_ stays: it is that thread's now
  }
  driven_ = false;
  left_at_ = clock::now();
  lock.unlock();
  start_flush_timer();
}

inline void runtime::drain() noexcept {
  while (!inbox_.empty()) inbox_.run_all();
  // A flush can make others dirty. What is left of very many waits until descriptors have been looked at: where two
  // things keep making each other dirty, it may be for want of what comes from there.
  std::size_t flushed = 0;
  for (; flushed < dirty_.size() && flushed < limits::flushes; ++flushed) {
    if (dirty_[flushed] != nullptr) dirty_[flushed]->flush();
  }
  dirty_.erase(dirty_.begin(), dirty_.begin() + static_cast<std::ptrdiff_t>(flushed));
}

/// One turn: what was deferred, then one wait. Returns when something may have become ready.
inline void runtime::pump(run_queue* q) {
  drain();
  if (q != nullptr && q->has_ready()) return;
  if (!dirty_.empty()) {
    for (std::size_t i = 0; i < pollers_.size(); ++i) pollers_[i]->poll();
    io_.poll();
    timers_.expire(now());
    return;
  }
  // A stream of answers that come by spinning must not starve timers and other descriptors.
  if (++turns_ % 64 == 0) {
    io_.poll();
    timers_.expire(now());
    drain();
  }
  if (q != nullptr && may_spin_ && !pollers_.empty()) {
    const bool answered = io::spin_until(waiting_, [&] {
      bool any = !inbox_.empty();
      for (std::size_t i = 0; i < pollers_.size(); ++i) any |= pollers_[i]->poll();  // which may change them
      return any || q->has_ready();
    });
    if (answered) {
      drain();
      return;
    }
  }
  timers_.expire(now());
  if (q != nullptr && q->has_ready()) return;
  if (const auto next = timers_.next(); next && next != next_timer_at_) {
    next_timer_at_ = next;
    next_timer_.expires_at(*next);
    next_timer_.async_wait([this](std::error_code error) {
      if (error) return;
      next_timer_at_.reset();
      timers_.expire(now());
    });
  }
  if (dirty_.empty()) io_.run_one();
  io_.poll();
  drain();
}

/// While the I/O thread drives, its timer is one of the descriptors that it waits for.
inline void runtime::watch_flush_timer() {
  flush_timer_events_.async_wait(asio::posix::stream_descriptor::wait_read, [this](std::error_code error) {
    if (error) return;
    clear_flush_timer();
    watch_flush_timer();
  });
}

inline void runtime::clear_flush_timer() noexcept {
  flush_timer_.clear();
  flush_timer_started_ = false;
}

inline void runtime::start_flush_timer() noexcept {
  if (!flush_timer_started_.exchange(true)) flush_timer_.start(flush_delay_);
}

/// Each time that the I/O thread is woken for nothing takes a core from a thread that computes, or spins: while calls
/// are awaited as soon as they are made, it wakes less and less often.
inline void runtime::was_woken(bool for_something) noexcept {
  const std::chrono::nanoseconds shortest = shortest_delay_;
  flush_delay_ = for_something ? shortest : std::min<std::chrono::nanoseconds>(2 * flush_delay_.load(), 8 * shortest);
}

inline void runtime::interrupt() noexcept {
  asio::post(io_, [] {});
}

inline void runtime::io_thread() noexcept {
  for (;;) {
    flush_timer_.wait();
    clear_flush_timer();
    {
      const std::lock_guard lock(mutex_);
      if (exiting_) return;
      if (driven_) {
        // By a thread that waits; it may be blocked, and not know what another thread has deferred.
        const bool has_work = !inbox_.empty();
        was_woken(has_work);
        if (has_work) interrupt();
        continue;
      }
      if (clock::now() - left_at_ < shortest_delay_.load() * 7 / 8) {
        was_woken(false);
        start_flush_timer();
        continue;
      }
      was_woken(true);
      driven_ = true;
      driven_by_io_thread_ = true;
      hand_over_ = false;
      driving_thread_ = std::this_thread::get_id();
    }
    watch_flush_timer();
    while (!hand_over_.load()) pump(nullptr);
    flush_timer_events_.cancel();
    std::unique_lock lock(mutex_);
    pass_turn(lock);
  }
}

inline void runtime::end_io_thread() noexcept {
  std::unique_lock lock(mutex_);
  exiting_ = true;
  hand_over_ = true;
  if (!driven_by_io_thread_ || std::this_thread::get_id() == io_thread_) return;
  interrupt();
  // What it is in the middle of may be a handler of the user's, which waits for something that comes no more.
  turn_passed_.wait_for(lock, limits::io_thread_exit, [this] { return !driven_by_io_thread_; });
}

}  // namespace rh::detail
