// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/channel.hpp>
#include <runhouse/async/runtime.hpp>
#include <runhouse/async/sync_wait.hpp>
#include <runhouse/async/task.hpp>
#include <runhouse/node/node_settings.hpp>
#include <runhouse/node/server.hpp>
#include <runhouse/os/interrupt_signals.hpp>
#include <runhouse/os/lock_file.hpp>
#include <runhouse/os/own_libraries.hpp>
#include <runhouse/os/private_folder.hpp>
#include <runhouse/os/thread.hpp>
#include <runhouse/os/unix_listener.hpp>
#include <runhouse/rpc/node_role.hpp>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fcntl.h>
#include <optional>
#include <string>
#include <string_view>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace rh::detail {

/// This process as the node of its user on its machine: takes the lock, says that it is there, and serves until it is
/// told to end, or is not used for long. Runs before the program's own static objects exist, and never returns.
class daemon {
 public:
  /// Whether this process was started as one.
  static bool is_asked_for() noexcept { return std::getenv(node_role::variable) != nullptr; }
  /// Precondition: is_asked_for().
  [[noreturn]] static void run() noexcept;

 private:
  static void leave_the_program();
  static void serve(const std::string& run_folder);
  static void say(std::string_view text) noexcept;
  static std::string take_state(const os::private_folder& folder);
  static void start_on_strand(server& node);
  static task<> run_until_end(server& node, channel<int>& ended);
};

// ---- implementation

/// To who started it, who waits for that.
inline void daemon::say(std::string_view text) noexcept {
  [[maybe_unused]] const auto n = ::write(node_role::ready_descriptor, text.data(), text.size());
  ::close(node_role::ready_descriptor);
}

inline void daemon::run() noexcept {
  const std::string run_folder = std::getenv(node_role::variable);
  ::unsetenv(node_role::variable);  // what it starts is no node
  os::own_libraries::take();
  try {
    leave_the_program();
    serve(run_folder);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "runhouse node: %s\n", e.what());
    say(e.what());
    ::_exit(1);
  }
  ::_exit(0);
}

/// Its parent is nobody's concern, it has no terminal, and keeps no folder busy.
inline void daemon::leave_the_program() {
  const pid_t child = ::fork();
  if (child < 0) os::fail_errno("starting the node's own process");
  if (child > 0) ::_exit(0);
  ::setsid();
  ::umask(077);
  if (::chdir("/") != 0) os::fail_errno("entering the folder /");
  std::signal(SIGHUP, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {  // each worker takes some, and each large value one
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
  }
}

/// What the node before this one has left, if it did not end as it should: for people. And that this one runs.
inline std::string daemon::take_state(const os::private_folder& folder) {
  std::string before;
  if (const os::unique_fd left = folder.try_open_file(node_role::state, O_RDONLY)) {
    char text[64];
    const auto n = ::read(left.get(), text, sizeof text);
    before = "the node before this one (pid " + std::string(text, n > 0 ? static_cast<std::size_t>(n) : 0) +
             ") was killed or crashed; what it had is gone";
  }
  const os::unique_fd state = folder.open_file(node_role::state, O_WRONLY | O_CREAT | O_TRUNC);
  const std::string pid = std::to_string(::getpid());
  if (::write(state.get(), pid.data(), pid.size()) < 0) os::fail_errno("writing to " + folder.path_of(node_role::state));
  return before;
}

inline void daemon::start_on_strand(server& node) {
  struct start_work final : strand_work {
    explicit start_work(server& s) noexcept : node(s) {}
    void run() noexcept override {
      node.start();
      say("ok");
      delete this;
    }
    server& node;
  };
  runtime::instance().defer(*new start_work(node));
}

inline task<> daemon::run_until_end(server& node, channel<int>& ended) {
  start_on_strand(node);
  auto end = ended.receive();
  co_await std::move(end);
}

inline void daemon::serve(const std::string& run_folder) {
  const os::private_folder folder = os::private_folder::open(run_folder);
  const auto lock = os::lock_file::try_lock(folder, node_role::lock);
  if (!lock) return say("another one runs");
  server_options options(local_resources{worker_count(), resource_counts()});
  options.store_bytes = store_bytes();
  options.notice = take_state(folder);
  options.environment = os::environment_without("RUNHOUSE_");
  if (const char* home = std::getenv("HOME"); home != nullptr && ::access(home, X_OK) == 0) options.folder = home;
  try {
    options.logs = os::home_folder_path() + "/logs";
  } catch (const error&) {  // a user without a home has no logs
  }
  channel<int> ended(1);
  // Never destroyed: it belongs to the strand, and ends with the process.
  server& node = *new server(runtime::instance(), os::unix_listener::listen(folder, node_role::socket), std::move(options), [&] { ended.close(); });
  // Told to end by a signal, as by restart(), it ends as it should.
  os::interrupt_signals signals;
  os::start_thread([&] {
    if (signals.wait()) ended.close();
  });
  sync_wait(run_until_end(node, ended));
  folder.remove_file(node_role::socket);
  folder.remove_file(node_role::state);
}

}  // namespace rh::detail
