// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/rpc/pending.hpp>
#include <runhouse/send/call.hpp>

#include <cstddef>
#include <exception>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace rh {

/// What one call of several gave: its value, or the exception that awaiting it alone would have thrown.
template <class R>
class [[nodiscard]] outcome {
 public:
  using value_type = R;

  explicit outcome(R value) : value_(std::move(value)) {}
  explicit outcome(std::exception_ptr error) noexcept : error_(std::move(error)) {}

  bool has_value() const noexcept { return value_.has_value(); }
  explicit operator bool() const noexcept { return has_value(); }
  /// Throws what the call failed with.
  R& value() & { return throw_error(), *value_; }
  const R& value() const& { return throw_error(), *value_; }
  R value() && { return throw_error(), std::move(*value_); }
  /// Null where there is a value.
  std::exception_ptr error() const noexcept { return error_; }

 private:
  void throw_error() const {
    if (error_) std::rethrow_exception(error_);
  }
  std::optional<R> value_;
  std::exception_ptr error_;
};

/// Of a call that gives nothing: that it succeeded, or the exception.
template <>
class [[nodiscard]] outcome<void> {
 public:
  using value_type = void;

  outcome() noexcept = default;
  explicit outcome(std::exception_ptr error) noexcept : error_(std::move(error)) {}

  bool has_value() const noexcept { return !error_; }
  explicit operator bool() const noexcept { return has_value(); }
  void value() const {
    if (error_) std::rethrow_exception(error_);
  }
  std::exception_ptr error() const noexcept { return error_; }

 private:
  std::exception_ptr error_;
};

/// One of the calls of a map that has ended: which, and what it gave.
template <class R>
struct completed {
  std::size_t index;        ///< in the input, from 0
  rh::outcome<R> outcome;
};

namespace detail {

template <class R>
outcome<R> take_outcome(pending& ended, std::size_t index, std::vector<std::span<const std::byte>>& segments) {
  try {
    if constexpr (std::is_void_v<R>) {
      ended.result(index, segments);
      return outcome<void>();
    } else {
      return outcome<R>(decode_result<R>(ended, index, segments));
    }
  } catch (...) {
    return outcome<R>(std::current_exception());
  }
}
template <class R>
std::vector<outcome<R>> take_outcomes(pending& ended) {
  std::vector<outcome<R>> all;
  std::vector<std::span<const std::byte>> segments;
  const std::size_t count = ended.calls_made();
  all.reserve(count);
  for (std::size_t i = 0; i < count; ++i) all.push_back(take_outcome<R>(ended, i, segments));
  return all;
}

}  // namespace detail
}  // namespace rh
