// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/core/limits.hpp>
#include <runhouse/os/duplex.hpp>
#include <runhouse/os/process.hpp>
#include <runhouse/os/system.hpp>
#include <runhouse/os/thread.hpp>
#include <runhouse/ssh/ssh_command.hpp>
#include <runhouse/ssh/ssh_host.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <optional>
#include <poll.h>
#include <string>
#include <string_view>
#include <sys/syscall.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

namespace rh::detail {

/// Whether `ssh` can ask for a password or a passphrase.
enum class ssh_questions {
  none,         ///< nobody would answer
  by_askpass,   ///< the user's own SSH_ASKPASS program shows them
  on_terminal,  ///< RUNHOUSE_SSH_PROMPT=1 allows them there
};

/// As the user's environment says.
inline ssh_questions questions_of_ssh();

/// Whether the ssh program is older than OpenSSH 8.7 and refuses options that came with it: whoever finds out says so.
[[gnu::visibility("default")]] inline std::atomic<bool>& is_older_ssh() noexcept {
  static std::atomic<bool> is_older{false};
  return is_older;
}

/// The user's own `ssh` program, found by PATH, which runs a command on a host. It reads the user's configuration, and
/// so does all that `ssh HOST` in a terminal does.
///
/// It is told to ask nothing unless somebody would answer; to give up after limits::connect if the host does not answer
/// and after 3 times limits::silence if it stops to; and not to set up the forwardings, the X display and the command
/// that the configuration has for a user's own login, nor a connection that others share: it uses one that is there.
class ssh_process final : public ssh_command {
 public:
  /// Errors: errc::host_unreachable where there is no ssh; errc::unknown_cluster for what cannot be a host.
  static std::shared_ptr<ssh_process> start(const ssh_host& host, const std::string& command);
  os::duplex take_stream() noexcept override { return std::move(stream_); }
  inline std::string said() const override;
  inline std::optional<os::exit_status> wait(std::chrono::milliseconds longest) const override;
  inline ssh_failure failure(const std::string& host) const override;
  inline void terminate() const override;

  explicit ssh_process(os::duplex stream) noexcept : stream_(std::move(stream)) {}

 private:
  static void watch(const std::shared_ptr<ssh_process>& self, os::unique_fd said);

  os::duplex stream_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  os::process process_;
  std::string said_;
  std::optional<os::exit_status> ended_;
};

// ---- implementation

inline ssh_questions questions_of_ssh() {
  const auto text = [](const char* variable) {
    const char* value = std::getenv(variable);
    return std::string_view(value != nullptr ? value : "");
  };
  if (text("RUNHOUSE_SSH_PROMPT") == "1" && ::isatty(STDIN_FILENO) == 1) return ssh_questions::on_terminal;
  const std::string_view required = text("SSH_ASKPASS_REQUIRE");
  const bool has_display = !text("DISPLAY").empty() || !text("WAYLAND_DISPLAY").empty();
  if (!text("SSH_ASKPASS").empty() && required != "never" && (required == "force" || required == "prefer" || has_display)) {
    return ssh_questions::by_askpass;
  }
  return ssh_questions::none;
}

inline std::shared_ptr<ssh_process> ssh_process::start(const ssh_host& host, const std::string& command) {
  check_host(host);
  auto [ours, theirs] = os::socket_pair();
  auto [said, their_said] = os::make_pipe();
  const auto seconds = [](std::chrono::seconds s) { return std::to_string(s.count()); };
  const ssh_questions questions = questions_of_ssh();
  os::spawn_request request;
  request.path = "ssh";
  request.place = os::spawn_request::terminal::none;
  if (questions == ssh_questions::on_terminal) {
    // Only who is in the terminal's group may ask there; Ctrl-C is for the program.
    request.place = os::spawn_request::terminal::shared;
    request.path = "/bin/sh";
    request.arguments = {"sh", "-c", "trap '' INT; exec ssh \"$@\""};
  }
  for (const std::string& a : {std::string("ssh"), std::string("-T"), std::string("-x"), std::string("-o"), "ConnectTimeout=" + seconds(limits::connect),
                               std::string("-o"), "ServerAliveInterval=" + seconds(limits::silence), std::string("-o"),
                               "ServerAliveCountMax=" + std::to_string(limits::silences), std::string("-o"), std::string("ClearAllForwardings=yes"),
                               std::string("-o"), std::string("RemoteCommand=none"), std::string("-o"), std::string("ControlMaster=no")}) {
    request.arguments.push_back(a);
  }
  if (!is_older_ssh()) {
    // What a configuration may have for other uses than this one.
    for (const char* a : {"SessionType=default", "StdinNull=no", "ForkAfterAuthentication=no"}) {
      request.arguments.emplace_back("-o");
      request.arguments.emplace_back(a);
    }
  }
  if (questions == ssh_questions::none) {
    request.arguments.emplace_back("-o");
    request.arguments.emplace_back("BatchMode=yes");
  }
  for (const std::string& a : ssh_arguments(host)) request.arguments.push_back(a);
  request.arguments.emplace_back("--");
  request.arguments.push_back(host.name());
  request.arguments.push_back(command);
  request.environment = os::environment_without("RUNHOUSE_");
  request.descriptors = {theirs.get(), theirs.get(), their_said.get()};
  auto self = std::make_shared<ssh_process>(os::duplex(std::move(ours)));
  try {
    self->process_ = os::spawn(request);
  } catch (const std::system_error& e) {
    if (e.code() != std::errc::no_such_file_or_directory) throw;
    fail(errc::host_unreachable, "there is no program 'ssh' to reach " + host.name() + " with; install openssh-client");
  }
  registry::instance().add(self);
  try {
    os::set_nonblocking(said.get());
    os::start_thread([self, fd = std::make_shared<os::unique_fd>(std::move(said))] { watch(self, std::move(*fd)); });
  } catch (...) {
    self->terminate();
    registry::instance().remove(*self);
    throw;
  }
  return self;
}

/// Until it ends. What holds stderr beyond that, as a master connection that stays, is not waited for.
inline void ssh_process::watch(const std::shared_ptr<ssh_process>& self, os::unique_fd said) {
  std::array<char, 4096> text{};
  const auto take = [&] {
    for (;;) {
      const auto got = os::read_some(said.get(), std::as_writable_bytes(std::span(text)));
      if (got.how == os::transfer::closed) return false;
      if (got.how != os::transfer::some) return true;
      const std::lock_guard lock(self->mutex_);
      self->said_.append(text.data(), got.bytes);
      if (self->said_.size() > limits::last_output_bytes) self->said_.erase(0, self->said_.size() - limits::last_output_bytes);
    }
  };
  bool is_open = true;
  for (;;) {
    pollfd both[2] = {{self->process_.pidfd(), POLLIN, 0}, {is_open ? said.get() : -1, POLLIN, 0}};
    if (::poll(both, 2, -1) < 0 && errno != EINTR) break;
    if (is_open) is_open = take();
    if (both[0].revents != 0) break;
  }
  if (is_open) take();
  {
    const std::lock_guard lock(self->mutex_);
    self->ended_ = self->process_.try_wait().value_or(os::exit_status{});
    self->changed_.notify_all();
  }
  registry::instance().remove(*self);
}

inline std::string ssh_process::said() const {
  const std::lock_guard lock(mutex_);
  return said_;
}

inline std::optional<os::exit_status> ssh_process::wait(std::chrono::milliseconds longest) const {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, longest, [this] { return ended_.has_value(); });
  return ended_;
}

inline ssh_failure ssh_process::failure(const std::string& host) const {
  const auto ended = wait(std::chrono::milliseconds(0));
  return ssh_failure_of(host, ended && ended->kind == os::exit_status::how::exited ? ended->number : -1, said());
}

inline void ssh_process::terminate() const {
  const std::lock_guard lock(mutex_);
  if (!ended_) ::syscall(SYS_pidfd_send_signal, process_.pidfd(), SIGTERM, nullptr, 0);
}

}  // namespace rh::detail
