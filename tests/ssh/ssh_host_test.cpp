// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"

#include <runhouse/core/error.hpp>
#include <runhouse/ssh/ssh_host.hpp>

#include <string>
#include <vector>

using rh::ssh_host;
using rh::detail::check_host;
using rh::detail::identity_of;
using rh::detail::ssh_arguments;
using words = std::vector<std::string>;

namespace {

bool is_refused(const ssh_host& host) {
  try {
    check_host(host);
    return false;
  } catch (const rh::error& e) {
    CHECK(e.kind() == rh::errc::unknown_cluster);
    return true;
  }
}

}  // namespace

TEST_CASE("what is said of a host becomes arguments of ssh") {
  CHECK(ssh_arguments(ssh_host("gpu")).empty());
  const auto all = ssh_host("gpu").user("me").port(2222).key("~/.ssh/lab").jump("gate:23,inner").accept_new_key();
  CHECK(ssh_arguments(all) == words{"-l", "me", "-p", "2222", "-i", "~/.ssh/lab", "-J", "gate:23,inner", "-o", "StrictHostKeyChecking=accept-new"});
  CHECK_NOTHROW(check_host(all));
}

TEST_CASE("two that say the same are one") {
  CHECK(identity_of(ssh_host("gpu")) == identity_of(ssh_host("gpu")));
  CHECK(identity_of(ssh_host("gpu").user("a")) == identity_of(ssh_host("gpu").user("a")));
  CHECK(identity_of(ssh_host("gpu").user("a")) != identity_of(ssh_host("gpu")));
  CHECK(identity_of(ssh_host("gpu").user("a")) != identity_of(ssh_host("gpu").user("b")));
  CHECK(identity_of(ssh_host("gpu").transport(rh::ssh_transport::program)) != identity_of(ssh_host("gpu")));
  CHECK(identity_of(ssh_host("here")) != "here");
}

TEST_CASE("what ssh or a shell could take for something else is refused") {
  using namespace std::string_literals;
  for (const std::string& bad : {""s, "-oProxyCommand=id"s, "a b"s, "a;b"s, "a\nb"s, "a\0b"s, "$(id)"s, "`id`"s, "a'b"s, "a\"b"s, "a|b"s, "a&b"s, "a>b"s, "u@-x"s, "u@"s, "a\\b"s,
                                 "a*b"s, "a#b"s, "\xc3\xa4"s, "\x1b[2J"s, std::string(256, 'a')}) {
    CAPTURE(bad);
    CHECK(is_refused(ssh_host(bad)));
    if (bad.empty()) continue;  // nothing is said
    if (bad != "u@" && bad != "a\\b" && bad != "u@-x") CHECK(is_refused(ssh_host("gpu").user(bad)));
    CHECK(is_refused(ssh_host("gpu").jump(bad)));
    CHECK(is_refused(ssh_host("gpu").jump("gate," + bad)));
  }
  CHECK(is_refused(ssh_host("gpu").jump(",gate")));
  CHECK(is_refused(ssh_host("gpu").key("a\0b"s)));
  CHECK(is_refused(ssh_host("gpu").key("-F")));
  CHECK_FALSE(is_refused(ssh_host("ssh://me@[fe80::1%eth0]:22")));
  CHECK_FALSE(is_refused(ssh_host("gpu").user("DOMAIN\\me").key("/a b/c;d")));
}
