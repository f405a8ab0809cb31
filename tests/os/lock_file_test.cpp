// SPDX-License-Identifier: Apache-2.0
#include <runhouse/os/lock_file.hpp>

#include <runhouse/os/process.hpp>
#include <runhouse/os/socket.hpp>

#include "support.hpp"
#include "support/catch.hpp"
#include "support/temporary_file.hpp"

#include <array>
#include <csignal>
#include <fcntl.h>
#include <optional>
#include <string>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

using rh::os::lock_file;
using rh::os::private_folder;

namespace {

/// A process that runs `body` and then sleeps until it is killed; it goes with this.
class sleeper {
 public:
  template <class Body>
  explicit sleeper(Body body) {
    auto [read, write] = rh::os::make_pipe();
    pid_ = ::fork();
    if (pid_ == 0) {
      const char done = body() ? 'y' : 'n';
      if (::write(write.get(), &done, 1) == 1)
        for (;;) ::pause();
      ::_exit(1);
    }
    char done = 0;
    ready_ = ::read(read.get(), &done, 1) == 1 && done == 'y';
  }
  ~sleeper() { kill(); }
  sleeper(const sleeper&) = delete;
  sleeper& operator=(const sleeper&) = delete;
  bool is_ready() const { return ready_; }
  pid_t pid() const { return pid_; }
  void kill() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    pid_ = 0;
  }

 private:
  pid_t pid_ = 0;
  bool ready_ = false;
};

}  // namespace

TEST_CASE("a lock is held by one at a time, and says by whom", "[os][lock_file]") {
  const rh::test::temporary_place place;
  const private_folder folder = private_folder::open(place.path());
  CHECK_FALSE(lock_file::holder(folder, "lock"));
  std::optional<lock_file> first = lock_file::try_lock(folder, "lock");
  REQUIRE(first);
  CHECK_FALSE(lock_file::try_lock(folder, "lock"));
  CHECK(lock_file::try_lock(folder, "other"));
  CHECK(lock_file::holder(folder, "lock") == ::getpid());
  CHECK(rh::test::content(folder.path_of("lock")) == std::to_string(::getpid()) + "\n");
  const lock_file moved = std::move(*first);
  first.reset();
  CHECK_FALSE(lock_file::try_lock(folder, "lock"));
  CHECK(lock_file::holder(folder, "lock") == ::getpid());
}

TEST_CASE("a lock of a process that is killed is free at once, and its file stays", "[os][lock_file]") {
  const rh::test::temporary_place place;
  const private_folder folder = private_folder::open(place.path());
  std::optional<lock_file> held;
  sleeper other([&] {
    held = lock_file::try_lock(folder, "lock");
    return held.has_value();
  });
  REQUIRE(other.is_ready());
  CHECK_FALSE(lock_file::try_lock(folder, "lock"));
  CHECK(lock_file::holder(folder, "lock") == other.pid());
  other.kill();
  CHECK(rh::test::content(folder.path_of("lock")) != "");
  CHECK_FALSE(lock_file::holder(folder, "lock"));
  CHECK(lock_file::try_lock(folder, "lock"));
}

TEST_CASE("a pid that is another process's by now is no holder", "[os][lock_file]") {
  const rh::test::temporary_place place;
  const private_folder folder = private_folder::open(place.path());
  const sleeper unrelated([] { return true; });
  const std::string other = std::to_string(unrelated.pid()) + "\n";
  const std::string texts[] = {other, "1\n", "12", "\n", "-5\n", "99999999999999999999\n", std::string(100, '7')};
  for (const std::string& text : texts) {
    folder.remove_file("lock");
    rh::test::append(folder.path_of("lock"), text);
    CHECK_FALSE(lock_file::holder(folder, "lock"));
  }
}

TEST_CASE("who asks for the holder keeps nobody from the lock", "[os][lock_file]") {
  const rh::test::temporary_place place;
  const private_folder folder = private_folder::open(place.path());
  const pid_t asking = ::fork();
  if (asking == 0)
    for (;;) lock_file::holder(folder, "lock");
  int missed = 0;
  for (int i = 0; i < 2000; ++i) missed += !lock_file::try_lock(folder, "lock");
  ::kill(asking, SIGKILL);
  ::waitpid(asking, nullptr, 0);
  CHECK(missed == 0);
}

TEST_CASE("a process that is started does not keep its parent's lock", "[os][lock_file]") {
  const rh::test::temporary_place place;
  const private_folder folder = private_folder::open(place.path());
  std::optional<lock_file> held = lock_file::try_lock(folder, "lock");
  REQUIRE(held);
  rh::os::spawn_request request;
  request.path = "/bin/sleep";
  request.arguments = {"sleep", "60"};
  const rh::os::unique_fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  request.descriptors = {null.get(), null.get(), null.get()};
  const rh::os::process child = rh::os::spawn(request);
  held.reset();
  CHECK(lock_file::try_lock(folder, "lock"));
  child.signal_group(SIGKILL);
  ::waitpid(child.pid(), nullptr, 0);
}

TEST_CASE("of two processes that race for a lock one gets it, 200 times", "[os][lock_file]") {
  const rh::test::temporary_place place;
  const private_folder folder = private_folder::open(place.path());
  for (int round = 0; round < 200; ++round) {
    auto [go, start] = rh::os::make_pipe();
    auto [answer, say] = rh::os::make_pipe();
    std::array<pid_t, 2> racers{};
    for (pid_t& racer : racers) {
      racer = ::fork();
      if (racer != 0) continue;
      start.reset();
      answer.reset();
      char nothing = 0;
      if (::read(go.get(), &nothing, 1) != 0) ::_exit(1);
      const std::optional<lock_file> lock = lock_file::try_lock(folder, "lock");
      const char got = lock ? 'y' : 'n';
      if (::write(say.get(), &got, 1) == 1)
        for (;;) ::pause();
      ::_exit(1);
    }
    start.reset();
    say.reset();
    std::string got(2, ' ');
    const bool heard = ::read(answer.get(), got.data(), 1) == 1 && ::read(answer.get(), got.data() + 1, 1) == 1;
    const std::optional<pid_t> holder = lock_file::holder(folder, "lock");
    for (const pid_t racer : racers) {
      ::kill(racer, SIGKILL);
      ::waitpid(racer, nullptr, 0);
    }
    REQUIRE(heard);
    REQUIRE((got == "yn" || got == "ny"));
    REQUIRE((holder == racers[0] || holder == racers[1]));
  }
}

TEST_CASE("a symbolic link planted as a lock is not followed", "[os][lock_file]") {
  const rh::test::temporary_place place;
  const private_folder folder = private_folder::open(place.path());
  const std::string target = place.path() + ".target";
  rh::test::append(target, "precious");
  REQUIRE(::symlink(target.c_str(), folder.path_of("lock").c_str()) == 0);
  CHECK(rh::test::contains(rh::test::message_of(rh::errc::run_folder, [&] { lock_file::try_lock(folder, "lock"); }),
                           "symbolic link"));
  CHECK_FALSE(lock_file::holder(folder, "lock"));
  CHECK(rh::test::content(target) == "precious\n");
}
