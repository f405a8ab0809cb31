// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/wire/start_gate.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace rh::wire {

/// Whole frames that a worker has ready and not yet sent, in memory that it shares with its node: so several outcomes
/// of short calls can leave in one write, and none is lost if the next call kills the worker.
/// Source: wire/protocol.md, section 8.4.
class outbox {
 public:
  static constexpr std::size_t capacity_bytes = 16384 - 64;

  /// Worker: false if there is no room.
  bool append(std::span<const std::byte> frame) noexcept {
    const std::size_t used = used_.load(std::memory_order_relaxed);
    if (frame.size() > capacity_bytes - used) return false;
    std::memcpy(frames_ + used, frame.data(), frame.size());
    // Only after the bytes: it may be looked at between any two instructions.
    used_.store(static_cast<std::uint32_t>(used + frame.size()), std::memory_order_release);
    return true;
  }
  /// Worker: all was sent.
  void clear() noexcept { used_.store(0, std::memory_order_release); }
  /// What is in it; the other side may have written anything.
  std::span<const std::byte> frames() const noexcept {
    return {frames_, std::min<std::size_t>(used_.load(std::memory_order_acquire), capacity_bytes)};
  }

 private:
  std::atomic<std::uint32_t> used_{0};
  alignas(64) std::byte frames_[capacity_bytes];
};

/// The memory that a node shares with one worker.
struct worker_memory {
  static constexpr std::size_t outbox_offset = 4096;

  start_gate gate;
  alignas(outbox_offset) outbox out;
};

}  // namespace rh::wire
