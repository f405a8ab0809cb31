// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/errc.hpp>

#include <initializer_list>
#include <string>
#include <string_view>

namespace rh::detail {

/// Why a host could not be reached by the ssh program, from its exit code and what it said on stderr.
struct ssh_failure {
  errc code;
  std::string what;      ///< a sentence, with what it said and what to do
  bool may_be_busy = false;  ///< the host closed the connection early, as one does to which many connect at once: try again
  bool is_older_ssh = false;  ///< it does not know the options of OpenSSH 8.7
};

/// Precondition: the command that it was to run has not begun. `exit_code` -1: it was killed, or how it ended is unknown.
inline ssh_failure ssh_failure_of(const std::string& host, int exit_code, std::string_view said) {
  const auto says = [&](std::initializer_list<std::string_view> any) {
    for (const std::string_view text : any) {
      if (said.find(text) != said.npos) return true;
    }
    return false;
  };
  std::string quoted;  // one line, without the frame of signs around some messages
  said = said.substr(said.size() > 1500 ? said.size() - 1500 : 0);
  for (std::size_t i = 0; i < said.size(); ++i) {
    const char c = said[i];
    const bool is_framed = (i > 0 && said[i - 1] != '@' && said[i - 1] > ' ') || (i + 1 < said.size() && said[i + 1] != '@' && said[i + 1] > ' ');
    if (c == '\r' || (c == '@' && !is_framed)) continue;
    const bool is_space = c == '\n' || c == '\t' || c == ' ';
    if (is_space && (quoted.empty() || quoted.back() == ' ')) continue;
    quoted += is_space ? ' ' : static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  }
  while (!quoted.empty() && quoted.back() == ' ') quoted.pop_back();
  const std::string said_so = quoted.empty() ? "ssh said nothing" : "ssh said: " + quoted;

  if (says({"REMOTE HOST IDENTIFICATION HAS CHANGED", "Host key verification failed", "REVOKED HOST KEY", "host key is known for"})) {
    return {errc::host_key_refused, "the host key of " + host + " is not the one that is known, or none is known; connect once by 'ssh " + host +
                                        "' in a terminal, and compare the fingerprint with what the machine's owner says (" + said_so + ")"};
  }
  if (says({"Permission denied (", "Too many authentication failures", "Authentication failed", "No more authentication methods"})) {
    return {errc::authentication_failed, host + " did not let this user in; nobody could be asked for a password, so a key or an agent is needed: " +
                                             "'ssh -o BatchMode=yes " + host + " true' must work, or RUNHOUSE_SSH_PROMPT=1 in a terminal (" + said_so + ")"};
  }
  if (exit_code == 127 && says({"ssh: not found", "ssh: command not found"})) {
    return {errc::host_unreachable, "there is no program 'ssh' to reach " + host + " with; install openssh-client"};
  }
  if (exit_code != 255 && exit_code != -1) {
    return {errc::node_not_started, "the login shell on " + host + " ended, with code " + std::to_string(exit_code) +
                                        ", before it had run /bin/sh; its start-up files must not exit where there is no terminal (" + said_so + ")"};
  }
  const bool is_jump = says({"UNKNOWN port 65535", "stdio forwarding failed"});  // it said first why the way there is closed
  const bool is_busy = !is_jump && says({"kex_exchange_identification", "ssh_exchange_identification", "Connection reset by", "Connection closed by",
                                         "closed by remote host", "ssh_dispatch_run_fatal", "Broken pipe", "client_loop:",
                                         "Session open refused by peer"});
  return {errc::host_unreachable, host + " could not be reached; try 'ssh " + host + "' in a terminal (" + said_so + ")", is_busy,
          says({"Bad configuration option: sessiontype"})};
}

}  // namespace rh::detail
