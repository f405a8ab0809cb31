// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/core/limits.hpp>
#include <runhouse/function/program_objects.hpp>
#include <runhouse/host/login_environment.hpp>
#include <runhouse/host/node_start.hpp>
#include <runhouse/os/own_libraries.hpp>
#include <runhouse/os/socket.hpp>
#include <runhouse/wire/session_message.hpp>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fcntl.h>
#include <string>
#include <string_view>
#include <unistd.h>
#include <utility>
#include <vector>

namespace rh::detail {

/// This process as what a login on its machine starts for a program elsewhere: it hands its own standard input and
/// output to this user's node, which it starts where none runs, and then sleeps until the node closes them. No byte of
/// a session passes through it. Runs before the program's own static objects exist, and never returns.
class bridge {
 public:
  /// What to do: "probe", only to say that the program can run here; "end MARKER", to end the node; or the marker that
  /// begins each line that it says.
  static constexpr const char* variable = "RUNHOUSE_BRIDGE";

  static bool is_asked_for() noexcept { return std::getenv(variable) != nullptr; }
  /// Precondition: is_asked_for().
  [[noreturn]] static void run() noexcept;

 private:
  static void say(const std::string& line);
  static std::string bytes_of_hex(std::string_view text);
  static os::unique_fd hand_over(const node_process& node, const std::string& marker, bool& is_said);
};

// ---- implementation

inline void bridge::say(const std::string& line) {
  std::string_view rest = line;
  while (!rest.empty()) {
    const auto n = ::write(STDOUT_FILENO, rest.data(), rest.size());
    if (n <= 0) return;  // nobody is there any more
    rest.remove_prefix(static_cast<std::size_t>(n));
  }
}

inline std::string bridge::bytes_of_hex(std::string_view text) {
  const auto value = [](char c) { return c >= 'a' ? c - 'a' + 10 : c - '0'; };
  std::string bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) bytes.push_back(static_cast<char>(value(text[i]) << 4 | value(text[i + 1])));
  return bytes;
}

/// The connection that the node closes when it has closed the other.
inline os::unique_fd bridge::hand_over(const node_process& node, const std::string& marker, bool& is_said) {
  wire::bridged_program program;
  program.files = program_files();
  if (os::own_libraries::any()) {
    const char* others = std::getenv("LD_LIBRARY_PATH");
    if (others != nullptr) program.variables.push_back("LD_LIBRARY_PATH=" + std::string(others));
    os::own_libraries::add_to(program.variables);
  }
  if (const char* said = std::getenv(node_role::said)) program.said = bytes_of_hex(said);
  std::vector<std::byte> out;
  wire::append_frame(out, {wire::frame_type::bridge, 0, 0, 0}, encode(program));
  const os::unique_fd executable = os::checked(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC), "opening this program's own file");
  const int passed[] = {STDIN_FILENO, STDOUT_FILENO, executable.get()};
  const auto deadline = std::chrono::steady_clock::now() + limits::node_start;
  for (;;) {
    if (os::unique_fd made = node.connect()) {
      // Before the node may say something there.
      if (!std::exchange(is_said, true)) {
        say(marker + " bridged\n");
        // The script that started this says nothing more in that stream.
        const char* script = std::getenv(node_role::script);
        if (script != nullptr && std::to_string(::getppid()) == script) ::kill(::getppid(), SIGUSR1);
      }
      const auto sent = os::send(made.get(), out, std::span<const int>(passed));
      if (sent.how == os::transfer::some && sent.bytes == out.size()) return made;
    }
    node.start(&login_environment);
    if (std::chrono::steady_clock::now() >= deadline) {
      fail(errc::node_not_started, "the node could not be reached within " + std::to_string(limits::node_start.count()) + " s; its folder is " + node.folder());
    }
  }
}

inline void bridge::run() noexcept {
  std::string marker = std::getenv(variable);
  ::unsetenv(variable);
  os::own_libraries::take();
  std::signal(SIGPIPE, SIG_IGN);
  if (marker == "probe") ::_exit(0);
  constexpr std::string_view to_end = "end ";
  const bool ends_node = marker.starts_with(to_end);
  if (ends_node) marker.erase(0, to_end.size());
  bool is_said = false;  // that the node has it: what follows in the stream is the session's
  const auto fail_as = [&](const char* code, const char* what) {
    if (is_said) {
      std::fprintf(stderr, "runhouse bridge: %s\n", what);
    } else {
      say(marker + " failed " + code + " " + what + "\n");
    }
  };
  try {
    const node_process node;
    if (ends_node) {
      node.end();
      say(marker + " ended\n");
      ::_exit(0);
    }
    // What a login's pipes hold at a time bounds how fast large values come and go.
    for (const int end : {STDIN_FILENO, STDOUT_FILENO}) ::fcntl(end, F_SETPIPE_SZ, 1 << 20);
    const os::unique_fd held = hand_over(node, marker, is_said);
    const os::unique_fd nothing = os::checked(::open("/dev/null", O_RDWR | O_CLOEXEC), "opening /dev/null");
    ::dup2(nothing.get(), STDIN_FILENO);
    ::dup2(nothing.get(), STDOUT_FILENO);
    char byte = 0;
    for (;;) {  // errno means something only where a read failed
      const auto n = ::read(held.get(), &byte, 1);
      if (n == 0 || (n < 0 && errno != EINTR)) ::_exit(0);
    }
  } catch (const error& e) {
    fail_as(name_of(e.kind()), e.what());
  } catch (const std::exception& e) {
    fail_as(name_of(errc::node_not_started), e.what());
  }
  ::_exit(0);  // it was said
}

}  // namespace rh::detail
