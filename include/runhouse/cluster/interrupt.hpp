// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/os/fd.hpp>
#include <runhouse/os/interrupt_signals.hpp>

#include <stop_token>
#include <thread>
#include <utility>

namespace rh::detail {

/// While it lives, the first SIGINT or SIGTERM requests stop, and a second one ends the process as if it were not
/// handled. The stop runs on a thread of its own, since no lock may be taken in a signal handler.
class interrupt_on_signals {
 public:
  interrupt_on_signals()
      : watcher_([this] {
          if (signals_.wait()) source_.request_stop();
        }) {}
  interrupt_on_signals(const interrupt_on_signals&) = delete;
  interrupt_on_signals& operator=(const interrupt_on_signals&) = delete;
  ~interrupt_on_signals() {
    signals_.cancel();
    watcher_.join();
  }
  std::stop_token token() const { return source_.get_token(); }

 private:
  os::interrupt_signals signals_;
  std::stop_source source_;
  std::thread watcher_;
};

}  // namespace rh::detail
