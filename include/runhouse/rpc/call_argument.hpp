// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/rpc/value_holder.hpp>
#include <runhouse/wire/payload.hpp>

#include <algorithm>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace rh::detail {

/// One argument of a call: bytes, or a value that is on the cluster or will be, or several of these as a list.
class call_argument {
  using value = std::shared_ptr<const value_holder>;

 public:
  call_argument(wire::shared_payload bytes) noexcept : bytes_(std::move(bytes)) {}  // NOLINT: most are
  call_argument(value one) : values_(std::make_shared<const held_values>(held_values{{std::move(one)}, false})) {}  // NOLINT
  explicit call_argument(std::vector<value> list) : values_(std::make_shared<const held_values>(held_values{std::move(list), true})) {}

  /// Null for values.
  const wire::shared_payload& bytes() const noexcept { return bytes_; }
  std::span<const value> values() const noexcept { return values_ ? std::span<const value>(values_->all) : std::span<const value>(); }
  bool is_list() const noexcept { return values_ && values_->is_list; }
  /// True if it is there, or its call has failed.
  bool has_ended() const noexcept {
    return std::ranges::all_of(values(), [](const value& held) { return held->value()->has_ended(); });
  }

 private:
  struct held_values {
    std::vector<value> all;
    bool is_list;
  };
  // Two pointers, since most are bytes and are moved a few times.
  wire::shared_payload bytes_;
  std::shared_ptr<const held_values> values_;
};

/// Those of one call: the callable's state, if it has any, then the parameters in order.
using call_arguments = std::vector<call_argument>;

}  // namespace rh::detail
