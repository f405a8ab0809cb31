// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/os/fd.hpp>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <spawn.h>
#include <string>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace rh::os {

/// How a process ended.
struct exit_status {
  enum class how { exited, signalled, unknown };  ///< unknown: somebody else has reaped it
  how kind = how::unknown;
  int number = 0;

  /// "exited with code 3", "was killed by signal 9 (Killed)".
  std::string text() const {
    switch (kind) {
      case how::exited: return "exited with code " + std::to_string(number);
      case how::signalled: {
        const char* name = ::strsignal(number);
        return "was killed by signal " + std::to_string(number) +
               (name != nullptr ? std::string(" (") + name + ")" : "");
      }
      case how::unknown: break;
    }
    return "ended (its exit status was taken by another wait() in this program)";
  }
};

/// A child process, known by its pidfd. Dropping the object neither kills nor reaps it.
class process {
 public:
  process() noexcept = default;
  process(pid_t pid, unique_fd pidfd) noexcept : pid_(pid), pidfd_(std::move(pidfd)) {}

  pid_t pid() const noexcept { return pid_; }
  /// Readable once the process has ended.
  int pidfd() const noexcept { return pidfd_.get(); }

  /// Sends a signal to its process group, if it still is one of ours to signal.
  void signal_group(int number) const noexcept {
    // Until it is reaped its pid, and so its group's id, is not given to anyone else.
    if (pid_ > 0 && !reaped_) ::kill(-pid_, number);
  }

  /// Reaps it if it has ended. Nothing if it still runs.
  std::optional<exit_status> try_wait() noexcept {
    siginfo_t info{};
    for (;;) {
      if (::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd_.get()), &info, WEXITED | WNOHANG) == 0)
        break;
      if (errno == EINTR) continue;
      reaped_ = true;
      return exit_status{};
    }
    if (info.si_pid == 0) return std::nullopt;
    reaped_ = true;
    const bool exited = info.si_code == CLD_EXITED;
    return exit_status{exited ? exit_status::how::exited : exit_status::how::signalled, info.si_status};
  }

 private:
  pid_t pid_ = -1;
  unique_fd pidfd_;
  bool reaped_ = false;
};

/// For a process that need not be a child; none, and errno, where there is no such process.
inline unique_fd open_pidfd(pid_t pid) noexcept { return unique_fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))); }

/// What to start: by posix_spawn, with default signals, and no descriptor but those
/// named here.
struct spawn_request {
  std::string path;                      ///< without a slash: the name of a program, found by PATH
  std::vector<std::string> arguments;    ///< argv, the name first
  std::vector<std::string> environment;  ///< NAME=value, all of it
  std::vector<int> descriptors;          ///< become 0, 1, 2, ... there
  std::string folder;                    ///< its working directory; empty: this process's
  enum class terminal {
    background,  ///< in a process group of its own
    none,        ///< in a session of its own: it has no terminal to ask on, and fails rather than stops
    shared,      ///< in this process's group, for what asks on the terminal
  };
  terminal place = terminal::background;
};

/// Errors: std::system_error with the reason of the system (EAGAIN: no more processes; ENOMEM; ENOENT).
inline process spawn(const spawn_request& request) {
  struct actions {
    posix_spawn_file_actions_t value;
    actions() { posix_spawn_file_actions_init(&value); }
    ~actions() { posix_spawn_file_actions_destroy(&value); }
  } files;
  struct attributes {
    posix_spawnattr_t value;
    attributes() { posix_spawnattr_init(&value); }
    ~attributes() { posix_spawnattr_destroy(&value); }
  } attr;

  // First out of the way of the numbers that they are to get, then onto them.
  const int count = static_cast<int>(request.descriptors.size());
  std::vector<unique_fd> away;
  for (const int fd : request.descriptors)
    away.push_back(checked(::fcntl(fd, F_DUPFD_CLOEXEC, count), "duplicating a descriptor"));
  for (int i = 0; i < count; ++i)
    posix_spawn_file_actions_adddup2(&files.value, away[static_cast<std::size_t>(i)].get(), i);
  if (!request.folder.empty()) {
    if (::access(request.folder.c_str(), X_OK) != 0) fail_errno("entering the folder '" + request.folder + "'");
    posix_spawn_file_actions_addchdir_np(&files.value, request.folder.c_str());
  }
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 34)
  posix_spawn_file_actions_addclosefrom_np(&files.value, count);
#endif

  sigset_t none;
  sigset_t all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setflags(&attr.value, static_cast<short>((request.place == spawn_request::terminal::none         ? POSIX_SPAWN_SETSID
                                                     : request.place == spawn_request::terminal::background ? POSIX_SPAWN_SETPGROUP
                                                                                                            : 0) | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF));
  posix_spawnattr_setpgroup(&attr.value, 0);
  posix_spawnattr_setsigmask(&attr.value, &none);
  posix_spawnattr_setsigdefault(&attr.value, &all);

  std::vector<char*> argv;
  for (const std::string& a : request.arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  std::vector<char*> envp;
  for (const std::string& e : request.environment) envp.push_back(const_cast<char*>(e.c_str()));
  envp.push_back(nullptr);

  pid_t pid = -1;
  const int error = ::posix_spawnp(&pid, request.path.c_str(), &files.value, &attr.value, argv.data(), envp.data());
  if (error != 0) {
    errno = error;
    fail_errno("starting a process");
  }
  unique_fd pidfd = open_pidfd(pid);
  if (!pidfd) {
    const int reason = errno;
    ::kill(-pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    errno = reason;
    fail_errno("opening a pidfd (Linux 5.3 or newer is needed)");
  }
  return process(pid, std::move(pidfd));
}

}  // namespace rh::os
