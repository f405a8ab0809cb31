// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/strand_work.hpp>
#include <runhouse/rpc/pending.hpp>
#include <runhouse/rpc/session.hpp>
#include <runhouse/rpc/throw_outcome.hpp>
#include <runhouse/wire/message.hpp>
#include <runhouse/wire/message_stream.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace rh::detail {

class call_state;
using call_ptr = counted<call_state>;

/// Who runs the calls of a session.
class call_runner {
 public:
  /// On the strand: takes over the call.
  virtual void begin(call_ptr call) noexcept = 0;
  /// On the strand: its caller no longer wants it. It may have ended already.
  virtual void cancel(call_state& call) noexcept = 0;
  /// Any thread: have `work` run on the strand.
  virtual void defer(strand_work& work) noexcept = 0;

 protected:
  ~call_runner() = default;
};

/// One call from its making to the taking of its result: shared by the caller's handle and whoever runs it.
class call_state final : public pending {
 public:
  /// `name` is the mangled name of the callable's type, for messages.
  template <class Session>
  call_state(const std::shared_ptr<Session>& to, const char* name)
      : function_name(name), id(next_id()), session_(to), runner_(to.get()) {}

  // What is called: set before start().
  wire::call_head head;
  std::vector<wire::shared_payload> arguments;
  const char* const function_name;
  const std::uint64_t id;  ///< unique in this process, from 1

  /// Hands it to its session. Any thread, once.
  void start();
  inline void cancel() noexcept override;
  bool cancel_requested() const noexcept { return cancelled_.load(std::memory_order_acquire); }

  /// On the strand: it has ended. Later ends of the same call are dropped.
  void finish(call_outcome outcome) noexcept;
  inline wire::payload_view result(std::size_t, std::vector<std::span<const std::byte>>& segments) override;

 private:
  static std::uint64_t next_id() noexcept {
    static std::atomic<std::uint64_t> last{0};
    return last.fetch_add(1, std::memory_order_relaxed) + 1;
  }
  struct begin_work final : strand_work {
    void run() noexcept override {
      const call_ptr hold = std::exchange(call, {});
      hold->runner_->begin(hold);
    }
    call_ptr call;
  };
  struct cancel_work final : strand_work {
    void run() noexcept override {
      const call_ptr hold = std::exchange(call, {});
      if (!hold->has_ended()) hold->runner_->cancel(*hold);
    }
    call_ptr call;
  };

  const std::shared_ptr<session> session_;
  call_runner* const runner_;  // the same object
  std::atomic<bool> cancelled_{false};
  call_outcome outcome_;
  begin_work begin_;
  cancel_work cancel_;
};

// ---- implementation

inline void call_state::start() {
  begin_.call = call_ptr(this);
  runner_->defer(begin_);
}

inline void call_state::cancel() noexcept {
  if (cancelled_.exchange(true, std::memory_order_acq_rel) || has_ended()) return;
  cancel_.call = call_ptr(this);
  runner_->defer(cancel_);
}

inline wire::payload_view call_state::result(std::size_t, std::vector<std::span<const std::byte>>& segments) {
  if (outcome_.head.kind != wire::outcome_kind::value) throw_outcome(std::move(outcome_), function_name, session_->host(), id);
  wire::payload_view value;
  wire::view_payloads({&outcome_.head.result, 1}, outcome_.body.bytes(), segments, {&value, 1});
  return value;
}

inline void call_state::finish(call_outcome outcome) noexcept {
  if (has_ended()) return;
  outcome_ = std::move(outcome);
  end();
}

}  // namespace rh::detail
