// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

namespace rh::detail {

/// How calls are made.
struct call_options {
  unsigned retries = 0;    ///< after the death of a worker
  std::string queue;       ///< which one, if it is queued
  bool is_queued = false;  ///< one at a time, after those before it
};

}  // namespace rh::detail
