// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/asio.hpp>
#include <runhouse/async/delivery.hpp>
#include <runhouse/async/driver.hpp>
#include <runhouse/async/fork.hpp>
#include <runhouse/async/run_queue.hpp>
#include <runhouse/async/timer.hpp>

#include <asio/basic_waitable_timer.hpp>
#include <asio/strand.hpp>

#include <atomic>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <stop_token>
#include <type_traits>
#include <utility>

namespace rh::detail {

template <class E>
concept executor = asio::is_executor<E>::value || asio::execution::is_executor<E>::value;

/// A root task on somebody else's executor: a driver that runs its queue in turns, each posted to a strand of that
/// executor. It holds itself until the task has ended.
template <class Executor, class T, class Handler>
class executor_root final : public driver, public std::enable_shared_from_this<executor_root<Executor, T, Handler>> {
 public:
  static void begin(const Executor& on, task<T> t, Handler handler) {
    auto root = std::make_shared<executor_root>(on, std::move(handler));
    auto body = run_child(std::move(t), root->ending_, ended{root.get()});
    root->handler_.on_cancellation([stop = root->stop_] { stop.request_stop(); });
    root->self_ = root;
    body.start({&*root->queue_, &root->token_});
  }
  executor_root(const Executor& on, Handler handler)
      : work_(on), strand_(on), timer_(strand_), handler_(std::move(handler), on) {
    queue_.emplace(*this);
  }

  clock::time_point now() const noexcept override { return clock::now(); }
  void start(timer& t) override {
    if (timers_.start(t)) schedule();  // during a turn: its end looks at the timers
  }
  bool cancel(timer& t) noexcept override { return timers_.cancel(t); }
  void wake(run_queue&) noexcept override { schedule(); }
  /// Nobody waits for this root: co_spawn gives no way to.
  [[noreturn]] void run(run_queue&, const bool&) override { std::terminate(); }

 private:
  /// Resumptions after which the executor's other work gets its turn.
  static constexpr std::size_t turn = 1024;

  struct ended {
    executor_root* root;
    void operator()(bool) const noexcept { root->done_ = true; }
  };

  /// At most one turn is posted at a time. Only while the task has not ended, so that *this lives.
  void schedule() noexcept {
    if (scheduled_.exchange(true, std::memory_order_acq_rel)) return;
    asio::post(strand_, [self = this->shared_from_this()] { self->take_turn(); });
  }

  /// On the strand.
  void take_turn() noexcept {
    if (!queue_) return;
    timers_.expire(now());
    {
      const run_queue::running here(*queue_);
      queue_->run_ready(turn);
    }
    if (done_) return finish();
    wait_for_timer();
    scheduled_.exchange(false, std::memory_order_acq_rel);
    if (queue_->has_ready()) schedule();
  }

  /// On the strand.
  void wait_for_timer() {
    const auto next = timers_.next();
    if (!next || next == timer_at_) return;
    timer_at_ = next;
    timer_.expires_at(*next);
    timer_.async_wait([self = this->shared_from_this()](std::error_code error) {
      if (error) return;
      self->timer_at_.reset();
      if (self->queue_) self->schedule();
    });
  }

  void finish() {
    queue_.reset();  // waits for threads that are still inside post(), and so in schedule()
    timer_.cancel();
    work_.reset();
    // The handler may run on another thread, and outlive the context: it gets nothing of this but the result.
    handler_.post([end = std::move(ending_)](Handler&& handler) mutable {
      if constexpr (std::is_void_v<T>) {
        std::move(handler)(end.error());
      } else {
        if (end.error()) {
          std::move(handler)(end.error(), T());
        } else {
          std::move(handler)(std::exception_ptr(), end.take());
        }
      }
    });
    self_.reset();  // the turn that calls this holds another
  }

  asio::executor_work_guard<Executor> work_;
  asio::strand<Executor> strand_;
  asio::basic_waitable_timer<clock, asio::wait_traits<clock>, asio::strand<Executor>> timer_;
  std::optional<clock::time_point> timer_at_;
  timer_queue timers_;
  std::atomic<bool> scheduled_{false};
  std::stop_source stop_;
  std::stop_token token_ = stop_.get_token();
  delivery<Handler, Executor> handler_;
  ending<T> ending_;
  bool done_ = false;
  std::shared_ptr<executor_root> self_;
  std::optional<run_queue> queue_;
};

}  // namespace rh::detail
