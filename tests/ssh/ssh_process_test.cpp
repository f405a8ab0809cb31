// SPDX-License-Identifier: Apache-2.0
#include <runhouse/ssh/ssh_process.hpp>

#include "support/catch.hpp"
#include "support/temporary_file.hpp"

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <poll.h>
#include <string>

using namespace std::chrono_literals;
namespace d = rh::detail;
using rh::test::temporary_file;

namespace {

/// An environment variable, as long as it lives.
class variable {
 public:
  variable(const char* name, const std::string& value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    ::setenv(name, value.c_str(), 1);
  }
  variable(const variable&) = delete;
  variable& operator=(const variable&) = delete;
  ~variable() { before_ ? ::setenv(name_, before_->c_str(), 1) : ::unsetenv(name_); }

 private:
  const char* name_;
  std::optional<std::string> before_;
};

/// A folder in front of PATH in which `ssh` is this script: what is tested is how it is started, and watched.
class other_ssh {
 public:
  explicit other_ssh(const std::string& script) : folder_(file_.path() + ".d"), path_("PATH", folder_ + ":" + std::getenv("PATH")) {
    std::filesystem::create_directory(folder_);
    std::ofstream(folder_ + "/ssh") << "#!/bin/sh\n" << script;
    std::filesystem::permissions(folder_ + "/ssh", std::filesystem::perms::owner_all);
  }
  ~other_ssh() { std::filesystem::remove_all(folder_); }
  other_ssh(const other_ssh&) = delete;
  other_ssh& operator=(const other_ssh&) = delete;

 private:
  temporary_file file_;
  std::string folder_;
  variable path_;
};

std::string read_all(const rh::os::duplex& from) {
  std::string all;
  rh::os::received_fds none;
  std::byte block[4096];
  for (;;) {
    const auto got = from.receive(block, none);
    if (got.how == rh::os::transfer::closed) return all;
    if (got.how == rh::os::transfer::some) all.append(reinterpret_cast<const char*>(block), got.bytes);
    pollfd p{from.in(), POLLIN, 0};
    if (::poll(&p, 1, 10000) != 1) return all + " (nothing more came)";
  }
}

}  // namespace

TEST_CASE("what is no host is refused before ssh sees it", "[ssh]") {
  for (const char* bad : {"", "-oProxyCommand=touch /tmp/x", "user@-oX", "a b", "a;b", "a$(b)", "a`b`", "a\nb", "a'b", "a\"b", "a\\b", "host@", "a|b", "a&b", "h\xc3\xa4"}) {
    INFO(bad);
    CHECK_THROWS_AS(d::check_host(bad), rh::error);
  }
  CHECK_THROWS_AS(d::check_host(std::string(300, 'a')), rh::error);
  for (const char* good : {"gpu", "me@gpu-1.lab.org", "ssh://me@gpu:2222", "10.0.0.1", "me@[fe80::1%eth0]", "ssh://[::1]:22", "first.last@host_a", "a@b@c"}) {
    INFO(good);
    CHECK_NOTHROW(d::check_host(good));
  }
}

TEST_CASE("ssh is told to ask nothing, and gets the host behind all options", "[ssh]") {
  const other_ssh fake("for a in \"$@\"; do echo \"$a\"; done; cat\n");
  const variable askpass("SSH_ASKPASS", "");
  const auto ssh = d::ssh_process::start(rh::ssh_host("me@gpu"), "exec /bin/sh -s");
  auto stream = ssh->take_stream();
  const std::string text = "typed\n";
  CHECK(stream.send(std::as_bytes(std::span(text))).bytes == text.size());
  ::shutdown(stream.out(), SHUT_WR);
  const std::string said = read_all(stream);
  CHECK(said.find("BatchMode=yes\n--\nme@gpu\nexec /bin/sh -s\ntyped\n") != std::string::npos);
  CHECK(said.find("ClearAllForwardings=yes\n") != std::string::npos);
  const auto ended = ssh->wait(10s);
  REQUIRE(ended);
  CHECK(ended->kind == rh::os::exit_status::how::exited);
  CHECK(ended->number == 0);
}

TEST_CASE("the user's own askpass program may be asked", "[ssh]") {
  const variable askpass("SSH_ASKPASS", "/bin/true");
  const variable required("SSH_ASKPASS_REQUIRE", "force");
  CHECK(d::questions_of_ssh() == d::ssh_questions::by_askpass);
  const other_ssh fake("echo \"$@\"\n");
  CHECK(read_all(d::ssh_process::start(rh::ssh_host("gpu"), "true")->take_stream()).find("BatchMode") == std::string::npos);
  const variable never("SSH_ASKPASS_REQUIRE", "never");
  CHECK(d::questions_of_ssh() == d::ssh_questions::none);
}

TEST_CASE("what ssh says on stderr is kept, its last part, and how it ended", "[ssh]") {
  const other_ssh fake("i=0; while [ $i -lt 3000 ]; do echo \"line $i of many\" >&2; i=$((i+1)); done; echo the last >&2; exit 255\n");
  const auto ssh = d::ssh_process::start(rh::ssh_host("gpu"), "true");
  const auto ended = ssh->wait(20s);
  REQUIRE(ended);
  CHECK(ended->number == 255);
  CHECK(ssh->said().ends_with("the last\n"));
  CHECK(ssh->said().size() <= rh::limits::last_output_bytes);
}

TEST_CASE("what holds ssh's stderr after it has ended is not waited for", "[ssh]") {
  const other_ssh fake("sleep 30 &\nexit 3\n");  // as a master connection that stays
  const auto start = std::chrono::steady_clock::now();
  const auto ended = d::ssh_process::start(rh::ssh_host("gpu"), "true")->wait(20s);
  REQUIRE(ended);
  CHECK(ended->number == 3);
  CHECK(std::chrono::steady_clock::now() - start < 20s);
}

TEST_CASE("ssh can be ended", "[ssh]") {
  const other_ssh fake("exec sleep 60\n");
  const auto ssh = d::ssh_process::start(rh::ssh_host("gpu"), "true");
  CHECK_FALSE(ssh->wait(50ms));
  ssh->terminate();
  const auto ended = ssh->wait(10s);
  REQUIRE(ended);
  CHECK(ended->kind == rh::os::exit_status::how::signalled);
}

TEST_CASE("a machine without ssh is told so", "[ssh]") {
  const variable path("PATH", "/nowhere");
  try {
    d::ssh_process::start(rh::ssh_host("gpu"), "true");
    FAIL("it was started");
  } catch (const rh::error& e) {
    CHECK(e.kind() == rh::errc::host_unreachable);
    CHECK(std::string(e.what()).find("openssh-client") != std::string::npos);
  }
}
