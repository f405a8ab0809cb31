// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/limits.hpp>
#include <runhouse/os/process.hpp>
#include <runhouse/os/socket.hpp>
#include <runhouse/os/system.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <string>
#include <string_view>
#include <vector>

namespace rh::detail {

/// The environment that this user has after a login: what `sh -l` makes of this process's. Blocks, for limits::connect
/// at most; where that gives nothing, this process's own.
inline std::vector<std::string> login_environment() {
  std::vector<std::string> own = os::environment_without({});
  constexpr std::string_view marker = "runhouse-environment";
  std::string text;
  try {
    const os::unique_fd nothing = os::checked(::open("/dev/null", O_RDWR | O_CLOEXEC), "opening /dev/null");
    auto [said, their_said] = os::make_pipe();
    os::spawn_request request;
    request.path = "/bin/sh";
    request.arguments = {"sh", "-lc", "printf runhouse-environment; exec env -0"};
    request.environment = own;
    request.descriptors = {nothing.get(), their_said.get(), nothing.get()};
    os::process shell = os::spawn(request);
    their_said.reset();
    const auto deadline = std::chrono::steady_clock::now() + limits::connect;
    std::array<char, 65536> block{};
    bool is_whole = false;
    while (text.size() < limits::frame_bytes) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
      pollfd p{said.get(), POLLIN, 0};
      if (left <= 0 || ::poll(&p, 1, static_cast<int>(left)) == 0) break;
      const auto got = os::read_some(said.get(), std::as_writable_bytes(std::span(block)));
      is_whole = got.how == os::transfer::closed;
      if (got.how != os::transfer::some) break;
      text.append(block.data(), got.bytes);
    }
    if (!is_whole) shell.signal_group(SIGKILL);
    pollfd ended{shell.pidfd(), POLLIN, 0};
    ::poll(&ended, 1, 1000);
    shell.try_wait();
    if (!is_whole) return own;
  } catch (const std::exception&) {
    return own;
  }
  const std::size_t begin = text.find(marker);
  if (begin == text.npos) return own;
  std::string_view rest = std::string_view(text).substr(begin + marker.size());
  std::vector<std::string> all;
  while (!rest.empty()) {
    const std::string_view variable = rest.substr(0, rest.find('\0'));
    rest.remove_prefix(std::min(variable.size() + 1, rest.size()));
    if (variable.find('=') != variable.npos && variable.front() != '=') all.emplace_back(variable);
  }
  return all.empty() ? own : all;
}

}  // namespace rh::detail
