// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/core/limits.hpp>
#include <runhouse/os/duplex.hpp>
#include <runhouse/os/process.hpp>
#include <runhouse/ssh/ssh_failure.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

namespace rh::detail {

/// A command that runs on a host, whatever carries it there.
class ssh_command {
 public:
  ssh_command() = default;
  ssh_command(const ssh_command&) = delete;
  ssh_command& operator=(const ssh_command&) = delete;
  virtual ~ssh_command() = default;

  /// Its standard input and output. Once. When this is closed and the command has ended, so has what carries it.
  virtual os::duplex take_stream() noexcept = 0;
  /// The last of what was said on stderr. Any thread.
  virtual std::string said() const = 0;
  /// How what carries it ended; nothing if it has not after so long. Any thread.
  virtual std::optional<os::exit_status> wait(std::chrono::milliseconds longest) const = 0;
  /// Why its stream was closed before the command had begun. Precondition: it has ended, or is taken for ended.
  virtual ssh_failure failure(const std::string& host) const = 0;
  /// Ends it. Any thread.
  virtual void terminate() const = 0;
  /// What it runs has begun: when this program exits, it has a moment to take leave. Until then it is ended at once.
  void is_in_use() noexcept { in_use_.store(true); }

  class registry;

 private:
  std::atomic<bool> in_use_{false};
};

/// All that run: they end with this program, and not long after, whatever on the far side holds them.
class ssh_command::registry {
 public:
  [[gnu::visibility("default")]] static registry& instance() {
    static registry& only = *new registry;
    return only;
  }
  /// Errors: errc::cancelled where the program is exiting.
  void add(const std::shared_ptr<ssh_command>& command) {
    const std::lock_guard lock(mutex_);
    if (is_exiting_) {
      command->terminate();
      fail(errc::cancelled, "this program is exiting");
    }
    all_.push_back(command);
  }
  void remove(const ssh_command& command) noexcept {
    const std::lock_guard lock(mutex_);
    std::erase_if(all_, [&](const auto& c) { return c.get() == &command; });
    changed_.notify_all();
  }

 private:
  registry() { std::atexit([] { instance().exit(); }); }
  void exit() noexcept {
    if (::getpid() != pid_) return;  // a process that was forked from this one: they are not its own
    std::unique_lock lock(mutex_);
    is_exiting_ = true;
    for (const auto& command : all_) {
      if (!command->in_use_.load()) command->terminate();
    }
    // What was said last is on its way; where that is not done by then, it has been sent.
    changed_.wait_for(lock, limits::login_exit, [this] { return all_.empty(); });
    for (const auto& command : all_) command->terminate();
  }
  const pid_t pid_ = ::getpid();
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::shared_ptr<ssh_command>> all_;
  bool is_exiting_ = false;
};

}  // namespace rh::detail
