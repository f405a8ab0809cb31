// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <csignal>
#include <initializer_list>
#include <thread>
#include <utility>

namespace rh::os {

/// Starts a thread of the library's own, which runs to its end unwatched. The process's signals are for the user's
/// threads; only what the thread itself does wrong reaches it, so that a crash there is reported like any other.
template <class F>
std::thread::id start_thread(F run) {
  sigset_t masked;
  sigset_t before;
  sigfillset(&masked);
  for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS}) sigdelset(&masked, fault);
  ::pthread_sigmask(SIG_SETMASK, &masked, &before);
  struct restore {
    ~restore() { ::pthread_sigmask(SIG_SETMASK, &mask, nullptr); }
    const sigset_t& mask;
  } at_the_end{before};
  std::thread started(std::move(run));
  const std::thread::id id = started.get_id();
  started.detach();
  return id;
}

}  // namespace rh::os
