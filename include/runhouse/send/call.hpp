// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/run_queue.hpp>
#include <runhouse/async/sync_wait.hpp>
#include <runhouse/async/task.hpp>
#include <runhouse/core/error.hpp>
#include <runhouse/rpc/pending.hpp>
#include <runhouse/wire/archive.hpp>

#include <coroutine>
#include <cstddef>
#include <optional>
#include <span>
#include <stop_token>
#include <type_traits>
#include <utility>
#include <vector>

namespace rh {

namespace detail {

/// A result came that does not decode.
[[noreturn, gnu::cold, gnu::noinline]] inline void fail_result(const pending& ended, std::size_t index, const error& e) {
  call_origin origin = ended.origin(index);
  std::string what = origin.function + " on " + origin.host + ": its result came, but: " + e.what();
  throw error(e.kind(), std::move(what), std::move(origin));
}

template <class R>
R decode_result(pending& ended, std::size_t index, std::vector<std::span<const std::byte>>& segments) {
  const wire::payload_view value = ended.result(index, segments);
  try {
    return wire::decode<R>(value);
  } catch (const error& e) {
    fail_result(ended, index, e);
  }
}

/// The result of a call that has ended, or of the only one that a map was made of.
template <class R>
R take_one(pending& ended) {
  std::vector<std::span<const std::byte>> segments;
  if constexpr (std::is_void_v<R>) {
    ended.result(0, segments);
  } else {
    return decode_result<R>(ended, 0, segments);
  }
}

/// In input order; the first error of the input's order, if there is one.
template <class T>
std::vector<T> take_all(pending& ended) {
  std::vector<T> values;
  std::vector<std::span<const std::byte>> segments;
  const std::size_t count = ended.calls_made();
  values.reserve(count);
  for (std::size_t i = 0; i < count; ++i) values.push_back(decode_result<T>(ended, i, segments));
  return values;
}
inline void take_all_void(pending& ended) {
  std::vector<std::span<const std::byte>> segments;
  for (std::size_t i = 0; i < ended.calls_made(); ++i) ended.result(i, segments);
}

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

}  // namespace detail

/// How far a call, or a map of many, has come; for a progress bar. Any thread; keeps the results alive.
class progress {
 public:
  explicit progress(detail::counted<detail::pending> of) noexcept : of_(std::move(of)) {}
  std::size_t total() const noexcept { return of_->calls_made(); }
  std::size_t ended() const noexcept { return of_->calls_ended(); }

 private:
  detail::counted<detail::pending> of_;
};

/// An invocation that was made, whose result comes back: running there while the caller goes on. Await it, or get();
/// either takes the result, once.
///
/// Cancellation: dropping it before its result was taken cancels the call; so does cancelling the awaiting task.
/// Errors, at the await: what the function threw (a standard exception as its own type, else rh::remote_error);
/// errc::worker_died, errc::worker_not_started, errc::unknown_function, errc::signature_mismatch, errc::bad_payload,
/// errc::cancelled, errc::already_taken.
template <class R>
class [[nodiscard("a call whose result nobody takes is cancelled")]] call {
 public:
  using value_type = R;
  using queue_aware = void;

  call(detail::counted<detail::pending> of, R (*take)(detail::pending&)) noexcept : handle_(std::move(of)), take_(take) {}

  detail::call_awaiter<R> operator co_await() & { return {handle_.take(), take_}; }
  detail::call_awaiter<R> operator co_await() && { return {handle_.take(), take_}; }

  /// Blocks until the result is there. Errors: as the await; errc::would_deadlock inside a task.
  R get() {
    if (run_queue::current() != nullptr) {
      fail(errc::would_deadlock, "get() inside a task would stop the thread that must answer it; use co_await");
    }
    return sync_wait(await(std::move(*this)));
  }
  /// Calls `token`'s handler with (std::exception_ptr, R), or only the former for void, on the handler's associated
  /// executor. Needs <runhouse/runhouse.hpp>.
  template <class Token>
  auto async_get(Token&& token);

  /// Errors: errc::already_taken.
  rh::progress progress() const { return rh::progress(handle_.peek()); }

  /// True if the await would not wait.
  bool is_ready() const noexcept { return handle_.is_ready(); }

  /// Lets the call run to its end with nobody to take its result, or its error. It ends with the program at the latest.
  /// Errors: errc::already_taken.
  void detach() { static_cast<void>(handle_.take()); }

  /// Gives the call up.
  void cancel() noexcept { handle_.cancel(); }

 protected:
  /// What is under way, whose result is then for who takes it. Errors: errc::already_taken.
  detail::counted<detail::pending> release() { return handle_.take(); }

 private:
  RH_TEMPLATE_COROUTINE static task<R> await(call c) { co_return co_await c; }

  detail::call_handle handle_;
  R (*take_)(detail::pending&);
};

}  // namespace rh
