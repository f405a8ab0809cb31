// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>

namespace rh::detail {

/// How much of the room for values is taken. Any thread.
class store_account {
 public:
  explicit store_account(std::uint64_t limit_bytes) noexcept : limit_(limit_bytes) {}

  /// False if it does not fit.
  bool take(std::uint64_t bytes) noexcept {
    std::uint64_t used = used_.load();
    do {
      if (bytes > limit_ || used > limit_ - bytes) return false;
    } while (!used_.compare_exchange_weak(used, used + bytes));
    return true;
  }
  /// Whether it fits or not: for a value that is there already.
  void take_anyway(std::uint64_t bytes) noexcept { used_.fetch_add(bytes); }
  /// True if somebody waits for room, who is then to be told. Each is told once.
  bool give_back(std::uint64_t bytes) noexcept {
    used_.fetch_sub(bytes);
    return waited_for_.exchange(false);
  }
  /// After a take() that failed, and before one more.
  void wait_for_room() noexcept { waited_for_.store(true); }

  std::uint64_t used_bytes() const noexcept { return used_.load(); }
  std::uint64_t limit_bytes() const noexcept { return limit_; }

 private:
  const std::uint64_t limit_;
  std::atomic<std::uint64_t> used_{0};
  std::atomic<bool> waited_for_{false};
};

}  // namespace rh::detail
