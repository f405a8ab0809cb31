// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/strand_work.hpp>
#include <runhouse/core/limits.hpp>
#include <runhouse/rpc/call_state.hpp>
#include <runhouse/rpc/element_queue.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace rh::detail {

/// The items of one call of a generator, in their order; what it fails with is the last of them.
///
/// The generator may be so far ahead of its consumer, and waits then. Here the consumer is said to have taken items when
/// they are half of that, so one that has taken all that came never leaves the generator waiting.
class generated_items final : public element_queue, item_receiver, end_waiter {
 public:
  explicit generated_items(call_ptr from) : from_(std::move(from)) { from_->items = this; }
  /// Starts the call, holding itself until that has ended. Once.
  void start() {
    self_ = counted<generated_items>(this);
    if (!from_->wait(*this)) return ended();
    from_->start();
  }

  void cancel() noexcept override { from_->cancel(); }
  std::size_t calls_ended() const noexcept override { return from_->calls_ended(); }
  call_origin origin(std::size_t) const override { return from_->origin(0); }
  wire::payload_view result(std::size_t, std::vector<std::span<const std::byte>>& segments) override {
    return from_->result(0, segments);
  }

 private:
  /// One that has come.
  class item final : public pending {
   public:
    item(call_ptr from, call_outcome&& outcome) noexcept
        : from_(std::move(from)), shape_(std::move(outcome.head.result)), body_(std::move(outcome.body)), file_(std::move(outcome.file)) {
      end();
    }
    void cancel() noexcept override {}
    call_origin origin(std::size_t) const override { return from_->origin(0); }
    std::shared_ptr<const wire::payload_file> in_file() const noexcept override { return file_; }
    wire::payload_view result(std::size_t, std::vector<std::span<const std::byte>>& segments) override {
      if (file_) return wire::view(*file_, segments);
      wire::payload_view value;
      wire::view_payloads({&shape_, 1}, body_.bytes(), segments, {&value, 1});
      return value;
    }
    std::uint64_t size_bytes() const noexcept { return file_ ? file_->size_bytes() : body_.size(); }

   private:
    const call_ptr from_;
    const wire::payload_shape shape_;
    const wire::buffer body_;
    const std::shared_ptr<const wire::payload_file> file_;
  };
  struct tell_work final : strand_work {
    void run() noexcept override {
      const auto hold = std::exchange(of, {});
      hold->tell();
    }
    counted<generated_items> of;
  };

  void item_came(call_outcome&& outcome) override {
    if (from_->cancel_requested()) return;
    const counted<item> made(new item(from_, std::move(outcome)));
    give({next_index_++, made});
  }
  void ended() noexcept override {
    const auto hold = std::exchange(self_, {});
    from_->items = nullptr;
    if (from_->failure() != nullptr) give({next_index_, from_});
    give_no_more();
    end();
  }
  void taken(const element& e, bool) noexcept override {
    if (e.value.get() == from_.get()) return;
    const std::uint64_t bytes = static_cast<const item&>(*e.value).size_bytes();
    const std::uint64_t sum = bytes_.fetch_add(bytes) + bytes;
    const std::uint32_t count = count_.fetch_add(1) + 1;
    if (sum < limits::items_ahead_bytes / 2 && count < limits::items_ahead / 2) return;
    if (from_->has_ended() || tells_.exchange(true)) return;
    tell_.of = counted<generated_items>(this);
    from_->at_runner().defer(tell_);
  }
  void tell() noexcept {
    tells_.store(false);
    bytes_.store(0);
    const std::uint32_t count = count_.exchange(0);
    if (count > 0 && !from_->has_ended()) from_->at_runner().items_taken(*from_, count);
  }

  const call_ptr from_;
  counted<generated_items> self_;
  std::size_t next_index_ = 0;
  std::atomic<std::uint64_t> bytes_{0};  // of those that were taken since that was last told
  std::atomic<std::uint32_t> count_{0};
  std::atomic<bool> tells_{false};
  tell_work tell_;
};

}  // namespace rh::detail
