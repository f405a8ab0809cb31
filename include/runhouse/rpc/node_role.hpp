// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace rh::detail {

/// How a program is started as a node, and where the node is found.
struct node_role {
  /// The environment variable that makes a program a node; its value is the run folder.
  static constexpr const char* variable = "RUNHOUSE_NODE";
  /// For a bridge: the pid of the script that starts it.
  static constexpr const char* script = "RUNHOUSE_SCRIPT";
  /// For a bridge: the first bytes that the program says, in hex.
  static constexpr const char* said = "RUNHOUSE_SAID";
  /// Where it says that it is there ("ok"), or why not, in words.
  static constexpr int ready_descriptor = 3;

  // In the run folder.
  static constexpr const char* socket = "node.sock";
  static constexpr const char* lock = "node.lock";    ///< held by the node as long as it lives
  static constexpr const char* start_lock = "start.lock";  ///< by who starts it
  static constexpr const char* state = "node.state";  ///< there while it runs, and after it was killed
};

}  // namespace rh::detail
