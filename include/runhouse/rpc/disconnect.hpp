// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace rh {

/// What became of the connection to a cluster's node.
struct disconnect {
  enum class state {
    lost,     ///< it broke; calls and values go on there, and it is tried again
    resumed,  ///< it is back, and nothing was lost
    ended,    ///< the node has ended, or could not be reached for limits::resume_window: what it had is gone
  };
  state now;
  std::string cluster;
  std::string why;  ///< for people
};

}  // namespace rh
