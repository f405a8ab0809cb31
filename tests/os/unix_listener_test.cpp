// SPDX-License-Identifier: Apache-2.0
#include <runhouse/os/unix_listener.hpp>

#include <runhouse/os/socket.hpp>

#include "support.hpp"
#include "support/catch.hpp"
#include "support/temporary_file.hpp"

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <memory>
#include <optional>
#include <poll.h>
#include <string>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

using rh::os::connect_result;
using rh::os::connect_unix;
using rh::os::private_folder;
using rh::os::unix_listener;

TEST_CASE("a listener's connections carry bytes and say who is at the other end", "[os][unix_listener]") {
  const rh::test::temporary_place place;
  const private_folder folder = private_folder::open(place.path());
  unix_listener listener = unix_listener::listen(folder, "node.sock");
  struct stat facts {};
  REQUIRE(::lstat(folder.path_of("node.sock").c_str(), &facts) == 0);
  CHECK(S_ISSOCK(facts.st_mode));
  CHECK((facts.st_mode & 07777) == 0600);
  CHECK(folder.names() == std::vector<std::string>{"node.sock"});
  CHECK_FALSE(listener.accept());

  auto [how, fd] = connect_unix(folder.path_of("node.sock"));
  REQUIRE(how == connect_result::connected);
  std::optional<unix_listener::accepted> got = listener.accept();
  REQUIRE(got);
  CHECK(got->peer.pid == ::getpid());
  CHECK(got->peer.uid == ::geteuid());
  CHECK(got->peer.gid == ::getegid());
  CHECK(rh::os::peer_of(fd.get()).pid == ::getpid());
  CHECK((::fcntl(got->fd.get(), F_GETFL) & O_NONBLOCK) != 0);
  CHECK((::fcntl(got->fd.get(), F_GETFD) & FD_CLOEXEC) != 0);
  CHECK((::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC) != 0);
  REQUIRE(::write(fd.get(), "hi", 2) == 2);
  char text[2] = {};
  CHECK(::read(got->fd.get(), text, 2) == 2);
  CHECK_FALSE(listener.accept());
}

TEST_CASE("a peer is known by its own pid and user, not by the listener's", "[os][unix_listener]") {
  const rh::test::temporary_place place;
  const private_folder folder = private_folder::open(place.path());
  unix_listener listener = unix_listener::listen(folder, "s");
  const bool as_other = ::geteuid() == 0;
  const pid_t child = ::fork();
  if (child == 0) {
    // Root's folder stays open to it by the descriptor, whoever it becomes; the socket's own mode does not.
    rh::os::connection c = connect_unix(folder, "s");
    ::_exit(c.how == connect_result::connected ? 0 : 1);
  }
  ::waitpid(child, nullptr, 0);
  const auto got = listener.accept();
  REQUIRE(got);
  CHECK(got->peer.pid == child);
  if (!as_other) return;
  const int code = rh::test::in_child([&] {
    if (::setgid(65534) != 0 || ::setuid(65534) != 0) return 1;
    try {
      connect_unix(folder, "s");
    } catch (const rh::error& e) {
      return e.kind() == rh::errc::run_folder ? 0 : 2;
    }
    return 3;
  });
  CHECK(code == 0);
  CHECK_FALSE(listener.accept());
}

TEST_CASE("a socket of an ended process refuses, and is replaced", "[os][unix_listener]") {
  const rh::test::temporary_place place;
  const private_folder folder = private_folder::open(place.path());
  CHECK(connect_unix(folder, "s").how == connect_result::absent);
  CHECK(connect_unix(place.path() + "/none/s").how == connect_result::absent);
  CHECK(rh::test::in_child([&] {
          unix_listener listener = unix_listener::listen(folder, "s");
          ::kill(::getpid(), SIGKILL);
          return 0;
        }) == -1);
  CHECK(connect_unix(folder, "s").how == connect_result::refused);
  {
    unix_listener listener = unix_listener::listen(folder, "s");
    CHECK(connect_unix(folder, "s").how == connect_result::connected);
    CHECK(listener.accept());
  }
  CHECK(connect_unix(folder, "s").how == connect_result::absent);
}

TEST_CASE("a listener that goes leaves the socket of the one that has replaced it", "[os][unix_listener]") {
  const rh::test::temporary_place place;
  const private_folder folder = private_folder::open(place.path());
  std::optional<unix_listener> old(unix_listener::listen(folder, "s"));
  unix_listener next = unix_listener::listen(folder, "s");
  old.reset();
  CHECK(connect_unix(folder, "s").how == connect_result::connected);
  CHECK(next.accept());
}

TEST_CASE("a socket that can be seen can be connected to, while it is replaced 500 times", "[os][unix_listener]") {
  const rh::test::temporary_place place;
  const private_folder folder = private_folder::open(place.path());
  auto [stopped, stop] = rh::os::make_pipe();
  const unix_listener first = unix_listener::listen(folder, "s");
  const pid_t child = ::fork();
  if (child == 0) {
    stop.reset();
    int other = 0;
    pollfd end{stopped.get(), POLLIN, 0};
    while (::poll(&end, 1, 0) == 0) other += connect_unix(folder, "s").how == connect_result::absent;
    ::_exit(other == 0 ? 0 : 1);
  }
  // Each stays until the next is there; a connection that comes to one just replaced is refused, never absent.
  std::unique_ptr<unix_listener> current;
  for (int i = 0; i < 500; ++i) current = std::make_unique<unix_listener>(unix_listener::listen(folder, "s"));
  stop.reset();
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(status == 0);
}

TEST_CASE("a socket may lie deeper than the address of one has room for", "[os][unix_listener]") {
  const rh::test::temporary_place place;
  const private_folder folder =
      private_folder::open(place.path()).folder(std::string(200, 'd')).folder(std::string(200, 'e'));
  unix_listener listener = unix_listener::listen(folder, "node.sock");
  CHECK(connect_unix(folder, "node.sock").how == connect_result::connected);
  CHECK(listener.accept());
  CHECK(connect_unix(folder.path_of("node.sock")).how == connect_result::connected);
  CHECK(listener.accept());
  const std::string said =
      rh::test::message_of(rh::errc::run_folder, [&] { unix_listener::listen(folder, std::string(108, 'n')); });
  CHECK(rh::test::contains(said, "too long"));
  CHECK(rh::test::contains(said, "Use a shorter one"));
}

TEST_CASE("a symbolic link planted as a socket is replaced, not followed", "[os][unix_listener]") {
  const rh::test::temporary_place place;
  const private_folder folder = private_folder::open(place.path());
  const std::string target = place.path() + ".target";
  REQUIRE(::symlink(target.c_str(), folder.path_of("s").c_str()) == 0);
  REQUIRE(::symlink(target.c_str(), folder.path_of(".s.new").c_str()) == 0);
  unix_listener listener = unix_listener::listen(folder, "s");
  CHECK_FALSE(std::filesystem::exists(target));
  CHECK(connect_unix(folder, "s").how == connect_result::connected);
}

TEST_CASE("a connection for which there is no descriptor stays for later", "[os][unix_listener]") {
  const rh::test::temporary_place place;
  const private_folder folder = private_folder::open(place.path());
  unix_listener listener = unix_listener::listen(folder, "s");
  const rh::os::connection waiting = connect_unix(folder, "s");
  rlimit old{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &old) == 0);
  rlimit few = old;
  few.rlim_cur = 3;
  ::setrlimit(RLIMIT_NOFILE, &few);
  int reason = 0;
  try {
    listener.accept();
  } catch (const std::system_error& e) {
    reason = e.code().value();
  }
  ::setrlimit(RLIMIT_NOFILE, &old);
  CHECK(reason == EMFILE);
  CHECK(listener.accept());
}
