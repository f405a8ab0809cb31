// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/run_queue.hpp>
#include <runhouse/async/task.hpp>
#include <runhouse/core/error.hpp>

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <optional>
#include <utility>

namespace rh::test {

/// The errc of the rh::error that `f` throws; nothing if it throws none.
template <class F>
std::optional<errc> kind_thrown_by(F&& f) {
  try {
    std::forward<F>(f)();
  } catch (const error& e) {
    return e.kind();
  }
  return std::nullopt;
}

/// An object that is counted, and notices when it is destroyed twice or used afterwards.
class counted_object {
 public:
  explicit counted_object(int v = 0) noexcept : value(v) { ++alive; }
  counted_object(const counted_object& other) noexcept : value(other.checked()) { ++alive; }
  counted_object(counted_object&& other) noexcept : value(std::exchange(other.value, -1)) {
    other.checked();
    ++alive;
  }
  counted_object& operator=(const counted_object&) = default;
  counted_object& operator=(counted_object&&) = default;
  ~counted_object() {
    checked();
    mark_ = 0;
    --alive;
  }

  int value;
  static inline std::atomic<int> alive{0};
  static inline std::atomic<int> misused{0};

 private:
  int checked() const noexcept {
    if (mark_ != living) ++misused;
    return value;
  }
  static constexpr std::uint32_t living = 0x600dda7a;
  volatile std::uint32_t mark_ = living;
};

/// Lets the other tasks of the root that are ready go first.
class yield_now {
 public:
  using queue_aware = void;
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> h) noexcept {
    node_.coroutine = h;
    h.promise().context.queue->post(node_);
  }
  void await_resume() const noexcept {}

 private:
  resumption node_;
};

inline task<> yields(int times) {
  for (int i = 0; i < times; ++i) co_await yield_now();
}

/// Waits until it is cancelled.
class forever {
 public:
  using queue_aware = void;
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> h) {
    node_.coroutine = h;
    queue_ = h.promise().context.queue;
    const std::stop_token* stop = h.promise().context.stop;
    if (stop != nullptr && stop->stop_possible()) on_stop_.emplace(*stop, on_stop{this});
  }
  [[noreturn]] void await_resume() {
    on_stop_.reset();
    fail(errc::cancelled, "cancelled");
  }

 private:
  struct on_stop {
    forever* self;
    void operator()() const noexcept { self->queue_->post(self->node_); }
  };
  resumption node_;
  run_queue* queue_ = nullptr;
  std::optional<std::stop_callback<on_stop>> on_stop_;
};

/// Waits until it is cancelled, and then counts it.
inline task<> until_cancelled(int& cancelled) {
  try {
    co_await forever();
  } catch (const error& e) {
    if (e.kind() == errc::cancelled) ++cancelled;
    throw;
  }
}

}  // namespace rh::test
