// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/strand_work.hpp>
#include <runhouse/core/limits.hpp>
#include <runhouse/rpc/argument_columns.hpp>
#include <runhouse/rpc/call_state.hpp>
#include <runhouse/rpc/element_queue.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace rh::detail {

/// Many calls of one function, of which only so many are made at a time: a call that waits costs its arguments' bytes,
/// and one that has ended its result's.
class mapped_calls final : public element_queue {
 public:
  template <class Session>
  mapped_calls(const std::shared_ptr<Session>& at, const function_entry& function, argument_columns arguments,
               call_options options, map_results how, std::size_t window)
      : session_(at), runner_(at.get()), function_(function), arguments_(std::move(arguments)), options_(std::move(options)), how_(how), total_(arguments_.size()),
        calls_(std::min(window, total_)) {
    for (made_call& m : calls_) {
      m.all = this;
      free_.push_back(&m);
    }
    if (how_ == map_results::all) results_.resize(total_);
  }

  /// Begins, holding itself until all have ended. Once.
  void start() {
    self_ = counted<mapped_calls>(this);
    fill_later();
  }
  inline void cancel() noexcept override;
  inline void detach() noexcept override;

  std::size_t calls_made() const noexcept override { return total_; }
  std::size_t calls_ended() const noexcept override { return ended_.load(std::memory_order_acquire); }
  call_origin origin(std::size_t) const override { return {pretty_name(function_.name), session_->host(), 0, stage::ran}; }
  inline wire::payload_view result(std::size_t index, std::vector<std::span<const std::byte>>& segments) override;
  inline void* received(std::size_t index) noexcept override;

 private:
  struct made_call final : end_waiter {
    void ended() noexcept override { all->call_came_back(*this); }
    mapped_calls* all = nullptr;
    std::size_t index = 0;
    std::uint64_t bytes = 0;  // of its arguments
    call_ptr call;
  };
  struct fill_work final : strand_work {
    void run() noexcept override {
      const auto hold = std::exchange(all, {});
      hold->fill_is_coming_.store(false);
      hold->fill();
    }
    counted<mapped_calls> all;
  };
  struct cancel_work final : strand_work {
    void run() noexcept override {
      const auto hold = std::exchange(all, {});
      hold->cancel_now();
    }
    counted<mapped_calls> all;
  };
  struct detach_work final : strand_work {
    explicit detach_work(mapped_calls& m) noexcept : all(&m) {}
    void run() noexcept override {
      for (made_call& m : all->calls_) {
        if (m.call) m.call->detach();
      }
      delete this;
    }
    const counted<mapped_calls> all;
  };
  /// Where a result is: `size_bytes` in small_results_, or call `at` of kept_.
  struct place {
    static constexpr std::uint32_t kept = 0xffffffff;
    static constexpr std::uint32_t none = 0xfffffffe;
    std::uint64_t at = 0;
    std::uint32_t size_bytes = none;
  };

  void fill_later() noexcept;
  void fill() noexcept;
  void begin(made_call& m);
  void call_came_back(made_call& m) noexcept;
  void keep_result(made_call& m);
  void cancel_now() noexcept;
  void end_if_done() noexcept;
  inline void taken(const element& e, bool at_once) noexcept override;
  bool has_room() const noexcept {
    return (how_ == map_results::all || untaken_.load() < calls_.size()) && (bytes_ < limits::session_ahead_bytes || free_.size() == calls_.size());
  }

  const std::shared_ptr<session> session_;
  call_runner* const runner_;
  const function_entry& function_;
  argument_columns arguments_;
  const call_options options_;
  const map_results how_;
  const std::size_t total_;
  counted<mapped_calls> self_;
  std::atomic<std::size_t> ended_{0};
  std::atomic<bool> cancelled_{false};
  std::atomic<bool> detached_{false};
  std::atomic<bool> fill_is_coming_{false};
  std::atomic<std::size_t> untaken_{0};  // one by one: made, and not taken
  fill_work fill_;
  cancel_work cancel_;

  // On the strand.
  std::vector<made_call> calls_;
  std::vector<made_call*> free_;
  std::size_t next_ = 0;
  std::uint64_t bytes_ = 0;  // of the arguments of the calls that are made
  bool filling_ = false;
  bool done_ = false;

  // Written on the strand, read when all have ended.
  std::vector<place> results_;
  std::vector<std::byte> small_results_;
  std::vector<call_ptr> kept_;
};

// ---- implementation

inline void mapped_calls::fill_later() noexcept {
  if (fill_is_coming_.exchange(true)) return;
  fill_.all = counted<mapped_calls>(this);
  runner_->defer(fill_);
}

/// Makes calls while there is room. What ends at once does not make more of them deeper in.
inline void mapped_calls::fill() noexcept {
  if (std::exchange(filling_, true)) return;
  while (!cancelled_.load() && next_ < total_ && !free_.empty() && has_room()) {
    made_call& m = *free_.back();
    free_.pop_back();
    m.index = next_++;
    untaken_.fetch_add(1);
    begin(m);
  }
  filling_ = false;
  end_if_done();
}

inline void mapped_calls::begin(made_call& m) {
  call_arguments arguments = arguments_.take(m.index);
  m.bytes = 0;
  for (const call_argument& a : arguments) {
    if (a.bytes() && a.bytes().use_count() == 1) m.bytes += a.bytes()->size_bytes();  // not what others share
  }
  bytes_ += m.bytes;
  m.call = runner_->make(function_, std::move(arguments), options_);
  m.call->start_on_strand();
  if (detached_.load()) m.call->detach();
  if (!m.call->wait(m)) call_came_back(m);
}

inline void mapped_calls::call_came_back(made_call& m) noexcept {
  if (how_ == map_results::all) {
    keep_result(m);
  } else {
    give({m.index, std::move(m.call)});
  }
  m.call = {};
  bytes_ -= m.bytes;
  free_.push_back(&m);
  ended_.fetch_add(1, std::memory_order_release);
  // In batches, so that calls leave in batches. Nothing follows either, for this may be gone then.
  if (2 * free_.size() >= calls_.size()) {
    fill();
  } else {
    end_if_done();
  }
}

inline void mapped_calls::keep_result(made_call& m) {
  place& p = results_[m.index];
  std::vector<std::span<const std::byte>> segments;
  constexpr std::size_t most_small_bytes = 4096;
  if (m.call->failure() == nullptr && !m.call->in_file() && m.call->received(0) == nullptr) {
    const wire::payload_view value = m.call->result(0, segments);
    if (value.segments.empty() && value.stream.size() <= most_small_bytes) {
      const std::size_t at = (small_results_.size() + 15) / 16 * 16;  // as decoding wants it
      small_results_.resize(at + value.stream.size());
      if (!value.stream.empty()) std::memcpy(small_results_.data() + at, value.stream.data(), value.stream.size());
      p = {at, static_cast<std::uint32_t>(value.stream.size())};
      return;
    }
  }
  p = {kept_.size(), place::kept};
  kept_.push_back(std::move(m.call));
}

inline void mapped_calls::taken(const element&, bool at_once) noexcept {
  // Half of the room at a time.
  const std::size_t left = untaken_.fetch_sub(1) - 1;
  if (!at_once && left <= calls_.size() / 2) fill_later();
}

inline void mapped_calls::end_if_done() noexcept {
  const bool all_made = next_ == total_ || cancelled_.load();
  if (done_ || filling_ || !all_made || free_.size() != calls_.size()) return;
  done_ = true;
  const auto hold = std::exchange(self_, {});
  give_no_more();
  end();
}

inline void mapped_calls::cancel() noexcept {
  if (cancelled_.exchange(true) || has_ended()) return;
  cancel_.all = counted<mapped_calls>(this);
  runner_->defer(cancel_);
}

/// Those that are made, and those that will be.
inline void mapped_calls::detach() noexcept {
  if (!detached_.exchange(true) && !has_ended()) runner_->defer(*new detach_work(*this));
}

inline void mapped_calls::cancel_now() noexcept {
  for (made_call& m : calls_) {
    if (m.call) m.call->cancel();
  }
  end_if_done();
}

inline wire::payload_view mapped_calls::result(std::size_t index, std::vector<std::span<const std::byte>>& segments) {
  const place& p = results_[index];
  if (p.size_bytes == place::none) fail(errc::cancelled, "this call of a map was cancelled before it was made");
  if (p.size_bytes == place::kept) return kept_[static_cast<std::size_t>(p.at)]->result(0, segments);
  return {std::span(small_results_).subspan(static_cast<std::size_t>(p.at), p.size_bytes), {}};
}

inline void* mapped_calls::received(std::size_t index) noexcept {
  const place& p = results_[index];
  return p.size_bytes == place::kept ? kept_[static_cast<std::size_t>(p.at)]->received(0) : nullptr;
}

}  // namespace rh::detail
