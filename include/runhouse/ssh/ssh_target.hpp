// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/ssh/ssh_host.hpp>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace rh::detail {


/// All that it takes to reach a host by libssh2: the configuration, resolved.
struct ssh_target {
  std::string name;  ///< as the user calls it
  std::string host;  ///< to connect to
  std::uint16_t port = 22;
  int family = 0;  ///< AF_UNSPEC
  std::string user;

  std::string known_as;              ///< in known_hosts files; with known_port
  std::uint16_t known_port = 22;     ///< 0 with HostKeyAlias
  std::vector<std::string> known_hosts_files;
  bool accepts_new_keys = false;     ///< adds them to:
  std::string new_keys_file;         ///< the user's first; empty: none
  bool hashes_new_keys = false;

  std::vector<std::string> key_files;
  std::string agent;            ///< its socket; empty: none
  bool only_key_files = false;  ///< of the agent's keys only those that have a file
  // What the configuration allows of what libssh2 is made to use.
  std::vector<std::string> ciphers, macs, key_exchanges, host_key_types;
  std::vector<std::string> key_types;  ///< of the user's keys; empty: all
  bool may_ask = true;                 ///< by keyboard-interactive
  bool may_send_password = true;
  ssh_answers answers;
  std::vector<std::pair<std::string, std::string>> variables;  ///< of commands there: SetEnv
};

}  // namespace rh::detail
