// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/run_queue.hpp>
#include <runhouse/async/sync_wait.hpp>
#include <runhouse/async/task.hpp>
#include <runhouse/core/error.hpp>
#include <runhouse/rpc/call_handle.hpp>
#include <runhouse/rpc/pending.hpp>
#include <runhouse/rpc/result_receiver.hpp>
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
  if constexpr (wire::is_own_raw_array<R>) {
    if (void* const value = ended.received(index)) return std::move(*static_cast<R*>(value));
  }
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

  /// How many calls are before it in its queue, which it is in by send::enqueue; 0 when it runs or has ended. What is
  /// awaited is a moment's answer. Errors: errc::already_taken.
  call<std::uint64_t> queue_place() const;

  /// True if the await would not wait.
  bool is_ready() const noexcept { return handle_.is_ready(); }

  /// Lets the call run to its end with nobody to take its result, or its error. On a node what has reached it goes on when
  /// the program has ended, also those calls of a map that have; calls on `local` end with it.
  /// Errors: errc::already_taken.
  void detach() { handle_.take()->detach(); }

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

// ---- implementation

template <class R>
call<std::uint64_t> call<R>::queue_place() const {
  detail::counted<detail::pending> asked = handle_.peek()->queue_place();
  if (!asked) fail(errc::already_taken, "only a single call has a place in a queue");
  return {std::move(asked), &detail::take_one<std::uint64_t>};
}

}  // namespace rh
