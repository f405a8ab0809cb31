// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/rpc/call_state.hpp>

#include <atomic>
#include <cstddef>
#include <span>
#include <utility>
#include <vector>

namespace rh::detail {

/// Several calls as one: ends when all have.
class gathered_calls final : public pending {
 public:
  explicit gathered_calls(std::vector<call_ptr> calls) : calls_(std::move(calls)), waiters_(calls_.size()), open_(calls_.size() + 1) {
    for (std::size_t i = 0; i < calls_.size(); ++i) waiters_[i].all = this;
  }
  /// Begins to wait for them, holding itself. Once.
  void start() {
    self_ = counted<gathered_calls>(this);
    for (std::size_t i = 0; i < calls_.size(); ++i) {
      if (!calls_[i]->wait(waiters_[i])) arrive();
    }
    arrive();
  }
  void cancel() noexcept override {
    for (const call_ptr& c : calls_) c->cancel();
  }
  std::size_t calls_made() const noexcept override { return calls_.size(); }
  std::size_t calls_ended() const noexcept override {
    const std::size_t open = open_.load(std::memory_order_acquire);
    return open > calls_.size() ? 0 : calls_.size() - open;
  }
  wire::payload_view result(std::size_t index, std::vector<std::span<const std::byte>>& segments) override {
    return calls_[index]->result(0, segments);
  }
  const std::vector<call_ptr>& calls() const noexcept { return calls_; }

 private:
  struct element_waiter final : end_waiter {
    gathered_calls* all = nullptr;
    void ended() noexcept override { all->arrive(); }
  };
  void arrive() noexcept {
    if (open_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    const auto hold = std::exchange(self_, {});
    end();
  }
  std::vector<call_ptr> calls_;
  std::vector<element_waiter> waiters_;
  std::atomic<std::size_t> open_;
  counted<gathered_calls> self_;
};

}  // namespace rh::detail
