// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/config.hpp>

#include <csignal>
#include <cstdlib>
#include <unistd.h>

namespace rh::detail {

/// Ends this worker, and every process that its functions have started and that is still in its group.
[[noreturn]] inline void end_worker() {
  if (::getpgrp() == ::getpid()) ::kill(0, SIGKILL);
  std::_Exit(0);
}

}  // namespace rh::detail
