// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/rpc/streaming.hpp>

#include <algorithm>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

namespace rh::detail {

/// Things that have ended, one by one, and the consumers who wait for the next of them.
class element_queue : public streaming {
 public:
  inline counted<streamed_element> next() override;

 protected:
  /// Empty: there are no more.
  struct element {
    std::size_t index = 0;
    counted<pending> value;
  };
  /// One more, for the consumer that has waited longest, or the next to come. On the strand.
  void give(element e);
  /// There will be no more. On the strand, once.
  void give_no_more();
  /// A consumer has one: at once, within give(), or later, from any thread.
  virtual void taken(const element& e, bool at_once) noexcept = 0;

 private:
  class next_element;

  std::mutex mutex_;
  std::deque<element> elements_;
  std::deque<counted<next_element>> waiting_;
  bool no_more_ = false;
};

/// One consumer's wait for the next one.
class element_queue::next_element final : public streamed_element {
 public:
  explicit next_element(counted<element_queue> of) noexcept : of_(std::move(of)) {}

  std::size_t index() const noexcept override { return given_.index; }
  call_origin origin(std::size_t) const override { return given_.value->origin(0); }
  bool is_empty() const noexcept override { return !given_.value && !cancelled_; }
  void* received(std::size_t) noexcept override { return cancelled_ ? nullptr : given_.value->received(0); }
  std::shared_ptr<const wire::payload_file> in_file() const noexcept override { return given_.value->in_file(); }
  wire::payload_view result(std::size_t, std::vector<std::span<const std::byte>>& segments) override {
    if (cancelled_) fail(errc::cancelled, "the wait for the next result was cancelled");
    return given_.value->result(0, segments);
  }
  void cancel() noexcept override {
    {
      const std::lock_guard lock(of_->mutex_);
      const auto mine = std::find_if(of_->waiting_.begin(), of_->waiting_.end(), [&](const auto& w) { return w.get() == this; });
      if (mine == of_->waiting_.end()) return;
      const counted<next_element> hold = *mine;
      of_->waiting_.erase(mine);
      cancelled_ = true;
    }
    end();
  }
  /// Without the lock.
  void give(element e) noexcept {
    given_ = std::move(e);
    end();
  }

 private:
  const counted<element_queue> of_;
  element given_;
  bool cancelled_ = false;
};

// ---- implementation

inline void element_queue::give(element e) {
  counted<next_element> to;
  {
    const std::lock_guard lock(mutex_);
    if (waiting_.empty()) {
      elements_.push_back(std::move(e));
      return;
    }
    to = std::move(waiting_.front());
    waiting_.pop_front();
  }
  taken(e, true);
  to->give(std::move(e));
}

inline void element_queue::give_no_more() {
  std::deque<counted<next_element>> waiting;
  {
    const std::lock_guard lock(mutex_);
    no_more_ = true;
    waiting.swap(waiting_);
  }
  for (const auto& w : waiting) w->give({});
}

inline counted<streamed_element> element_queue::next() {
  const counted<next_element> made(new next_element(counted<element_queue>(this)));
  element e;
  {
    const std::lock_guard lock(mutex_);
    if (elements_.empty() && !no_more_) {
      waiting_.push_back(made);
      return made;
    }
    if (!elements_.empty()) {
      e = std::move(elements_.front());
      elements_.pop_front();
    }
  }
  if (e.value) taken(e, false);
  made->give(std::move(e));
  return made;
}

}  // namespace rh::detail
