// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/core/limits.hpp>
#include <runhouse/os/lock_file.hpp>
#include <runhouse/os/own_libraries.hpp>
#include <runhouse/os/private_folder.hpp>
#include <runhouse/os/process.hpp>
#include <runhouse/os/socket.hpp>
#include <runhouse/os/system.hpp>
#include <runhouse/os/unix_listener.hpp>
#include <runhouse/rpc/node_role.hpp>

#include <chrono>
#include <cstdlib>
#include <fcntl.h>
#include <functional>
#include <poll.h>
#include <string>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace rh::detail {

/// This user's node on this machine, seen from another process: connected to, started where none runs, and ended.
class node_process {
 public:
  /// Errors: errc::run_folder.
  explicit node_process(const std::string& folder = os::run_folder_path()) : folder_(os::private_folder::open(folder)) {}

  const std::string& folder() const noexcept { return folder_.path(); }
  /// Whether one runs, whether or not it listens yet.
  bool runs() const { return os::lock_file::holder(folder_, node_role::lock).has_value(); }
  /// A connection to it; none where it does not listen. Errors: errc::run_folder; errc::timed_out.
  os::unique_fd connect() const;
  /// Starts one if none runs, or waits a little where another program does so: then try again to connect. `environment`
  /// is asked for the node's environment.
  /// Errors: errc::node_not_started.
  void start(const std::function<std::vector<std::string>()>& environment) const;
  /// Ends the one that runs, with all that it has, also one of another version. Nothing if none runs. Blocks.
  /// Errors: errc::node_not_started where it does not end.
  void end() const;

 private:
  void start_now(std::vector<std::string> environment) const;

  os::private_folder folder_;
};

// ---- implementation

/// RUNHOUSE_NODE_SOCKET names another socket than the one in the run folder: of something that stands in between.
inline os::unique_fd node_process::connect() const {
  const char* other = std::getenv("RUNHOUSE_NODE_SOCKET");
  os::connection made = other != nullptr && *other != '\0' ? os::connect_unix(other) : os::connect_unix(folder_, node_role::socket);
  if (made.how != os::connect_result::connected) return {};
  if (os::peer_of(made.fd.get()).uid != ::geteuid()) {
    fail(errc::run_folder, "the socket of the node in " + folder() + " is another user's; remove it");
  }
  return std::move(made.fd);
}

inline void node_process::start(const std::function<std::vector<std::string>()>& environment) const {
  // One that starts it at a time; the others wait for that.
  const auto starting = os::lock_file::try_lock(folder_, node_role::start_lock);
  if (starting && !runs()) return start_now(environment());
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
}

/// Waits until it says that it is there.
inline void node_process::start_now(std::vector<std::string> environment) const {
  auto [ready, their_ready] = os::make_pipe();
  const os::unique_fd nothing = os::checked(::open("/dev/null", O_RDWR | O_CLOEXEC), "opening /dev/null");
  os::spawn_request request;
  request.path = "/proc/self/exe";
  request.arguments = {"runhouse-node"};
  request.environment = std::move(environment);
  request.environment.push_back(std::string(node_role::variable) + "=" + folder());
  os::own_libraries::add_to(request.environment);
  request.descriptors = {nothing.get(), nothing.get(), nothing.get(), their_ready.get()};
  os::process first = os::spawn(request);
  their_ready.reset();
  std::string said;
  pollfd p{ready.get(), POLLIN, 0};
  if (::poll(&p, 1, static_cast<int>(std::chrono::milliseconds(limits::node_start).count())) == 1) {
    char text[4096];
    while (const auto n = ::read(ready.get(), text, sizeof text)) {
      if (n < 0) break;
      said.append(text, static_cast<std::size_t>(n));
    }
  } else {
    said = "it said nothing for " + std::to_string(limits::node_start.count()) + " s";
    first.signal_group(SIGKILL);
  }
  pollfd ended{first.pidfd(), POLLIN, 0};
  ::poll(&ended, 1, 1000);
  const auto status = first.try_wait();
  if (said == "ok" || said == "another one runs") return;
  if (said.empty()) said = status ? "its first process " + status->text() : "it said nothing";
  fail(errc::node_not_started, "the node could not be started: " + said);
}

inline void node_process::end() const {
  const auto holder = os::lock_file::holder(folder_, node_role::lock);
  if (!holder) return;
  const os::unique_fd node = os::open_pidfd(*holder);
  // By now it may be another process that has this pid.
  if (!node || os::lock_file::holder(folder_, node_role::lock) != holder) return;
  for (const int number : {SIGTERM, SIGKILL}) {
    ::syscall(SYS_pidfd_send_signal, node.get(), number, nullptr, 0);
    pollfd ended{node.get(), POLLIN, 0};
    if (::poll(&ended, 1, static_cast<int>(std::chrono::milliseconds(limits::node_end).count())) == 1) {
      folder_.remove_file(node_role::state);  // it was told to
      return;
    }
  }
  fail(errc::node_not_started, "the node (pid " + std::to_string(*holder) + ") does not end");
}

}  // namespace rh::detail
