// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/runtime.hpp>
#include <runhouse/function/pretty_name.hpp>
#include <runhouse/node/call_output.hpp>
#include <runhouse/node/worker_process.hpp>
#include <runhouse/os/socket.hpp>
#include <runhouse/rpc/argument_payloads.hpp>
#include <runhouse/rpc/call_state.hpp>
#include <runhouse/wire/frame_buffer.hpp>
#include <runhouse/wire/message_stream.hpp>

#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace rh::detail {

/// One worker as its node sees it: calls go out, outcomes and output come in, and its end is noticed. On the strand.
class worker_link final : public poller, public flushable, public std::enable_shared_from_this<worker_link> {
 public:
  /// Who gives it calls.
  class owner {
   public:
    /// It has said hello, or has room for more calls.
    virtual void worker_changed(worker_link& w) noexcept = 0;
    /// It is gone; `not_started` are calls that it had and did not begin. `why` says how it ended, in words;
    /// `ready` whether it had said hello.
    virtual void worker_ended(worker_link& w, std::vector<call_ptr> not_started, const std::string& why) noexcept = 0;
    /// A call was not run: it takes the result of an earlier one, which the worker has not kept but has sent.
    virtual void call_returned(call_ptr call) noexcept = 0;
    /// A line that a call printed.
    virtual void printed(const call_state* call, bool is_error, std::string_view line) noexcept = 0;

   protected:
    ~owner() = default;
  };

  /// `program` is its; null: this process's own.
  worker_link(runtime& r, owner& o, std::shared_ptr<const worker_program> program, worker_process process);
  /// Begins to watch it. Precondition: held by a shared_ptr.
  void start();
  /// Ends it; what it had not begun goes back to the owner when it has ended. `why` completes "it ...".
  void end(std::string why) noexcept { lost(std::move(why)); }
  /// Ends it at once and forgets it; its calls are given back to nobody.
  void abandon() noexcept;

  bool is_ready() const noexcept { return ready_ && !lost_ && !ended_; }
  bool was_ready() const noexcept { return ready_; }
  /// True while calls are being gathered that leave at the next flush.
  bool is_filling() const noexcept { return dirty_; }
  std::size_t in_flight() const noexcept { return calls_.size(); }
  /// Whether it has had no call since this was last asked.
  bool was_idle() noexcept { return std::exchange(seen_number_, last_number_) == last_number_ && is_ready() && calls_.empty(); }
  /// Whether one more call should be sent ahead to it.
  bool has_room() const noexcept {
    return !waiting_ && !has_suspect() && calls_.size() < limits::prefetch_calls && (calls_.size() < 2 || bytes_ahead_ < limits::chunk_bytes);
  }
  /// The same for a call that takes the result of one that it has, and so cannot run elsewhere.
  bool has_room_to_follow() const noexcept {
    return !has_suspect() && calls_.size() < limits::following_calls && bytes_ahead_ < limits::chunk_bytes;
  }
  /// How many of its calls, which it has not begun, another worker could begin now.
  std::size_t spare_calls() const noexcept;
  pid_t pid() const noexcept { return process_.process.pid(); }
  std::uint64_t writes() const noexcept { return writes_; }

  /// Gives it a call; it leaves at the next flush. Precondition: is_ready().
  void send(call_ptr call);
  /// Takes back all that it has not begun.
  std::vector<call_ptr> take_back();
  /// Ends one of its calls that has begun: asks, then SIGTERM, then SIGKILL.
  void cancel_running(call_state& call);
  /// So many more items of the call that it runs have reached their consumer. Not if it does not run that call.
  void items_taken(const call_state& call, std::uint32_t count);
  /// The id of the first call that it has; 0 if it has none.
  std::uint64_t oldest_call() const noexcept { return calls_.empty() ? 0 : calls_.front().call->id; }
  /// Tries again to store a result for which there was no room.
  void retry_waiting() noexcept;
  bool has_begun(const call_state& call) const noexcept;
  bool has(const call_state& call) const noexcept;

  inline bool poll() noexcept override;
  inline void flush() noexcept override;

 private:
  struct sent_call {
    std::uint32_t number;
    call_ptr call;
    std::uint64_t bytes;
    bool follows;
    std::string last_output;
  };

  /// A call that is not sent in one piece, and what its bytes live in, whatever becomes of the call.
  struct queued_message {
    queued_message(const call_state& call, std::uint32_t number, const argument_payloads& payloads)
        : message(call.head, number, payloads.all()), files(payloads.files()), arguments(call.arguments) {}
    wire::outgoing_message message;
    std::vector<std::shared_ptr<const wire::payload_file>> files;
    call_arguments arguments;
  };

  /// A file whose descriptor is sent with the byte at `at` of out_.
  struct outgoing_file {
    std::size_t at;
    std::shared_ptr<const wire::payload_file> file;
  };

  /// One of the worker's pipes, and the call whose text is read from it next.
  struct output_pipe {
    asio::posix::stream_descriptor events;
    call_output lines;
    bool is_error;
    std::uint32_t owner = 1;
  };

  /// A call that a worker ended with goes alone, so that no other is taken for what ends them.
  bool has_suspect() const noexcept { return !calls_.empty() && calls_.back().call->workers_lost != 0; }
  bool read_calls() noexcept;
  bool serve_frame(const wire::frame& in);
  bool end_message(wire::incoming_message<wire::outcome_head>& message, std::uint32_t number);
  void add_files(const std::vector<std::shared_ptr<const wire::payload_file>>& files, std::size_t begin);
  os::transferred send_some() noexcept;
  bool take_file(wire::payload_shape& shape, call_outcome& outcome);
  sent_call take_front();
  void finish_front(call_outcome outcome);
  bool store(call_outcome& outcome);
  call_outcome store_full(std::uint64_t bytes);
  void finish_stored(call_outcome outcome);
  void end_waiting(call_outcome outcome);
  bool serve_frames();
  call_ptr take_last();
  void grant_credit(std::uint64_t stream, std::size_t bytes);
  void read_output() noexcept;
  bool read_pipe(output_pipe& pipe);
  void end_output(output_pipe& pipe, std::uint32_t number);
  void line(const output_pipe& pipe, std::string_view text);
  void lost(std::string why) noexcept;
  void closed() noexcept;
  void watch_exit();
  void exited() noexcept;
  void read_outbox() noexcept;
  std::vector<call_ptr> fail_running(const std::string& why);
  void give_up_on_front(std::vector<call_ptr>& not_started, const std::string& why);
  void watch_calls();
  void watch_pipe(output_pipe& pipe);
  void watch_writable();
  void close_events() noexcept;
  void control(wire::frame_type type, std::uint64_t stream, std::span<const std::byte> payload);
  void escalate(std::uint32_t number, int signal, std::chrono::seconds after);

  runtime& runtime_;
  owner* owner_;
  const std::shared_ptr<const worker_program> program_;
  worker_process process_;
  asio::posix::stream_descriptor calls_events_;
  asio::posix::stream_descriptor exit_events_;
  asio::steady_timer deadline_;
  asio::steady_timer kill_timer_;
  asio::steady_timer store_timer_;
  bool watching_calls_ = false;

  wire::frame_buffer in_;
  std::optional<std::pair<std::uint32_t, wire::incoming_message<wire::outcome_head>>> partial_;
  std::uint64_t uncredited_ = 0;
  std::optional<call_outcome> waiting_;  // for room in the store: until then nothing more is read
  std::vector<std::byte> out_;
  std::size_t out_sent_ = 0;
  std::deque<outgoing_file> out_files_;
  os::received_fds in_files_;
  std::deque<queued_message> messages_;
  argument_payloads payloads_;
  std::deque<sent_call> calls_;
  std::uint64_t bytes_ahead_ = 0;
  std::size_t followers_ = 0;  // of calls_, those that were sent before the values that they take were there
  std::uint32_t last_number_ = 0;
  std::uint64_t writes_ = 0;
  std::uint32_t seen_number_ = 0;
  output_pipe printed_;
  output_pipe printed_on_stderr_;
  std::string last_output_;
  std::string why_lost_;
  bool ready_ = false;
  bool dirty_ = false;
  bool write_blocked_ = false;
  bool lost_ = false;
  bool ended_ = false;
};

}  // namespace rh::detail

#include <runhouse/node/detail/worker_link.hpp>
