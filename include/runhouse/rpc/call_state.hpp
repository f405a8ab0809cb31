// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/strand_work.hpp>
#include <runhouse/core/error.hpp>
#include <runhouse/rpc/pending.hpp>
#include <runhouse/rpc/session.hpp>
#include <runhouse/wire/message.hpp>
#include <runhouse/wire/message_stream.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace rh::detail {

/// How a call ended.
struct call_outcome {
  wire::outcome_head head;
  wire::buffer body;
  stage reached = stage::not_started;
  std::string output;  ///< last lines that it printed, where it failed
};

/// One call from its making to the taking of its result: shared by the caller's handle and whoever runs it.
class call_state final : public pending {
 public:
  /// `name` is the mangled name of the callable's type, for messages.
  call_state(std::shared_ptr<session> to, const char* name) : function_name(name), id(next_id()), session_(std::move(to)) {}

  // What is called: set before start().
  wire::call_head head;
  std::vector<wire::shared_payload> arguments;
  const char* const function_name;
  const std::uint64_t id;  ///< unique in this process, from 1

  /// Hands it to its session. Any thread, once.
  void start();
  void cancel() noexcept override;
  bool cancel_requested() const noexcept { return cancelled_.load(std::memory_order_acquire); }

  /// On the strand: it has ended. Later ends of the same call are dropped.
  void finish(call_outcome outcome) noexcept;
  /// Precondition: has_ended().
  call_outcome& outcome() noexcept { return outcome_; }
  const session& where() const noexcept { return *session_; }

 private:
  static std::uint64_t next_id() noexcept {
    static std::atomic<std::uint64_t> last{0};
    return last.fetch_add(1, std::memory_order_relaxed) + 1;
  }
  struct begin_work final : strand_work {
    void run() noexcept override {
      const call_ptr hold = std::exchange(call, {});
      hold->session_->begin(hold);
    }
    call_ptr call;
  };
  struct cancel_work final : strand_work {
    void run() noexcept override {
      const call_ptr hold = std::exchange(call, {});
      if (!hold->has_ended()) hold->session_->cancel(*hold);
    }
    call_ptr call;
  };

  std::shared_ptr<session> session_;
  std::atomic<bool> cancelled_{false};
  call_outcome outcome_;
  begin_work begin_;
  cancel_work cancel_;
};

// ---- implementation

inline void call_state::start() {
  begin_.call = call_ptr(this);
  session_->defer(begin_);
}

inline void call_state::cancel() noexcept {
  if (cancelled_.exchange(true, std::memory_order_acq_rel) || has_ended()) return;
  cancel_.call = call_ptr(this);
  session_->defer(cancel_);
}

inline void call_state::finish(call_outcome outcome) noexcept {
  if (has_ended()) return;
  outcome_ = std::move(outcome);
  end();
}

}  // namespace rh::detail
