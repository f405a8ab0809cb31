// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/runtime.hpp>
#include <runhouse/core/limits.hpp>
#include <runhouse/os/thread.hpp>
#include <runhouse/rpc/call_state.hpp>
#include <runhouse/rpc/disconnect.hpp>
#include <runhouse/rpc/node_contact.hpp>
#include <runhouse/rpc/session_needs.hpp>
#include <runhouse/rpc/session_outcome.hpp>
#include <runhouse/rpc/session_stream.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace rh {
namespace detail {

/// The program's end of its session with a node: calls go out, outcomes come in, and what breaks in between is mended.
/// On the strand.
///
/// A call is sent at once, also one that takes values that are not there yet: the node waits for them. What would be
/// more than limits::session_ahead_bytes of arguments there waits here, in order.
class node_link final : session_stream::owner, poller, public std::enable_shared_from_this<node_link> {
 public:
  using observer = std::function<void(const disconnect&)>;
  using output_sink = std::function<void(const char* function, bool is_error, std::string_view line)>;

  node_link(runtime& r, std::shared_ptr<node_contact> way, wire::open_session session, reached_node node, output_sink sink);
  node_link(const node_link&) = delete;
  node_link& operator=(const node_link&) = delete;
  /// Begins. Precondition: held by a shared_ptr. Once.
  void start();
  /// Ends the session: the node ends what is under way. Nothing may follow.
  void close() noexcept;

  void begin(call_ptr call);
  void cancel(call_state& call);
  void detach(call_state& call);
  void items_taken(const call_state& call, std::uint32_t count);
  void release(std::uint64_t value);
  /// Any thread.
  bool has_ended() const noexcept { return ended_.load(); }
  void observe(observer o) { observers_.push_back(std::move(o)); }


 private:
  bool poll() noexcept override { return !sent_.empty() && stream_->poll(); }
  using clock = std::chrono::steady_clock;
  struct sent_call {
    call_ptr call;
    std::uint64_t bytes;
  };
  /// A message that is not sent in one frame, and what its bytes live in.
  struct long_message {
    wire::outgoing_message message;
    call_ptr call;
    call_arguments arguments;
    std::vector<frame_log::shared_file> files;
    bool is_kept;    // what refers to it must not overtake it
    bool is_queued;  // nor what comes after it in a queue
  };

  inline bool frame_came(const wire::frame& in, os::received_fds& files) override;
  inline bool append_next(frame_log& to) override;
  inline void connection_lost(std::string why) noexcept override;

  using incoming_outcome = wire::incoming_message<wire::session_outcome, incoming_result>;
  bool outcome_came(std::uint64_t id, incoming_outcome message, os::received_fds& files);
  bool may_overtake(const call_state& call) const noexcept;
  bool is_being_sent(const call_state& call) const noexcept;
  bool append_call(frame_log& to);
  static void append_wishes(frame_log& to, const call_state& call);
  void append_named(frame_log& to, const call_state& call, wire::session_call& head);
  void append_request(frame_log& to, const call_ptr& call);
  void append_released(frame_log& to);
  template <class Head>
  void append_message(frame_log& to, const Head& head, const call_ptr& call, bool is_kept, bool is_queued);
  void view_arguments(const call_state& call, std::vector<wire::payload_shape>& shapes);
  void reconnect() noexcept;
  void reconnect_later();
  void reconnected(std::optional<reached_node> node, errc code, const std::string& why);
  void watch_silence();
  void tell(disconnect::state now, const std::string& why) noexcept;
  void end(errc code, const std::string& why) noexcept;
  static stage reached_by(const call_state& call) noexcept;
  void end_call(call_state& call, errc code, const std::string& why, stage reached) noexcept;

  runtime& runtime_;
  const std::shared_ptr<node_contact> contact_;
  wire::open_session session_;
  const std::uint64_t incarnation_;
  std::optional<reached_node> first_;
  const output_sink sink_;
  std::shared_ptr<session_stream> stream_;
  std::vector<observer> observers_;

  std::deque<call_ptr> waiting_;
  std::unordered_map<std::uint64_t, sent_call> sent_;
  std::deque<long_message> long_;
  bool short_ones_turn_ = true;
  std::uint64_t bytes_ahead_ = 0;
  std::unordered_map<std::uint64_t, incoming_outcome> partial_;
  std::vector<std::uint64_t> released_;
  std::unordered_map<std::uint64_t, std::uint32_t> functions_;  // by object and offset
  std::map<const rh::needs*, std::pair<std::shared_ptr<const rh::needs>, std::uint32_t>> needs_;

  // Of one call that is being encoded.
  std::vector<wire::payload_view> payloads_;
  std::vector<std::vector<std::span<const std::byte>>> segments_;
  std::vector<frame_log::shared_file> files_;

  asio::steady_timer retry_timer_;
  asio::steady_timer silence_timer_;
  unsigned unanswered_pings_ = 0;
  std::uint64_t ping_ = 0;
  unsigned tries_ = 0;
  std::uint64_t progress_ = 0;        // of the stream, when the connection was last lost
  unsigned losses_in_vain_ = 0;       // since then
  clock::time_point lost_at_{};
  std::minstd_rand random_{std::random_device{}()};
  std::atomic<bool> ended_{false};
  errc ended_code_{};
  std::string why_ended_;
};

}  // namespace detail
}  // namespace rh

#include <runhouse/rpc/detail/node_link.hpp>
