// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/core/limits.hpp>
#include <runhouse/function/program_objects.hpp>
#include <runhouse/host/handshake.hpp>
#include <runhouse/os/lock_file.hpp>
#include <runhouse/os/private_folder.hpp>
#include <runhouse/os/process.hpp>
#include <runhouse/os/system.hpp>
#include <runhouse/os/unix_listener.hpp>
#include <runhouse/rpc/node_contact.hpp>
#include <runhouse/rpc/node_role.hpp>

#include <chrono>
#include <cstdlib>
#include <fcntl.h>
#include <optional>
#include <poll.h>
#include <random>
#include <string>
#include <thread>
#include <unistd.h>
#include <utility>

namespace rh::detail {

/// The way to this user's node on this machine, which is started where none runs: from this program's own executable.
class here_contact final : public node_contact {
 public:
  explicit here_contact(std::string folder = os::run_folder_path()) : folder_(std::move(folder)) {}
  inline reached_node reach(const wire::open_session& session) override;
  const std::string& name() const noexcept override { return name_; }
  bool is_same_machine() const noexcept override { return true; }

  /// Ends the node that runs, with all that it has, also one of another version. Nothing if none runs. Blocks.
  /// Errors: errc::node_not_started where it does not end; errc::run_folder.
  void end_node() const;

 private:
  static os::connection connect(const os::private_folder& folder);
  static void start(const os::private_folder& folder);

  const std::string folder_;
  const std::string name_ = "here";
};

/// What opens a session for this program.
inline wire::open_session new_session(bool is_same_machine) {
  wire::open_session session;
  std::random_device random;
  for (std::byte& b : session.id) b = static_cast<std::byte>(random());
  session.is_same_machine = is_same_machine;
  session.folder = os::working_folder();
  session.environment = os::environment_without("RUNHOUSE_");
  std::erase_if(session.environment, [](const std::string& v) { return v.find('=') == v.npos || v.front() == '='; });
  return session;
}

// ---- implementation

/// RUNHOUSE_NODE_SOCKET names another socket than the one in the run folder: of something that stands in between.
inline os::connection here_contact::connect(const os::private_folder& folder) {
  const char* other = std::getenv("RUNHOUSE_NODE_SOCKET");
  os::connection made = other != nullptr && *other != '\0' ? os::connect_unix(other) : os::connect_unix(folder, node_role::socket);
  if (made.how == os::connect_result::connected && os::peer_of(made.fd.get()).uid != ::geteuid()) {
    fail(errc::run_folder, "the socket of the node in " + folder.path() + " is another user's; remove it");
  }
  return made;
}

inline reached_node here_contact::reach(const wire::open_session& session) {
  using clock = std::chrono::steady_clock;
  const os::private_folder folder = os::private_folder::open(folder_);
  wire::hello hello;
  hello.features = wire::feature::files;
  hello.pid = static_cast<std::uint32_t>(::getpid());
  hello.program = program_files();
  hello.host = os::host_name();
  const os::unique_fd executable = os::checked(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC), "opening this program's own file");
  const int passed[] = {executable.get()};
  const auto deadline = clock::now() + limits::node_start;
  for (;;) {
    os::connection made = connect(folder);
    if (made.how == os::connect_result::connected) {
      try {
        return shake_hands(std::move(made.fd), hello, session, session.resumes ? std::span<const int>() : std::span<const int>(passed), name_);
      } catch (const error& e) {
        if (e.kind() != errc::connection_lost) throw;
        if (session.resumes && os::lock_file::holder(folder, node_role::lock)) throw;
        if (clock::now() >= deadline) throw;
      }
    }
    if (session.resumes) {
      if (os::lock_file::holder(folder, node_role::lock)) fail(errc::connection_lost, "the node of here does not listen");
      fail(errc::node_lost, "the node of here has ended; what it had is gone");
    }
    // One that starts it at a time; the others wait for that.
    const auto starting = os::lock_file::try_lock(folder, node_role::start_lock);
    if (starting && !os::lock_file::holder(folder, node_role::lock)) {
      start(folder);
      continue;
    }
    if (clock::now() >= deadline) {
      fail(errc::node_not_started, "the node of here could not be reached within " + std::to_string(limits::node_start.count()) + " s; its folder is " + folder.path());
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

/// Waits until it says that it is there.
inline void here_contact::start(const os::private_folder& folder) {
  auto [ready, their_ready] = os::make_pipe();
  const os::unique_fd nothing = os::checked(::open("/dev/null", O_RDWR | O_CLOEXEC), "opening /dev/null");
  os::spawn_request request;
  request.path = "/proc/self/exe";
  request.arguments = {"runhouse-node"};
  request.environment = os::environment_without("RUNHOUSE_NODE");
  request.environment.push_back(std::string(node_role::variable) + "=" + folder.path());
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
  fail(errc::node_not_started, "the node of here could not be started: " + said);
}

inline void here_contact::end_node() const {
  const os::private_folder folder = os::private_folder::open(folder_);
  const auto holder = os::lock_file::holder(folder, node_role::lock);
  if (!holder) return;
  const os::unique_fd node = os::open_pidfd(*holder);
  // By now it may be another process that has this pid.
  if (!node || os::lock_file::holder(folder, node_role::lock) != holder) return;
  for (const int number : {SIGTERM, SIGKILL}) {
    ::syscall(SYS_pidfd_send_signal, node.get(), number, nullptr, 0);
    pollfd ended{node.get(), POLLIN, 0};
    if (::poll(&ended, 1, static_cast<int>(std::chrono::milliseconds(limits::node_end).count())) == 1) {
      folder.remove_file(node_role::state);  // it was told to
      return;
    }
  }
  fail(errc::node_not_started, "the node of here (pid " + std::to_string(*holder) + ") does not end");
}

}  // namespace rh::detail
