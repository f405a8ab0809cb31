// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/os/system.hpp>
#include <runhouse/wire/message.hpp>
#include <runhouse/wire/session_message.hpp>

#include <random>
#include <string>
#include <unistd.h>

namespace rh::detail {

/// What opens a session for this program. Its workers on this machine run where it does; on others, where the node says.
inline wire::open_session new_session(bool is_same_machine) {
  wire::open_session session;
  std::random_device random;
  for (std::byte& b : session.id) b = static_cast<std::byte>(random());
  session.is_same_machine = is_same_machine;
  if (!is_same_machine) return session;
  session.folder = os::working_folder();
  session.environment = os::environment_without("RUNHOUSE_");
  std::erase_if(session.environment, [](const std::string& v) { return v.find('=') == v.npos || v.front() == '='; });
  return session;
}

/// What this program says first on each connection.
inline wire::hello hello_of_program() {
  wire::hello hello;
  hello.pid = static_cast<std::uint32_t>(::getpid());
  hello.host = os::host_name();
  return hello;
}

}  // namespace rh::detail
