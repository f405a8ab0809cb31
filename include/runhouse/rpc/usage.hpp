// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace rh {

/// What a program has on a cluster.
struct usage {
  std::size_t unfinished_calls = 0;
  std::size_t values = 0;  ///< that refs, or unfinished calls that take them, hold there
  std::uint64_t value_bytes = 0;
};

namespace detail {

/// A number that one thread mostly raises and another mostly lowers, without a cache line that both write.
class up_down_count {
 public:
  void raise() noexcept { raised_.fetch_add(1, std::memory_order_relaxed); }
  void lower() noexcept { lowered_.fetch_add(1, std::memory_order_relaxed); }
  std::size_t now() const noexcept {
    const std::size_t lowered = lowered_.load(std::memory_order_acquire);  // first, so that this is not negative
    return raised_.load(std::memory_order_acquire) - lowered;
  }

 private:
  alignas(64) std::atomic<std::size_t> raised_{0};
  alignas(64) std::atomic<std::size_t> lowered_{0};
};

/// The same, while it changes. Any thread.
struct usage_counts {
  up_down_count unfinished_calls;
  up_down_count values;

  usage now() const noexcept { return {unfinished_calls.now(), values.now(), 0}; }
};

}  // namespace detail
}  // namespace rh
