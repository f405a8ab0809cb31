// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/os/fd.hpp>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <initializer_list>
#include <sys/eventfd.h>
#include <unistd.h>

namespace rh::os {

/// SIGINT and SIGTERM, the first of which can be waited for; at the second, whichever it is, the default action
/// applies, so that a program that does not heed the first can still be ended. One object at a time.
class interrupt_signals {
 public:
  interrupt_signals() : event_(checked(::eventfd(0, EFD_CLOEXEC), "making an event descriptor")) {
    fd_for_handler() = event_.get();
    struct sigaction action {};
    action.sa_handler = &on_signal;
    action.sa_flags = static_cast<int>(SA_RESTART);
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGINT);
    sigaddset(&action.sa_mask, SIGTERM);
    ::sigaction(SIGINT, &action, &int_before_);
    ::sigaction(SIGTERM, &action, &term_before_);
  }
  interrupt_signals(const interrupt_signals&) = delete;
  interrupt_signals& operator=(const interrupt_signals&) = delete;
  ~interrupt_signals() {
    ::sigaction(SIGINT, &int_before_, nullptr);
    ::sigaction(SIGTERM, &term_before_, nullptr);
    fd_for_handler() = -1;
  }

  /// Blocks until a signal came (true) or cancel() was called (false).
  bool wait() noexcept {
    std::uint64_t count = 0;
    while (::read(event_.get(), &count, sizeof count) < 0 && errno == EINTR) {
    }
    return count % 2 == 1;
  }
  void cancel() noexcept { add(event_.get(), 2); }

 private:
  static std::atomic<int>& fd_for_handler() noexcept {
    static std::atomic<int> fd{-1};
    return fd;
  }
  static void add(int fd, std::uint64_t amount) noexcept {
    [[maybe_unused]] const auto n = ::write(fd, &amount, sizeof amount);
  }
  static void on_signal(int) noexcept {
    const int saved = errno;
    ::signal(SIGINT, SIG_DFL);
    ::signal(SIGTERM, SIG_DFL);
    add(fd_for_handler().load(), 1);
    errno = saved;
  }

  unique_fd event_;
  struct sigaction int_before_ {};
  struct sigaction term_before_ {};
};

}  // namespace rh::os
