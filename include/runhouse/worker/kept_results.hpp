// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/limits.hpp>
#include <runhouse/wire/payload.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <utility>
#include <vector>

namespace rh::detail {

/// The results of a worker's last calls, for calls that were sent before these had ended. The oldest go first.
/// Source: wire/protocol.md, section 4.5.
class kept_results {
 public:
  void keep(std::uint32_t number, wire::payload value) {
    const std::size_t bytes = static_cast<std::size_t>(value.size_bytes());
    if (bytes > limits::kept_result_bytes) return;
    bytes_ += bytes;
    kept& k = results_.emplace_back();
    k.number = number;
    k.bytes = bytes;
    k.value = std::move(value);
    k.view = wire::view(k.value, k.segments);
    while (results_.size() > limits::kept_results || bytes_ > limits::kept_result_bytes) {
      bytes_ -= results_.front().bytes;
      results_.pop_front();
    }
  }
  /// What call `number` gave, until the next keep(); null if that is not here.
  const wire::payload_view* find(std::uint32_t number) const noexcept {
    const auto found = std::find_if(results_.rbegin(), results_.rend(), [&](const kept& k) { return k.number == number; });
    return found == results_.rend() ? nullptr : &found->view;
  }

 private:
  struct kept {
    std::uint32_t number = 0;
    std::size_t bytes = 0;
    wire::payload value;
    std::vector<std::span<const std::byte>> segments;
    wire::payload_view view;
  };
  std::deque<kept> results_;
  std::size_t bytes_ = 0;
};

}  // namespace rh::detail
