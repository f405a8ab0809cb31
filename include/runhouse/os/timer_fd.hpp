// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/os/fd.hpp>

#include <chrono>
#include <cstdint>
#include <poll.h>
#include <sys/timerfd.h>
#include <unistd.h>

namespace rh::os {

/// A one-shot timer as a descriptor, on the steady clock.
class timer_fd {
 public:
  timer_fd() : fd_(checked(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK), "making a timer")) {}

  /// Readable once it has expired.
  int get() const noexcept { return fd_.get(); }
  /// Precondition: `delay` is positive.
  void start(std::chrono::nanoseconds delay) noexcept {
    itimerspec when{};
    when.it_value.tv_sec = static_cast<time_t>(delay.count() / 1000000000);
    when.it_value.tv_nsec = static_cast<long>(delay.count() % 1000000000);
    ::timerfd_settime(fd_.get(), 0, &when, nullptr);
  }
  /// Makes it unreadable again.
  void clear() noexcept {
    std::uint64_t expirations = 0;
    [[maybe_unused]] const auto n = ::read(fd_.get(), &expirations, sizeof expirations);
  }
  /// Blocks until it is readable.
  void wait() noexcept {
    pollfd readable{fd_.get(), POLLIN, 0};
    ::poll(&readable, 1, -1);
  }

 private:
  unique_fd fd_;
};

}  // namespace rh::os
