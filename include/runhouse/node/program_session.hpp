// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/runtime.hpp>
#include <runhouse/core/limits.hpp>
#include <runhouse/node/call_log.hpp>
#include <runhouse/node/local_session.hpp>
#include <runhouse/node/worker_program.hpp>
#include <runhouse/os/process.hpp>
#include <runhouse/rpc/session_needs.hpp>
#include <runhouse/rpc/session_outcome.hpp>
#include <runhouse/rpc/session_stream.hpp>

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace rh::detail {

/// A node's end of its session with one program: what the program asks is done in the node's own session, and comes
/// back as it ends. On the strand.
///
/// Where the program's process is on this machine, the session ends with it; else, and as long as it lives, a session
/// without a connection lives for limits::resume_window.
class program_session final : session_stream::owner, public std::enable_shared_from_this<program_session> {
 public:
  class owner {
   public:
    virtual void session_ended(const wire::session_id& id) noexcept = 0;
    /// Where what its calls print is kept. `call` is the program's number.
    virtual call_log log_of(std::uint64_t session, std::uint64_t call, const char* function) = 0;

   protected:
    ~owner() = default;
  };

  /// `number` is what logs call it.
  program_session(runtime& r, owner& o, const wire::session_id& id, std::uint64_t number, std::shared_ptr<const worker_program> program,
                  std::shared_ptr<local_session> node);
  program_session(const program_session&) = delete;
  program_session& operator=(const program_session&) = delete;
  ~program_session() { end(); }

  /// Memory files can be passed to the program. Before attach().
  void pass_files() noexcept { stream_->pass_files(); }
  /// Ends with this process. Precondition: held by a shared_ptr.
  void watch_process(os::unique_fd pidfd);
  /// Goes on over this connection, instead of the one that there may still be. False if the two sides do not agree.
  bool attach(open_connection connection);
  /// The connection that it was to go on over is gone.
  void connection_refused() noexcept { connection_lost({}); }
  std::uint64_t received() const noexcept { return stream_->received(); }
  /// The program wants nothing more: what was not detached is cancelled, and its values go.
  void end() noexcept;
  /// For people.
  std::size_t calls() const noexcept { return calls_.size(); }
  std::size_t values() const noexcept { return values_.size(); }

 private:
  /// Something that the program waits for.
  struct asked_call final : end_waiter, item_receiver, output_receiver {
    inline void ended() noexcept override;
    inline void item_came(call_outcome&& outcome) override;
    inline void printed(const call_state& call, bool is_error, std::string_view line) override;
    program_session* of = nullptr;  // null: the program is gone
    owner* at = nullptr;
    std::uint64_t id = 0;           // the program's
    counted<pending> result;
    call_ptr call;                  // null for a fetch
    bool stays = false;             // its result does
    bool is_detached = false;
    bool is_being_sent = false;
    std::uint64_t session_number = 0;
    std::optional<call_log> log;    // once it has printed
    std::shared_ptr<asked_call> self;  // until it has ended
  };
  /// An outcome, or an item, that is to be sent.
  struct ready_outcome {
    std::shared_ptr<asked_call> of;
    std::unique_ptr<call_outcome> item;  // null: the outcome
  };
  struct long_message {
    wire::outgoing_message message;
    ready_outcome from;  // which holds what its bytes live in
    std::vector<frame_log::shared_file> files;
  };

  inline bool frame_came(const wire::frame& in, os::received_fds& files) override;
  inline bool append_next(frame_log& to) override;
  inline void connection_lost(std::string why) noexcept override;

  template <class Head>
  using incoming = wire::incoming_message<Head, wire::incoming_payloads>;
  template <class Head>
  bool message_came(std::unordered_map<std::uint64_t, incoming<Head>>& partial, const wire::frame& in, os::received_fds& files);
  template <class Head>
  bool data_came(std::unordered_map<std::uint64_t, incoming<Head>>& partial, const wire::frame& in, os::received_fds& files);
  bool message_is_whole(std::uint64_t id, incoming<wire::session_call> message, os::received_fds& files);
  bool message_is_whole(std::uint64_t id, incoming<wire::session_put> message, os::received_fds& files);
  bool take_arguments(std::span<wire::payload_shape> shapes, std::vector<wire::shared_payload> payloads, os::received_fds& files,
                      call_arguments& arguments);
  bool fetch(std::uint64_t id, std::uint64_t value);
  bool ask(std::uint64_t id, wire::session_question question);
  void wait_for(std::uint64_t id, counted<pending> result, call_ptr call, bool stays);
  void refuse_call(std::uint64_t id, errc code, const std::string& what);
  bool is_known(std::uint64_t id) const { return calls_.contains(id) || values_.contains(id); }
  void append_outcome(frame_log& to, ready_outcome next);
  static std::vector<std::byte> output_frame(bool is_error, std::string_view line);
  std::vector<std::byte> take_left_out();
  void watch_window();

  runtime& runtime_;
  owner* owner_;
  const wire::session_id id_;
  const std::uint64_t number_;
  const std::shared_ptr<const worker_program> program_;
  const std::shared_ptr<local_session> node_;
  const std::shared_ptr<session_stream> stream_;
  bool ended_ = false;
  bool is_asked_ = false;

  struct known_function {
    wire::hash128 signature;
    wire::function_id function;
    const char* name;
  };
  std::vector<known_function> functions_;                     // [index - 1]
  std::vector<std::shared_ptr<const rh::needs>> needs_;       // the same
  std::unordered_map<std::uint64_t, std::shared_ptr<asked_call>> calls_;
  std::unordered_map<std::uint64_t, std::shared_ptr<const value_holder>> values_;
  std::unordered_map<std::uint64_t, incoming<wire::session_call>> partial_calls_;
  std::unordered_map<std::uint64_t, incoming<wire::session_put>> partial_puts_;
  std::deque<ready_outcome> ready_;
  std::deque<long_message> long_;
  bool short_ones_turn_ = true;
  std::uint64_t lines_left_out_ = 0;

  os::unique_fd process_;
  std::optional<asio::posix::stream_descriptor> process_events_;
  asio::steady_timer window_;
};

}  // namespace rh::detail

#include <runhouse/node/detail/program_session.hpp>
