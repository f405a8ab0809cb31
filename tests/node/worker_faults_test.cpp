// SPDX-License-Identifier: Apache-2.0
#include <runhouse/node/worker_link.hpp>

#include <runhouse/runhouse.hpp>

#include "support/catch.hpp"
#include "support/temporary_file.hpp"

#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <sys/resource.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

/// Workers that are stopped, close what they were given, or break the protocol: sent functions do it from inside.
using namespace std::chrono_literals;
using rh::test::append;
using rh::test::content;
using rh::test::in_time;
using rh::test::temporary_file;

namespace {

int own_pid() {
  return getpid();
}
int stop_here() {
  std::raise(SIGSTOP);
  return own_pid();
}
int mark_and_pid(const std::string& file, int x) {
  append(file, std::to_string(x));
  return own_pid();
}
int close_output() {
  std::puts("the last line");
  std::fflush(stdout);
  close(1);
  close(2);
  std::puts("nowhere");
  return own_pid();
}
/// Marks, closes the descriptor, and stays.
void close_one(const std::string& file, int fd) {
  append(file, "begun");
  close(fd);
  for (;;) pause();
}
/// Its outcome has nowhere to go.
int close_and_end(int fd) {
  close(fd);
  return own_pid();
}

std::vector<char> close_and_give(int fd, std::size_t size) {
  close(fd);
  return std::vector<char>(size);
}

/// Few descriptors in the workers of calls that need this variable: they cannot take in what is sent to them.
const bool has_few_descriptors = [] {
  if (std::getenv("WORKER_FAULTS_FEW_DESCRIPTORS") == nullptr) return false;
  const rlimit few{20, 20};
  return setrlimit(RLIMIT_NOFILE, &few) == 0;
}();
std::size_t length_of_all(const std::vector<std::string>& parts) {
  std::size_t sum = has_few_descriptors ? 1'000'000'000 : 0;
  for (const std::string& p : parts) sum += p.size();
  return sum;
}

// ---- frames, written to the calls socket by the function that the worker runs

constexpr int calls_socket = 3;
constexpr int gate = 5;

std::vector<std::byte> frame(rh::wire::frame_type type, std::uint64_t stream, std::span<const std::byte> payload) {
  std::vector<std::byte> bytes;
  rh::wire::append_frame(bytes, {type, 0, 0, stream}, payload);
  return bytes;
}
/// An outcome without a value, as of a function that gives void.
std::vector<std::byte> outcome_of(std::uint64_t number) {
  std::vector<std::byte> payload;
  rh::wire::byte_writer out(payload);
  rh::wire::encode(rh::wire::outcome_head{}, out);
  return frame(rh::wire::frame_type::outcome, number, payload);
}
std::vector<std::byte> hostile_bytes(const std::string& which, std::uint32_t own) {
  using rh::wire::frame_type;
  if (which == "an outcome of an unknown call") return outcome_of(own + 1000);
  if (which == "an outcome of a call before") return outcome_of(own - 1);
  if (which == "the outcome of the call behind") return outcome_of(own + 1);
  if (which == "a number of 33 bits") return outcome_of(std::uint64_t{1} << 32 | own);
  if (which == "half an outcome") return frame(frame_type::outcome, own, std::vector<std::byte>(7));
  if (which == "an unknown kind of outcome")
    return frame(frame_type::outcome, own, std::vector<std::byte>(64, std::byte{9}));
  if (which == "a result that it has not kept")
    return frame(frame_type::outcome, own, [] {
      std::vector<std::byte> payload;
      rh::wire::byte_writer out(payload);
      rh::wire::outcome_head head;
      head.kind = rh::wire::outcome_kind::missing;
      rh::wire::encode(head, out);
      return payload;
    }());
  if (which == "data of no outcome") return frame(frame_type::data, own, std::vector<std::byte>(8));
  if (which == "a second hello") return frame(frame_type::hello, 0, rh::wire::encode(rh::wire::hello{}));
  if (which == "a call") return frame(frame_type::call, own, std::vector<std::byte>(40));
  if (which == "a cancel") return frame(frame_type::cancel, own, {});
  if (which == "an unknown type") return frame(static_cast<frame_type>(0x7f), own, {});
  if (which == "no frame") return std::vector<std::byte>(100, std::byte{'x'});
  if (which == "a frame too large") {
    auto bytes = frame(frame_type::outcome, own, {});
    std::memset(bytes.data() + 4, 0xff, 4);
    return bytes;
  }
  return {};
}
void write_to_node(const std::vector<std::byte>& bytes) {
  if (::send(calls_socket, bytes.data(), bytes.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(bytes.size()))
    std::abort();
}
std::uint32_t own_number() {
  return rh::os::shared_memory<rh::wire::start_gate>::map(gate)->started();
}

/// Sends something else than its outcome, and stays.
void be_hostile(const std::string& which) {
  write_to_node(hostile_bytes(which, own_number()));
  for (;;) pause();
}
/// Sends its outcome itself; then its worker does so again.
void answer_twice() {
  write_to_node(outcome_of(own_number()));
}
/// Sends a frame of a later version, which a node that does not know it skips.
int send_from_the_future() {
  write_to_node(frame(static_cast<rh::wire::frame_type>(0x90), 5, std::vector<std::byte>(100)));
  return 1;
}

template <class R>
rh::error error_of(rh::call<R> call) {
  try {
    call.get();
  } catch (const rh::error& e) {
    return e;
  }
  FAIL("no error came");
  throw 0;
}

/// 'T' for one that is stopped; 'Z' or nothing for one that has ended.
char state_of(pid_t pid) {
  const std::string stat = content("/proc/" + std::to_string(pid) + "/stat");
  const auto name_end = stat.rfind(')');
  return name_end == std::string::npos || name_end + 2 >= stat.size() ? '\0' : stat[name_end + 2];
}
bool has_ended(pid_t pid) {
  return in_time([&] { return state_of(pid) == '\0' || state_of(pid) == 'Z'; });
}
bool is_stopped(pid_t pid) {
  return in_time([&] { return state_of(pid) == 'T'; });
}
bool is_idle(const rh::cluster& c) {
  return in_time([&] { return c.usage().unfinished_calls == 0 && c.usage().values == 0; });
}

}  // namespace

TEST_CASE("a call in a worker that is stopped waits, and goes on with it", "[node][worker_faults]") {
  const rh::cluster here = rh::local(1);
  const int pid = here.send<&own_pid>()().get();
  auto stopped = here.send<&stop_here>()();
  auto behind = here.send<&own_pid>()();
  REQUIRE(is_stopped(pid));
  CHECK_FALSE(stopped.is_ready());
  CHECK_FALSE(behind.is_ready());
  kill(pid, SIGCONT);
  CHECK(stopped.get() == pid);
  CHECK(behind.get() == pid);
  CHECK(is_idle(here));
}

TEST_CASE("a call in a worker that is stopped can be cancelled, which ends the worker", "[node][worker_faults]") {
  const rh::cluster here = rh::local(1);
  const int pid = here.send<&own_pid>()().get();
  std::optional stopped = here.send<&stop_here>()();
  auto behind = here.send<&own_pid>()();
  REQUIRE(is_stopped(pid));
  SECTION("by dropping it") {
    stopped.reset();
  }
  SECTION("by a timeout") {
    try {
      rh::sync_wait(rh::with_timeout(0s, *std::exchange(stopped, {})));
      FAIL("nothing was thrown");
    } catch (const rh::error& e) {
      CHECK(e.kind() == rh::errc::timed_out);
    }
  }
  CHECK(behind.get() != pid);
  CHECK(has_ended(pid));
  CHECK(is_idle(here));
}

TEST_CASE("a call that is given to a worker which was stopped before has not begun, and can be cancelled",
          "[node][worker_faults]") {
  const rh::cluster here = rh::local(1);
  const int pid = here.send<&own_pid>()().get();
  kill(pid, SIGSTOP);
  REQUIRE(is_stopped(pid));
  const temporary_file file;
  {
    auto dropped = here.send<&mark_and_pid>()(file.path(), 1);
    rh::sync_wait(rh::sleep_for(1ms));  // it has left
    CHECK_FALSE(dropped.is_ready());
  }
  CHECK(is_idle(here));
  kill(pid, SIGCONT);
  CHECK(here.send<&mark_and_pid>()(file.path(), 2).get() == pid);
  CHECK(content(file.path()) == "2\n");
}

TEST_CASE("a worker that is stopped and killed fails its call alone", "[node][worker_faults]") {
  const rh::cluster here = rh::local(1);
  const int pid = here.send<&own_pid>()().get();
  auto stopped = here.send<&stop_here>()();
  auto behind = here.send<&own_pid>()();
  REQUIRE(is_stopped(pid));
  kill(pid, SIGKILL);
  const rh::error e = error_of(std::move(stopped));
  CHECK(e.kind() == rh::errc::worker_died);
  CHECK(e.origin().reached == rh::stage::may_have_run);
  CHECK(behind.get() != pid);
}

TEST_CASE("what was sent ahead to a worker that is stopped is run by another, once", "[node][worker_faults]") {
  const rh::cluster here = rh::local(2);
  here.send<&own_pid>().repeat(4).get();
  const temporary_file file;
  auto stopped = here.send<&stop_here>()();
  std::vector<rh::call<int>> others;
  for (int i = 0; i < 200; ++i) others.push_back(here.send<&mark_and_pid>()(file.path(), i));
  std::set<int> pids;
  for (auto& other : others) pids.insert(other.get());
  CHECK_FALSE(stopped.is_ready());
  std::set<std::string> marks;
  std::size_t lines = 0;
  const std::string all = content(file.path());
  for (std::size_t at = 0; at < all.size(); ++lines) {
    const auto end = all.find('\n', at);
    marks.insert(all.substr(at, end - at));
    at = end + 1;
  }
  CHECK(lines == 200);
  CHECK(marks.size() == 200);
  stopped.cancel();
  CHECK(is_idle(here));
}

TEST_CASE("a function that closes its output has none, and its worker goes on", "[node][worker_faults]") {
  std::mutex mutex;
  std::vector<std::string> lines;
  const rh::cluster here(std::make_shared<rh::detail::local_session>(1, [&](const char*, bool, std::string_view line) {
    const std::lock_guard lock(mutex);
    lines.emplace_back(line);
  }));
  const int pid = here.send<&own_pid>()().get();
  CHECK(here.send<&close_output>()().get() == pid);
  CHECK(here.send<&own_pid>()().get() == pid);
  CHECK(in_time([&] {
    const std::lock_guard lock(mutex);
    return lines == std::vector<std::string>{"the last line"};
  }));
}

TEST_CASE("a function that closes the calls socket of its worker and stays is an error within seconds",
          "[node][worker_faults]") {
  const rh::cluster here = rh::local(1);
  const temporary_file file;
  const rh::error e = error_of(here.send<&close_one>()(file.path(), calls_socket));
  CHECK(e.kind() == rh::errc::worker_died);
  CHECK(e.origin().reached == rh::stage::may_have_run);
  CHECK(std::string(e.what()).find("closed its connection") != std::string::npos);
  const int next = here.send<&own_pid>()().get();
  CHECK(here.send<&own_pid>()().get() == next);
}

TEST_CASE("a function that closes the calls socket of its worker and returns is answered from shared memory",
          "[node][worker_faults]") {
  const rh::cluster here = rh::local(1);
  const int pid = here.send<&close_and_end>()(calls_socket).get();
  CHECK(here.send<&own_pid>()().get() != pid);
}

TEST_CASE("a function that closes the calls socket of its worker loses a result that is too large for that",
          "[node][worker_faults]") {
  const rh::cluster here = rh::local(1);
  for (const std::size_t size : {std::size_t{100'000}, std::size_t{3'000'000}}) {
    const rh::error e = error_of(here.send<&close_and_give>()(calls_socket, size));
    INFO(e.what());
    CHECK(e.kind() == rh::errc::worker_died);
    CHECK(e.origin().reached == rh::stage::may_have_run);
    CHECK(here.send<&own_pid>()().get() > 0);
  }
}

TEST_CASE("a function that closes the control socket of its worker can be cancelled", "[node][worker_faults]") {
  const rh::cluster here = rh::local(1);
  const int pid = here.send<&own_pid>()().get();
  const temporary_file file;
  auto call = here.send<&close_one>()(file.path(), 4);
  REQUIRE(in_time([&] { return content(file.path()) == "begun\n"; }));
  call.cancel();
  CHECK(here.send<&own_pid>()().get() != pid);
  CHECK(is_idle(here));
}

TEST_CASE("a worker that breaks the protocol is ended, and takes with it the call that it runs",
          "[node][worker_faults]") {
  const rh::cluster here = rh::local(1);
  int pid = here.send<&own_pid>()().get();
  for (const char* which :
       {"an outcome of an unknown call", "an outcome of a call before", "the outcome of the call behind",
        "a number of 33 bits", "half an outcome", "an unknown kind of outcome", "a result that it has not kept",
        "data of no outcome", "a second hello", "a call", "a cancel", "an unknown type", "no frame",
        "a frame too large"}) {
    INFO(which);
    auto hostile = here.send<&be_hostile>()(std::string(which));
    auto behind = here.send<&own_pid>()();
    const rh::error e = error_of(std::move(hostile));
    INFO(e.what());
    CHECK(e.kind() == rh::errc::worker_died);
    CHECK(e.origin().reached == rh::stage::may_have_run);
    CHECK(std::string(e.what()).find("the protocol does not allow") != std::string::npos);
    const int next = behind.get();
    CHECK(next != pid);
    CHECK(has_ended(pid));
    pid = next;
  }
  CHECK(is_idle(here));
}

TEST_CASE("a worker that answers a call twice is ended, and the next call has one outcome", "[node][worker_faults]") {
  const rh::cluster here = rh::local(1);
  for (int round = 0; round < 20; ++round) {
    const int pid = here.send<&own_pid>()().get();
    CHECK_NOTHROW(here.send<&answer_twice>()().get());
    auto next = here.send<&own_pid>().retry(1)();
    CHECK(next.get() != pid);
    CHECK(has_ended(pid));
  }
  CHECK(is_idle(here));
}

TEST_CASE("a frame of a later version that may be skipped is", "[node][worker_faults]") {
  const rh::cluster here = rh::local(1);
  const int pid = here.send<&own_pid>()().get();
  CHECK(here.send<&send_from_the_future>()().get() == 1);
  CHECK(here.send<&own_pid>()().get() == pid);
}

TEST_CASE("a call that ends each worker before it begins is given up, and those around it run", "[node][worker_faults]") {
  rh::cluster here = rh::local(1);
  const std::string large(rh::limits::memory_file_bytes, 'x');
  std::vector<rh::ref<std::string>> parts;
  for (int i = 0; i < 30; ++i) parts.push_back(here.put(large));
  CHECK(here.send<&length_of_all>()(parts).get() == parts.size() * large.size());

  const rh::env few("WORKER_FAULTS_FEW_DESCRIPTORS", "1");
  auto before = here.send<&own_pid>(few)();
  auto all = here.send<&length_of_all>(few)(parts);
  auto behind = here.send<&own_pid>(few)();
  try {
    all.get();
    FAIL("it has run");
  } catch (const rh::error& e) {
    INFO(e.what());
    CHECK(e.kind() == rh::errc::worker_died);
    CHECK(e.origin().reached == rh::stage::not_started);
    CHECK(std::string(e.what()).find("5 workers ended while they took it in") != std::string::npos);
    CHECK(std::string(e.what()).find("ulimit -n") != std::string::npos);
  }
  CHECK(before.get() > 0);
  CHECK(behind.get() > 0);
}
