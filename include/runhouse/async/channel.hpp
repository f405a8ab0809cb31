// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/operation.hpp>
#include <runhouse/async/run_queue.hpp>
#include <runhouse/async/task.hpp>
#include <runhouse/core/error.hpp>

#include <coroutine>
#include <cstddef>
#include <deque>
#include <list>
#include <mutex>
#include <optional>
#include <stop_token>
#include <utility>

namespace rh {

/// A bounded queue between tasks, which may belong to different roots and threads. `capacity` values wait in it; 0
/// means that each send meets a receive. Values come out in the order in which they went in.
///
/// Executor: any thread. Lifetime: outlives every send and receive that is awaited.
template <class T>
class channel {
  class waiter;

 public:
  explicit channel(std::size_t capacity) : capacity_(capacity) {}
  channel(const channel&) = delete;
  channel& operator=(const channel&) = delete;

  class send_awaiter;
  class receive_awaiter;

  /// Waits for room. Errors: errc::closed, errc::cancelled; the value is then not sent.
  auto send(T value) { return detail::operation<send_awaiter, channel&, T>(*this, std::move(value)); }

  /// The oldest value; nothing once the channel is closed and empty. Errors: errc::cancelled.
  auto receive() { return detail::operation<receive_awaiter, channel&>(*this); }

  /// No more sends. Those who wait to send fail with errc::closed; what is in the channel can still be received.
  void close();

 private:
  enum class ended { no, yes, closed, cancelled };

  /// One task that waits; in a list of the channel until somebody takes it out, under the lock, and posts it.
  class waiter {
   public:
    waiter(channel& c, std::list<waiter*>& list) : channel_(&c), list_(&list) {}

    std::optional<T> value_;
    ended state_ = ended::no;

    void finish(ended how) noexcept {
      state_ = how;
      queue_->post(node_);
    }
    template <class Promise>
    void suspend(std::coroutine_handle<Promise> h) {
      const detail::task_context& context = h.promise().context;
      node_.coroutine = h;
      queue_ = context.queue;
      stop_ = context.stop;
    }
    /// Under the lock.
    void enlist() { place_ = list_->insert(list_->end(), this); }
    /// Under the lock: the one that has waited longest.
    static waiter* take_first(std::list<waiter*>& list) noexcept {
      waiter* first = list.front();
      first->delist();
      return first;
    }
    /// After the waiter is in its list and the lock is released.
    void watch_stop() {
      if (stop_ != nullptr && stop_->stop_possible()) on_stop_.emplace(*stop_, on_stop{this});
    }
    void unwatch() { on_stop_.reset(); }

   private:
    struct on_stop {
      waiter* self;
      void operator()() const noexcept { self->cancel(); }
    };
    void cancel() noexcept {
      {
        const std::lock_guard lock(channel_->mutex_);
        if (!place_) return;
        delist();
      }
      finish(ended::cancelled);
    }
    void delist() noexcept { list_->erase(*std::exchange(place_, std::nullopt)); }

    channel* channel_;
    std::list<waiter*>* list_;
    std::optional<typename std::list<waiter*>::iterator> place_;  // in the list, while it waits
    resumption node_;
    run_queue* queue_ = nullptr;
    const std::stop_token* stop_ = nullptr;
    std::optional<std::stop_callback<on_stop>> on_stop_;
  };

  std::mutex mutex_;
  std::size_t capacity_;
  bool closed_ = false;
  std::deque<T> values_;
  std::list<waiter*> senders_;
  std::list<waiter*> receivers_;
};

template <class T>
class channel<T>::send_awaiter {
 public:
  using queue_aware = void;
  send_awaiter(channel& c, T value) : channel_(&c), waiter_(c, c.senders_) { waiter_.value_.emplace(std::move(value)); }

  bool await_ready() const noexcept { return false; }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> h) {
    waiter_.suspend(h);
    {
      const std::lock_guard lock(channel_->mutex_);
      if (channel_->closed_) {
        waiter_.state_ = ended::closed;
        return false;
      }
      if (!channel_->receivers_.empty()) {
        waiter* r = waiter::take_first(channel_->receivers_);
        r->value_ = std::move(waiter_.value_);
        r->finish(ended::yes);
        waiter_.state_ = ended::yes;
        return false;
      }
      if (channel_->values_.size() < channel_->capacity_) {
        channel_->values_.push_back(std::move(*waiter_.value_));
        waiter_.state_ = ended::yes;
        return false;
      }
      waiter_.enlist();
    }
    waiter_.watch_stop();
    return true;
  }
  void await_resume() {
    waiter_.unwatch();
    if (waiter_.state_ == ended::closed) fail(errc::closed, "send on a closed channel");
    if (waiter_.state_ == ended::cancelled) fail(errc::cancelled, "a send on a channel was cancelled");
  }

 private:
  channel* channel_;
  waiter waiter_;
};

template <class T>
class channel<T>::receive_awaiter {
 public:
  using queue_aware = void;
  explicit receive_awaiter(channel& c) : channel_(&c), waiter_(c, c.receivers_) {}

  bool await_ready() const noexcept { return false; }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> h) {
    waiter_.suspend(h);
    {
      const std::lock_guard lock(channel_->mutex_);
      if (!channel_->values_.empty()) {
        waiter_.value_.emplace(std::move(channel_->values_.front()));
        channel_->values_.pop_front();
        if (!channel_->senders_.empty()) {
          waiter* s = waiter::take_first(channel_->senders_);
          channel_->values_.push_back(std::move(*s->value_));
          s->finish(ended::yes);
        }
        return false;
      }
      if (!channel_->senders_.empty()) {
        waiter* s = waiter::take_first(channel_->senders_);
        waiter_.value_ = std::move(s->value_);
        s->finish(ended::yes);
        return false;
      }
      if (channel_->closed_) return false;
      waiter_.enlist();
    }
    waiter_.watch_stop();
    return true;
  }
  std::optional<T> await_resume() {
    waiter_.unwatch();
    if (waiter_.state_ == ended::cancelled) fail(errc::cancelled, "a receive on a channel was cancelled");
    return std::move(waiter_.value_);
  }

 private:
  channel* channel_;
  waiter waiter_;
};

template <class T>
void channel<T>::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  while (!senders_.empty()) waiter::take_first(senders_)->finish(ended::closed);
  while (!receivers_.empty()) waiter::take_first(receivers_)->finish(ended::closed);
}

}  // namespace rh
