// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/rpc/call_state.hpp>
#include <runhouse/rpc/pending.hpp>
#include <runhouse/wire/payload.hpp>

#include <algorithm>
#include <cstddef>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

namespace rh::detail {

/// The result of a call, or what is like one, kept for any number of consumers.
class kept_result final : public pending, end_waiter {
 public:
  explicit kept_result(call_ptr from) noexcept : from_(std::move(from)) {}
  /// Begins to wait for the call, holding itself. Once.
  void start() {
    self_ = counted<kept_result>(this);
    if (!from_->wait(*this)) ended();
  }

  bool wait(end_waiter& w) noexcept override {
    const std::lock_guard lock(mutex_);
    if (has_ended()) return false;
    waiters_.push_back(&w);
    return true;
  }
  bool withdraw(end_waiter& w) noexcept override {
    const std::lock_guard lock(mutex_);
    return std::erase(waiters_, &w) != 0;
  }
  void cancel() noexcept override { from_->cancel(); }
  void detach() noexcept override { from_->detach(); }
  const call_outcome* failure() const noexcept override { return from_->failure(); }
  call_origin origin(std::size_t) const override { return from_->origin(0); }
  const call_state* maker() const noexcept override { return from_.get(); }
  std::shared_ptr<const wire::payload_file> in_file() const noexcept override { return from_->in_file(); }
  wire::payload_view result(std::size_t, std::vector<std::span<const std::byte>>& segments) override {
    return from_->result(0, segments);
  }

 private:
  void ended() noexcept override {
    const auto hold = std::exchange(self_, {});
    std::vector<end_waiter*> waiters;
    {
      const std::lock_guard lock(mutex_);
      end();
      waiters.swap(waiters_);
    }
    for (end_waiter* w : waiters) w->ended();
  }

  const call_ptr from_;
  counted<kept_result> self_;
  std::mutex mutex_;
  std::vector<end_waiter*> waiters_;
};

/// A value that was given by the program.
class put_value final : public pending {
 public:
  /// Its bytes were taken from the session's store.
  put_value(wire::shared_payload value, std::shared_ptr<session> at) noexcept : value_(std::move(value)), session_(std::move(at)) {
    end();
  }
  ~put_value() override { session_->free_store(value_->size_bytes()); }
  void cancel() noexcept override {}
  call_origin origin(std::size_t) const override { return {"put", session_->host(), 0, stage::ran}; }
  std::shared_ptr<const wire::payload_file> in_file() const noexcept override { return value_->file; }
  wire::payload_view result(std::size_t, std::vector<std::span<const std::byte>>& segments) override {
    return wire::view(*value_, segments);
  }

 private:
  const wire::shared_payload value_;
  const std::shared_ptr<session> session_;
};

}  // namespace rh::detail
