// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/rpc/pending.hpp>
#include <runhouse/rpc/value_holder.hpp>
#include <runhouse/wire/payload.hpp>

#include <cstddef>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace rh::detail {

/// One consumer's wait for a value that others may want as well: to cancel it leaves the value as it is.
class fetched_value final : public pending, end_waiter {
 public:
  explicit fetched_value(std::shared_ptr<const value_holder> of) noexcept : of_(std::move(of)) {}
  /// Begins to wait for the value, holding itself. Once.
  void start() {
    self_ = counted<fetched_value>(this);
    if (!of_->value()->wait(*this)) ended();
  }

  void cancel() noexcept override {
    if (has_ended() || !of_->value()->withdraw(*this)) return;
    cancelled_ = true;
    ended();
  }
  call_origin origin(std::size_t) const override { return of_->value()->origin(0); }
  const call_outcome* failure() const noexcept override { return cancelled_ ? nullptr : of_->value()->failure(); }
  std::shared_ptr<const wire::payload_file> in_file() const noexcept override { return cancelled_ ? nullptr : of_->value()->in_file(); }
  wire::payload_view result(std::size_t, std::vector<std::span<const std::byte>>& segments) override {
    if (cancelled_) fail(errc::cancelled, "the wait for a value was cancelled");
    return of_->value()->result(0, segments);
  }

 private:
  void ended() noexcept override {
    const auto hold = std::exchange(self_, {});
    end();
  }

  const std::shared_ptr<const value_holder> of_;
  counted<fetched_value> self_;
  bool cancelled_ = false;
};

}  // namespace rh::detail
