// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/rpc/pending.hpp>
#include <runhouse/rpc/usage.hpp>

#include <atomic>
#include <memory>
#include <utility>

namespace rh::detail {

/// What keeps a value on its cluster: shared by its refs and by every unfinished call that takes it. When the last is
/// gone the value is freed, and if it is not there yet, the call that makes it is cancelled.
class session;

class value_holder {
 public:
  /// `counts` is the session's.
  value_holder(counted<pending> value, std::shared_ptr<session> at, usage_counts& counts) noexcept
      : value_(std::move(value)), session_(std::move(at)), counts_(counts) {
    counts_.values.raise();
  }
  value_holder(const value_holder&) = delete;
  value_holder& operator=(const value_holder&) = delete;
  inline ~value_holder();

  const counted<pending>& value() const noexcept { return value_; }
  /// The call that makes it goes on when nobody holds it any more.
  void detach() const noexcept {
    if (!detached_.exchange(true, std::memory_order_relaxed)) value_->detach();
  }
  /// Where it lives, which lives as long.
  session* where() const noexcept { return session_.get(); }

 private:
  counted<pending> value_;
  std::shared_ptr<session> session_;
  usage_counts& counts_;
  mutable std::atomic<bool> detached_{false};
};

}  // namespace rh::detail
