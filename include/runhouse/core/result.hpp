// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>

#include <utility>
#include <variant>

namespace rh {

/// A value, or the errc that says why there is none: what parsers and other pure functions return.
template <class T>
class [[nodiscard]] result {
 public:
  result(T value) : state_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: a value is a result
  result(errc code) noexcept : state_(std::in_place_index<1>, code) {}   // NOLINT: and so is an error

  bool has_value() const noexcept { return state_.index() == 0; }
  explicit operator bool() const noexcept { return has_value(); }

  /// Precondition: has_value().
  const T& operator*() const& noexcept { return *std::get_if<0>(&state_); }
  T& operator*() & noexcept { return *std::get_if<0>(&state_); }
  T&& operator*() && noexcept { return std::move(*std::get_if<0>(&state_)); }
  const T* operator->() const noexcept { return std::get_if<0>(&state_); }
  T* operator->() noexcept { return std::get_if<0>(&state_); }

  /// Precondition: !has_value().
  errc code() const noexcept { return *std::get_if<1>(&state_); }

  /// The value, or throws rh::error.
  T value() && {
    if (!has_value()) fail(code(), name_of(code()));
    return std::move(**this);
  }

 private:
  std::variant<T, errc> state_;
};

}  // namespace rh
