// SPDX-License-Identifier: Apache-2.0
#include <runhouse/ssh/ssh_failure.hpp>

#include "support/catch.hpp"

#include <string>

using rh::errc;
using rh::detail::ssh_failure_of;

TEST_CASE("what ssh says becomes a typed error, by OpenSSH's own words", "[ssh][ssh_failure]") {
  struct row {
    int code;
    const char* said;
    errc is;
    bool may_be_busy;
  };
  const row rows[] = {
      {255, "Host key verification failed.\r\n", errc::host_key_refused, false},
      {255, "No ED25519 host key is known for h and you have requested strict checking.\r\nHost key verification failed.\r\n", errc::host_key_refused, false},
      {255, "@@@@@\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\n@@@@@\nsomebody may be eavesdropping\n", errc::host_key_refused, false},
      {255, "me@h: Permission denied (publickey,password).\r\n", errc::authentication_failed, false},
      {255, "Received disconnect from 10.0.0.1 port 22:2: Too many authentication failures\r\n", errc::authentication_failed, false},
      {255, "ssh: Could not resolve hostname h: Name or service not known\r\n", errc::host_unreachable, false},
      {255, "ssh: connect to host h port 22: Connection refused\r\n", errc::host_unreachable, false},
      {255, "ssh: connect to host h port 22: Connection timed out\r\n", errc::host_unreachable, false},
      {255, "kex_exchange_identification: read: Connection reset by peer\r\nConnection reset by 10.0.0.1 port 22\r\n", errc::host_unreachable, true},
      {255, "kex_exchange_identification: Connection closed by remote host\r\n", errc::host_unreachable, true},
      {255, "ssh: connect to host jump port 22: Connection refused\r\nkex_exchange_identification: Connection closed by remote host\r\n"
            "Connection closed by UNKNOWN port 65535\r\n", errc::host_unreachable, false},
      {255, "Connection to 10.0.0.1 closed by remote host.\r\n", errc::host_unreachable, true},
      {-1, "", errc::host_unreachable, false},
      {1, "This account is not available.\n", errc::node_not_started, false},
      {0, "", errc::node_not_started, false},
  };
  for (const row& r : rows) {
    INFO(r.said);
    const auto failure = ssh_failure_of("h", r.code, r.said);
    CHECK(failure.code == r.is);
    CHECK(failure.may_be_busy == r.may_be_busy);
    CHECK(failure.what.find("h") != std::string::npos);
  }
}

TEST_CASE("an ssh that does not know the newer options is known by what it says", "[ssh][ssh_failure]") {
  CHECK(ssh_failure_of("h", 255, "command-line: line 0: Bad configuration option: sessiontype\r\n").is_older_ssh);
  CHECK_FALSE(ssh_failure_of("h", 255, "/home/me/.ssh/config: line 3: Bad configuration option: foo\r\n").is_older_ssh);
}

TEST_CASE("what ssh said is quoted in one line, without control characters, and not without end", "[ssh][ssh_failure]") {
  const auto failure = ssh_failure_of("gpu", 255, "ssh: one\r\n\x1b[31mtwo\t three\n");
  CHECK(failure.what == "gpu could not be reached; try 'ssh gpu' in a terminal (ssh said: ssh: one ?[31mtwo three)");
  CHECK(ssh_failure_of("gpu", 255, "@@@@@@@\n@  WARNING!  @\n@@@@@@@\nme@gpu: no\n").what.find("said: WARNING! me@gpu: no)") != std::string::npos);
  CHECK(ssh_failure_of("gpu", 255, std::string(100000, 'x')).what.size() < 2000);
}
