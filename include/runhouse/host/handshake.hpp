// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/core/limits.hpp>
#include <runhouse/os/duplex.hpp>
#include <runhouse/rpc/node_contact.hpp>
#include <runhouse/wire/message.hpp>
#include <runhouse/wire/session_message.hpp>

#include <chrono>
#include <cstdint>
#include <poll.h>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace rh::detail {

/// What a program says first on each connection, to open a session or resume one.
/// Errors: errc::node_not_started where it is more than a node takes.
inline std::vector<std::byte> greeting(const wire::hello& hello, const wire::open_session& session) {
  std::vector<std::byte> out;
  wire::append_frame(out, {wire::frame_type::hello, 0, 0, 0}, encode(hello));
  const std::vector<std::byte> open = encode(session);
  if (open.size() > limits::frame_bytes) {
    fail(errc::node_not_started, "the environment of this program is over " + std::to_string(limits::frame_bytes) +
                                     " bytes, more than a node takes; unset large variables");
  }
  wire::append_frame(out, {wire::frame_type::open, 0, 0, 0}, open);
  return out;
}

/// Opens, or resumes, a session over a fresh connection: says `out`, which is empty where it was said already. Blocks, for limits::connect at most. `passed` goes with the
/// first byte: this program's executable, for a session that is opened on this machine. `name` is what messages call
/// the node.
/// Errors: errc::connection_lost where another try may succeed; errc::node_incompatible; errc::node_lost where the node
/// does not know the session; errc::node_not_started where what it is told is refused.
inline reached_node shake_hands(open_connection fresh, std::span<const std::byte> out, bool resumes, std::span<const int> passed, const std::string& name) {
  using clock = std::chrono::steady_clock;
  const auto deadline = clock::now() + limits::connect;
  const os::duplex& stream = fresh.stream;
  const auto wait_until = [&](short events) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - clock::now()).count();
    pollfd p{events == POLLIN ? stream.in() : stream.out(), events, 0};
    if (left <= 0 || ::poll(&p, 1, static_cast<int>(left)) == 0) {
      fail(errc::connection_lost, "the node of " + name + " did not answer within " + std::to_string(limits::connect.count()) + " s");
    }
  };

  for (std::size_t sent = 0; sent < out.size();) {
    const auto rest = out.subspan(sent);
    const auto done = sent == 0 && !passed.empty() ? stream.send(rest, passed) : stream.send(rest);
    if (done.how == os::transfer::some) sent += done.bytes;
    if (done.how == os::transfer::would_block) wait_until(POLLOUT);
    if (done.how == os::transfer::closed) break;  // it may have said why
  }

  reached_node node;
  bool greeted = false;
  for (;;) {
    const auto next = fresh.in.next();
    if (next && next->header.type == wire::frame_type::bye) {
      const auto said = wire::decode_bye(next->payload);
      const auto code = said ? static_cast<errc>(said->code) : errc::protocol_error;
      const std::string what = "the node of " + name + " refused the connection: " + (said ? said->text : "in a way that is no sentence");
      if (code == errc::node_incompatible) fail(code, what + "; rh::restart(\"" + name + "\") ends it, and what it has");
      fail(resumes ? errc::node_lost : errc::node_not_started, what);
    }
    if (next && !greeted && next->header.type == wire::frame_type::hello) {
      auto h = wire::decode_hello(next->payload);
      if (!h) {
        fail(h.code() == errc::node_incompatible ? errc::node_incompatible : errc::connection_lost,
             "the node of " + name + " speaks another version of the protocol than this program, " + std::to_string(wire::protocol_major) +
                 "; rh::restart(\"" + name + "\") ends it, and what it has");
      }
      node.hello = std::move(*h);
      greeted = true;
      continue;
    }
    if (next && greeted && next->header.type == wire::frame_type::opened) {
      auto opened = wire::decode_opened(next->payload);
      if (!opened) fail(errc::connection_lost, "the node of " + name + " answered with something that is not allowed");
      fresh.peer_received = opened->received;
      node.opened = std::move(*opened);
      node.connection = std::move(fresh);
      return node;
    }
    if (next || next.code() != errc::truncated) fail(errc::connection_lost, "what answers for the node of " + name + " is none");
    const auto got = stream.receive(fresh.in.room(), fresh.files);
    if (got.how == os::transfer::some) fresh.in.received(got.bytes);
    if (got.how == os::transfer::would_block) wait_until(POLLIN);
    if (got.how == os::transfer::closed || got.how == os::transfer::no_fds) {
      fail(errc::connection_lost, "the node of " + name + " closed the connection before it had answered");
    }
  }
}

}  // namespace rh::detail
