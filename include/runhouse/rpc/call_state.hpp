// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/strand_work.hpp>
#include <runhouse/core/errc.hpp>
#include <runhouse/core/error.hpp>
#include <runhouse/function/function_table.hpp>
#include <runhouse/function/pretty_name.hpp>
#include <runhouse/rpc/call_argument.hpp>
#include <runhouse/rpc/call_options.hpp>
#include <runhouse/rpc/node_request.hpp>
#include <runhouse/rpc/pending.hpp>
#include <runhouse/rpc/session.hpp>
#include <runhouse/rpc/throw_outcome.hpp>
#include <runhouse/wire/message.hpp>
#include <runhouse/wire/message_stream.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rh::detail {

class call_state;
using call_ptr = counted<call_state>;

/// Who runs the calls of a session.
class call_runner {
 public:
  /// A call, not begun. Any thread. Errors: std::bad_alloc; those of session::call.
  virtual call_ptr make(const function_entry& function, call_arguments arguments, const call_options& options) = 0;
  /// On the strand: takes over the call.
  virtual void begin(call_ptr call) noexcept = 0;
  /// On the strand: its caller no longer wants it. It may have ended already.
  virtual void cancel(call_state& call) noexcept = 0;
  /// On the strand: the call that its queue has let go has ended.
  virtual void queue_came_free(const std::string& queue) noexcept = 0;
  /// On the strand: it is to go on though nobody will take its result. It may have ended already.
  virtual void detach(call_state& call) noexcept { static_cast<void>(call); }
  /// On the strand: so many more of its items have reached their consumer. It may have ended already.
  virtual void items_taken(call_state& call, std::uint32_t count) noexcept = 0;
  /// Any thread: have `work` run on the strand.
  virtual void defer(strand_work& work) noexcept = 0;

 protected:
  ~call_runner() = default;
};

/// Who gets the items of a call that gives several.
class item_receiver {
 public:
  /// On the strand.
  virtual void item_came(call_outcome&& outcome) = 0;

 protected:
  ~item_receiver() = default;
};

/// Who gets the lines that a call prints.
class output_receiver {
 public:
  /// On the strand.
  virtual void printed(const call_state& call, bool is_error, std::string_view line) = 0;

 protected:
  ~output_receiver() = default;
};

/// Where workers come from: node/worker_program.hpp.
struct worker_program;

/// One call from its making to the taking of its result: shared by the caller's handle and whoever runs it.
class call_state final : public pending {
 public:
  /// `name` is the mangled name of the callable's type, for messages.
  template <class Session>
  call_state(const std::shared_ptr<Session>& to, const char* name)
      : function_name(name), id(next_id()), session_(to), runner_(to.get()) {}

  // What is called: set before start().
  wire::call_head head;
  call_arguments arguments;
  const char* const function_name;
  const std::uint64_t id;  ///< unique in this process, from 1

  std::unique_ptr<const node_request> request;  ///< null: it is a call
  std::shared_ptr<const worker_program> program;  ///< null: this process's own
  output_receiver* output = nullptr;  ///< null: the session's own
  item_receiver* items = nullptr;  ///< null: it gives none
  receiver_maker receiver = nullptr;  ///< for its result; null: none
  bool gave_items = false;         ///< its runner's: so it is not made again
  bool is_detached = false;        ///< its runner's: it was detached before it was sent
  unsigned retries_left = 0;  ///< its runner's, after the start
  unsigned workers_lost = 0;  ///< its runner's: that ended before they began it, when it was next
  bool has_begun = false;     ///< its runner's: in a worker that died, so it never is not_started from then on
  std::string queue;          ///< empty: it is not queued
  std::shared_ptr<const rh::needs> needs;  ///< null: nothing special
  bool holds_queue = false;   ///< its runner's: those behind it in its queue wait for its end
  /// Its runner's: where it was sent, while it is there.
  struct {
    const void* to = nullptr;
    std::uint32_t number = 0;
  } sent;

  /// Hands it to its session. Any thread, once.
  void start();
  /// The same on the strand, at once.
  void start_on_strand();
  /// The same of one that is refused before it is handed over.
  void start_refused() { prepare(); }
  /// True if values are among its arguments, or lists.
  bool takes_values() const noexcept { return takes_values_; }
  bool values_have_ended() const noexcept {
    return std::all_of(arguments.begin(), arguments.end(), [](const call_argument& a) { return a.has_ended(); });
  }
  /// On the strand: hands it to its session again when the values that it takes have ended.
  void wait_for_values();
  /// On the strand: ends it if an argument failed, the same way; true if so.
  bool fail_with_argument();
  ~call_state() override { session_->free_store(stored_bytes_); }
  inline void cancel() noexcept override;
  inline void detach() noexcept override;
  bool cancel_requested() const noexcept { return cancelled_.load(std::memory_order_acquire); }

  /// On the strand: takes room for a result that stays. False if there is none: then it is to wait, or to fail.
  bool take_store(std::uint64_t bytes) noexcept {
    if (!session_->store().take(bytes)) return false;
    stored_bytes_ = bytes;
    return true;
  }
  /// The same of a value that is kept elsewhere, and only counted here.
  void count_store(std::uint64_t bytes) noexcept {
    session_->store().take_anyway(bytes);
    stored_bytes_ = bytes;
  }
  session& at() const noexcept { return *session_; }
  call_runner& at_runner() const noexcept { return *runner_; }
  /// On the strand: it has ended. Later ends of the same call are dropped.
  void finish(call_outcome&& outcome) noexcept;
  const call_outcome* failure() const noexcept override { return failure_.get(); }
  void* received(std::size_t) noexcept override { return received_ ? received_->value() : nullptr; }
  std::shared_ptr<const wire::payload_file> in_file() const noexcept override { return file_; }
  inline call_origin origin(std::size_t) const override;
  const call_state* maker() const noexcept override { return this; }
  inline counted<pending> queue_place() override;
  inline wire::payload_view result(std::size_t, std::vector<std::span<const std::byte>>& segments) override;

 private:
  static std::uint64_t next_id() noexcept {
    static std::atomic<std::uint64_t> last{0};
    return last.fetch_add(1, std::memory_order_relaxed) + 1;
  }
  struct begin_work final : strand_work {
    void run() noexcept override {
      const call_ptr hold = std::exchange(call, {});
      hold->begin();
    }
    call_ptr call;
  };
  struct cancel_work final : strand_work {
    void run() noexcept override {
      const call_ptr hold = std::exchange(call, {});
      hold->cancel_now();
    }
    call_ptr call;
  };
  struct detach_work final : strand_work {
    explicit detach_work(call_state& c) noexcept : call(&c) {}
    void run() noexcept override {
      call->runner_->detach(*call);
      delete this;
    }
    const call_ptr call;
  };
  struct value_waiter final : end_waiter {
    void ended() noexcept override { of->arrive(); }
    call_state* of = nullptr;
    counted<pending> value;
  };
  /// The values among its arguments, which it waits for before it begins, holding itself.
  struct awaited_values {
    std::vector<value_waiter> waiters;
    std::atomic<std::size_t> open{0};
    call_ptr self;
  };
  void prepare();
  void arrive() noexcept;
  void begin() noexcept;
  void cancel_now() noexcept;

  const std::shared_ptr<session> session_;
  call_runner* const runner_;  // the same object
  std::atomic<bool> cancelled_{false};
  bool takes_values_ = false;
  std::uint64_t stored_bytes_ = 0;
  std::unique_ptr<awaited_values> awaited_;  // on the strand: only while it waits for them
  wire::payload_shape result_;
  wire::buffer body_;
  std::shared_ptr<const wire::payload_file> file_;
  std::unique_ptr<result_receiver> received_;
  std::unique_ptr<const call_outcome> failure_;
  begin_work begin_;
  cancel_work cancel_;
};

// ---- implementation

inline void call_state::start() {
  prepare();
  begin_.call = call_ptr(this);
  runner_->defer(begin_);
}

inline void call_state::start_on_strand() {
  prepare();
  begin();
}

inline void call_state::prepare() {
  session_->counts().unfinished_calls.raise();
  takes_values_ = std::any_of(arguments.begin(), arguments.end(), [](const call_argument& a) { return !a.bytes(); });
}

inline void call_state::wait_for_values() {
  std::size_t values = 0;
  for (const call_argument& a : arguments) values += a.values().size();
  awaited_ = std::make_unique<awaited_values>();
  awaited_->waiters = std::vector<value_waiter>(values);
  awaited_->open = values + 1;
  awaited_->self = call_ptr(this);
  auto waiter = awaited_->waiters.begin();
  for (const call_argument& a : arguments) {
    for (const auto& held : a.values()) {
      waiter->of = this;
      waiter->value = held->value();
      ++waiter;
    }
  }
  const call_ptr hold(this);
  for (value_waiter& w : awaited_->waiters) {
    if (!w.value->wait(w)) arrive();
  }
  arrive();
}

inline void call_state::arrive() noexcept {
  if (awaited_->open.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  begin_.call = std::exchange(awaited_->self, {});
  runner_->defer(begin_);
}

inline void call_state::begin() noexcept {
  if (has_ended()) return;  // it was cancelled while it waited
  awaited_.reset();
  runner_->begin(call_ptr(this));
}

inline bool call_state::fail_with_argument() {
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const auto values = arguments[i].values();
    for (std::size_t k = 0; k < values.size(); ++k) {
      const auto& held = values[k];
      const call_outcome* failed = held->value()->has_ended() ? held->value()->failure() : nullptr;
      if (failed == nullptr) continue;
      call_outcome outcome;
      outcome.head = failed->head;
      outcome.output = failed->output;
      outcome.because = failed->because;
      if (outcome.because.empty()) {
        const std::string element = arguments[i].is_list() ? "element " + std::to_string(k + 1) + " of " : "";
        outcome.because = element + "argument " + std::to_string(i + 1) + ", the result of " +
                          pretty_name(held->value()->maker()->function_name) + ", failed";
      }
      finish(std::move(outcome));
      return true;
    }
  }
  return false;
}

inline void call_state::cancel_now() noexcept {
  if (has_ended()) return;
  if (!awaited_) return runner_->cancel(*this);
  call_outcome outcome;
  outcome.head.kind = wire::outcome_kind::error;
  outcome.head.code = static_cast<std::uint32_t>(errc::cancelled);
  outcome.head.what = "it was cancelled before it began";
  finish(std::move(outcome));
  for (value_waiter& w : awaited_->waiters) {
    if (w.value->withdraw(w)) arrive();
  }
}

inline void call_state::cancel() noexcept {
  if (cancelled_.exchange(true, std::memory_order_acq_rel) || has_ended()) return;
  cancel_.call = call_ptr(this);
  runner_->defer(cancel_);
}

inline void call_state::detach() noexcept {
  if (!has_ended()) runner_->defer(*new detach_work(*this));
}

inline wire::payload_view call_state::result(std::size_t, std::vector<std::span<const std::byte>>& segments) {
  if (failure_) throw_outcome(*failure_, function_name, session_->host(), id);
  if (file_) return wire::view(*file_, segments);
  wire::payload_view value;
  wire::view_payloads({&result_, 1}, body_.bytes(), segments, {&value, 1});
  return value;
}

inline counted<pending> call_state::queue_place() {
  node_request asked;
  asked.question.what = static_cast<std::uint32_t>(wire::session_topic::queue_place);
  asked.question.numbers = {id};
  return session_->ask(std::move(asked));
}

inline call_origin call_state::origin(std::size_t) const {
  return {pretty_name(function_name), session_->host(), id, stage::ran};
}

inline void call_state::finish(call_outcome&& outcome) noexcept {
  if (has_ended()) return;
  if (outcome.head.kind == wire::outcome_kind::value) {
    result_ = std::move(outcome.head.result);
    body_ = std::move(outcome.body);
    file_ = std::move(outcome.file);
    received_ = std::move(outcome.received);
  } else {
    if (has_begun && outcome.reached == stage::not_started) {
      outcome.reached = stage::may_have_run;
      outcome.head.what += "; it began before, in a worker that died";  // "while it ran this call", throw_outcome adds
    }
    failure_ = std::make_unique<const call_outcome>(std::move(outcome));
  }
  const call_arguments free = std::move(arguments);
  session_->counts().unfinished_calls.lower();
  const call_ptr hold(this);
  end();
  if (holds_queue) runner_->queue_came_free(queue);
}

}  // namespace rh::detail
