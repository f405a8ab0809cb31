// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/rpc/streaming.hpp>
#include <runhouse/send/call.hpp>
#include <runhouse/send/outcome.hpp>

#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace rh {

/// Values that come one by one.
///
///     while (auto one = co_await stream.next()) use(*one);
///
/// What is not taken holds back what follows, so that a slow consumer costs no memory.
/// Cancellation: dropping it cancels what makes the values; cancelling the wait for one leaves the others.
/// Executor: any thread, but one call of next() at a time if their order matters.
template <class T>
class [[nodiscard("a stream that nobody reads is cancelled")]] stream {
 public:
  using value_type = T;

  stream(detail::counted<detail::streaming> of, std::optional<T> (*take)(detail::pending&)) noexcept
      : of_(std::move(of)), take_(take) {}
  stream(stream&&) noexcept = default;
  stream& operator=(stream&& other) noexcept {
    cancel();
    of_ = std::move(other.of_);
    take_ = other.take_;
    return *this;
  }
  ~stream() { cancel(); }

  /// The next value; empty after the last one. Await it, or get(). Errors: those of what makes the values;
  /// errc::already_taken if this stream was moved from or cancelled.
  call<std::optional<T>> next() {
    if (!of_) fail(errc::already_taken, "this stream was moved from, or cancelled");
    return {of_->next(), take_};
  }
  /// Gives up what has not come.
  void cancel() noexcept {
    if (const auto of = std::exchange(of_, {})) of->cancel();
  }
  /// Errors: errc::already_taken.
  rh::progress progress() const {
    if (!of_) fail(errc::already_taken, "this stream was moved from, or cancelled");
    return rh::progress(of_);
  }

 private:
  detail::counted<detail::streaming> of_;
  std::optional<T> (*take_)(detail::pending&);
};

namespace detail {

template <class R>
std::optional<completed<R>> take_completed(pending& ended) {
  auto& element = static_cast<streamed_element&>(ended);
  if (element.is_empty()) return std::nullopt;
  std::vector<std::span<const std::byte>> segments;
  return completed<R>{element.index(), take_outcome<R>(ended, 0, segments)};
}

template <class T>
std::optional<T> take_item(pending& ended) {
  if (static_cast<streamed_element&>(ended).is_empty()) return std::nullopt;
  std::vector<std::span<const std::byte>> segments;
  return decode_result<T>(ended, 0, segments);
}

}  // namespace detail
}  // namespace rh
