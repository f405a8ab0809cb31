// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/run_queue.hpp>
#include <runhouse/core/error.hpp>
#include <runhouse/rpc/pending.hpp>

#include <coroutine>
#include <optional>
#include <stop_token>
#include <utility>

namespace rh::detail {

/// What awaiting a call is, whatever its result.
class call_awaiter_base : end_waiter {
 public:
  using queue_aware = void;

  bool await_ready() const noexcept { return pending_->has_ended(); }
  template <class Promise>
  bool await_suspend(std::coroutine_handle<Promise> h) {
    return suspend(h, h.promise().context);
  }

 protected:
  explicit call_awaiter_base(counted<pending> of) noexcept : pending_(std::move(of)) {}
  ~call_awaiter_base() = default;
  /// The call, which has ended.
  [[gnu::noinline]] pending& resume() {
    on_stop_.reset();
    if (cancelled_) {
      pending_->cancel();
      fail(errc::cancelled, "a call was cancelled, because the task that awaited it was", stage::may_have_run);
    }
    return *pending_;
  }

 private:
  struct on_stop {
    call_awaiter_base* self;
    void operator()() const noexcept { self->stop_requested(); }
  };
  [[gnu::noinline]] bool suspend(std::coroutine_handle<> h, const task_context& context) {
    node_.coroutine = h;
    queue_ = context.queue;
    if (!pending_->wait(*this)) return false;
    // From here on another thread may post; the frame is not resumed before this one is back in its queue.
    if (context.stop != nullptr && context.stop->stop_possible()) on_stop_.emplace(*context.stop, on_stop{this});
    return true;
  }
  void ended() noexcept override { queue_->post(node_); }
  void stop_requested() noexcept {
    if (!pending_->withdraw(*this)) return;
    cancelled_ = true;
    queue_->post(node_);
  }

  counted<pending> pending_;
  resumption node_;
  run_queue* queue_ = nullptr;
  bool cancelled_ = false;
  std::optional<std::stop_callback<on_stop>> on_stop_;
};

template <class R>
class call_awaiter final : public call_awaiter_base {
 public:
  call_awaiter(counted<pending> of, R (*take)(pending&)) noexcept : call_awaiter_base(std::move(of)), take_(take) {}
  R await_resume() { return take_(resume()); }

 private:
  R (*take_)(pending&);
};

/// What a call is, whatever its result: the only holder of something under way, which it cancels when it goes.
class call_handle {
 public:
  explicit call_handle(counted<pending> of) noexcept : pending_(std::move(of)) {}
  call_handle(call_handle&&) noexcept = default;
  [[gnu::noinline]] call_handle& operator=(call_handle&& other) noexcept {
    cancel();
    pending_ = std::move(other.pending_);
    return *this;
  }
  ~call_handle() { cancel(); }

  bool is_ready() const noexcept { return pending_ && pending_->has_ended(); }
  [[gnu::noinline]] void cancel() noexcept {
    if (const auto p = std::exchange(pending_, {})) p->cancel();
  }
  [[gnu::noinline]] counted<pending> take() {
    if (!pending_) fail_taken();
    return std::exchange(pending_, {});
  }
  const counted<pending>& peek() const {
    if (!pending_) fail_taken();
    return pending_;
  }

 private:
  [[noreturn, gnu::cold, gnu::noinline]] static void fail_taken() {
    fail(errc::already_taken, "the result of this call was taken already, or the call was moved from or cancelled");
  }
  counted<pending> pending_;
};

}  // namespace rh::detail
