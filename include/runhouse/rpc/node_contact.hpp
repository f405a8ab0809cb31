// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/rpc/session_stream.hpp>
#include <runhouse/wire/message.hpp>
#include <runhouse/wire/session_message.hpp>

#include <string>

namespace rh::detail {

/// A connection to a node on which both sides have said what begins a session.
struct reached_node {
  open_connection connection;
  wire::hello hello;
  wire::session_opened opened;
};

/// The way to a node.
class node_contact {
 public:
  /// Connects and opens, or resumes, the session; starts the node if none runs and this does not resume. Blocks, for a
  /// bounded time. Any thread.
  /// Errors: errc::connection_lost where another try may succeed; all others are final.
  virtual reached_node reach(const wire::open_session& session) = 0;
  /// Ends the node that runs there, with all that it has, also one of another version. Nothing if none runs. Blocks.
  /// Errors: errc::node_not_started where it does not end; those of reach().
  virtual void end_node() = 0;
  /// What messages call the node: "here", or the name of a machine.
  virtual const std::string& name() const noexcept = 0;
  /// Whether memory files can be passed.
  virtual bool is_same_machine() const noexcept = 0;
  /// By what, and why so, for people. Any thread.
  virtual std::string reached_by() const = 0;

  virtual ~node_contact() = default;
};

}  // namespace rh::detail
