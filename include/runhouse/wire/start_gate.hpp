// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/config.hpp>

#include <atomic>
#include <cstdint>

namespace rh::wire {

/// The word that a node and one of its workers share: which calls have been started, and which were taken back.
///
/// Calls to a worker are numbered from 1, and wrap around. The high half of the word is the last call started, the low
/// half the last call decided: every call up to it was started or taken back, each later one is open. Both sides change
/// it by compare-and-swap, so a call is started or taken back, never both; and it survives the worker, so that after a
/// SIGKILL it is known whether a call had begun. Source: wire/protocol.md, section 8.
class start_gate {
 public:
  /// Worker: true if call `number` may run, which then counts as started; false if it was taken back, or started before.
  bool claim(std::uint32_t number) noexcept {
    std::uint64_t word = word_.load(std::memory_order_acquire);
    for (;;) {
      if (!is_after(number, static_cast<std::uint32_t>(word))) return false;
      // The low half follows: left behind by 2^31 calls it would seem to be ahead of them.
      const std::uint64_t next = std::uint64_t{number} << 32 | number;
      if (word_.compare_exchange_weak(word, next, std::memory_order_acq_rel)) return true;
    }
  }
  /// Node: takes back every call up to `last` that was not started; returns the last call that was.
  std::uint32_t revoke(std::uint32_t last) noexcept {
    std::uint64_t word = word_.load(std::memory_order_acquire);
    while (is_after(last, static_cast<std::uint32_t>(word)) &&
           !word_.compare_exchange_weak(word, (word & 0xffffffff00000000) | last, std::memory_order_acq_rel)) {
    }
    return static_cast<std::uint32_t>(word >> 32);
  }
  std::uint32_t started() const noexcept {
    return static_cast<std::uint32_t>(word_.load(std::memory_order_acquire) >> 32);
  }

  /// Order of call numbers, which wrap around.
  static bool is_after(std::uint32_t a, std::uint32_t b) noexcept { return static_cast<std::int32_t>(a - b) > 0; }

 private:
  static_assert(std::atomic<std::uint64_t>::is_always_lock_free);
  std::atomic<std::uint64_t> word_{0};
};

}  // namespace rh::wire
