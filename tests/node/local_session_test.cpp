// SPDX-License-Identifier: Apache-2.0
#include <runhouse/node/local_session.hpp>

#include <runhouse/runhouse.hpp>

#include "support/catch.hpp"

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <numeric>
#include <set>
#include <stop_token>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace std::chrono_literals;

namespace {

int plus_one(int x) { return x + 1; }
int own_pid() { return getpid(); }
int nap(int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
  return milliseconds;
}
int nap_and_pid(int milliseconds) {
  nap(milliseconds);
  return own_pid();
}
int nap_until_stopped(int seconds, std::stop_token stop) {
  for (int i = 0; i < seconds * 1000 && !stop.stop_requested(); ++i) std::this_thread::sleep_for(1ms);
  return stop.stop_requested() ? -1 : seconds;
}
void say(const std::string& text) { std::fputs(text.c_str(), stdout); }
void say_on_stderr(const std::string& text) { std::fputs(text.c_str(), stderr); }
int end_by(int signal_number, const std::string& last_words) {
  std::fputs(last_words.c_str(), stdout);
  std::fflush(stdout);
  if (signal_number != 0) std::raise(signal_number);
  std::exit(3);
}
int close_everything() {
  for (int fd = 0; fd < 64; ++fd) close(fd);
  std::this_thread::sleep_for(10s);
  return 0;
}
int kill_at(int victim, int x) {
  if (x == victim) std::raise(SIGKILL);
  return x;
}
/// Ends its worker, and leaves any bytes where it has its outcomes ready.
int die_leaving(std::uint32_t used, const std::vector<std::uint8_t>& bytes) {
  using memory = rh::os::shared_memory<rh::wire::outbox>;
  const auto box = memory::map(5, rh::wire::worker_memory::outbox_offset);
  char* at = reinterpret_cast<char*>(&*box);
  std::memcpy(at, &used, sizeof used);
  std::memcpy(at + 64, bytes.data(), bytes.size());
  return std::raise(SIGKILL);
}
int start_child() {
  const pid_t child = fork();
  if (child == 0) {
    pause();
    _exit(0);
  }
  return child;
}
std::vector<float> doubled(std::vector<float> v) {
  for (float& x : v) x *= 2;
  return v;
}

// A sanitizer would make of a segmentation fault a report of its own.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(SANITIZED)
constexpr int crash = SIGUSR1;
constexpr const char* crash_words = "signal 10";
#else
constexpr int crash = SIGSEGV;
constexpr const char* crash_words = "signal 11";
#endif

struct printed_line {
  std::string function;
  bool is_error;
  std::string text;
};

/// A session whose output is kept.
struct kept_output {
  std::mutex mutex;
  std::vector<printed_line> lines;

  rh::cluster cluster(unsigned workers) {
    return rh::cluster(std::make_shared<rh::detail::local_session>(workers, [this](const char* f, bool e, std::string_view t) {
      const std::lock_guard lock(mutex);
      lines.push_back({f != nullptr ? rh::detail::pretty_name(f) : "", e, std::string(t)});
    }));
  }
};

bool is_gone(pid_t pid) {
  for (int i = 0; i < 500; ++i) {
    if (kill(pid, 0) != 0) return true;
    std::string state;
    if (std::FILE* f = std::fopen(("/proc/" + std::to_string(pid) + "/stat").c_str(), "re")) {
      char c = 0;
      if (std::fscanf(f, "%*d (%*[^)]) %c", &c) == 1 && c == 'Z') state = "zombie";
      std::fclose(f);
    }
    if (!state.empty()) return true;  // ours to reap, or its new parent's
    std::this_thread::sleep_for(10ms);
  }
  return false;
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

}  // namespace

TEST_CASE("a worker is another process, stays warm, and ends with its session", "[node][local_session]") {
  int pid = 0;
  {
    rh::cluster here = rh::local(1);
    auto ask = here.send<&own_pid>();
    pid = ask().get();
    CHECK(pid != getpid());
    CHECK(ask().get() == pid);
  }
  CHECK(is_gone(pid));
}

TEST_CASE("calls are spread over as many workers as there may be", "[node][local_session]") {
  rh::cluster here = rh::local(3);
  std::set<int> pids;
  std::vector<rh::call<int>> naps;
  auto rest = here.send<&nap>();
  auto ask = here.send<&own_pid>();
  for (int i = 0; i < 3; ++i) naps.push_back(rest(300));
  for (auto& n : naps) CHECK(n.get() == 300);
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 3; ++i) naps.push_back(rest(300));
  for (std::size_t i = 3; i < 6; ++i) CHECK(naps[i].get() == 300);
  CHECK(std::chrono::steady_clock::now() - start < 800ms);
}

TEST_CASE("a call that was sent ahead to a busy worker is taken back by an idle one", "[node][local_session]") {
  rh::cluster here = rh::local(2);
  auto rest = here.send<&nap>();
  std::vector<int> both{1, 1};
  rest.map(both).get();  // two warm workers
  std::vector<rh::call<int>> calls;
  calls.push_back(rest(1500));
  for (int i = 0; i < 6; ++i) calls.push_back(rest(10));
  const auto start = std::chrono::steady_clock::now();
  for (std::size_t i = 1; i < calls.size(); ++i) CHECK(calls[i].get() == 10);
  CHECK(std::chrono::steady_clock::now() - start < 1s);  // none waited behind the long one
  CHECK(calls[0].get() == 1500);
}

TEST_CASE("output arrives before the outcome, by line, labelled with its function", "[node][local_session]") {
  kept_output out;
  rh::cluster here = out.cluster(1);
  here.send<&say>()("one\ntwo\nopen").get();
  {
    const std::lock_guard lock(out.mutex);
    REQUIRE(out.lines.size() == 3);
    CHECK(out.lines[0].text == "one");
    CHECK(out.lines[2].text == "open");
    CHECK(out.lines[2].function.find("say") != std::string::npos);
    CHECK_FALSE(out.lines[2].is_error);
  }
  here.send<&say_on_stderr>()("wrong\n").get();
  const std::lock_guard lock(out.mutex);
  REQUIRE(out.lines.size() == 4);
  CHECK(out.lines[3].is_error);
}

TEST_CASE("lines belong to the call that printed them, also when calls are sent ahead", "[node][local_session]") {
  kept_output out;
  rh::cluster here = out.cluster(1);
  auto a = here.send<&say>();
  auto b = here.send<&say_on_stderr>();
  std::vector<rh::call<void>> calls;
  for (int i = 0; i < 300; ++i) {
    calls.push_back(a("a" + std::to_string(i)));
    calls.push_back(b("b" + std::to_string(i) + "\n"));
  }
  for (auto& c : calls) c.get();
  const std::lock_guard lock(out.mutex);
  REQUIRE(out.lines.size() == 600);
  std::size_t wrong = 0;
  for (const printed_line& l : out.lines) {
    const bool from_b = l.function.find("say_on_stderr") != std::string::npos;
    if (from_b != (l.text[0] == 'b') || from_b != l.is_error) ++wrong;
  }
  // A call that starts in the very instant of a read is one too early for it; without care it is one in twenty.
  CHECK(wrong <= 6);
}

TEST_CASE("a hundred pipelined calls leave in at most three writes", "[node][local_session]") {
  const auto session = std::make_shared<rh::detail::local_session>(1, [](const char*, bool, std::string_view) {});
  rh::cluster here(session);
  auto f = here.send<&plus_one>();
  f(0).get();
  // However slow this build is, the I/O thread does not take over.
  rh::detail::runtime::instance().set_flush_delay(1min);
  const auto before = session->writes();
  std::vector<rh::call<int>> calls;
  for (int i = 0; i < 100; ++i) calls.push_back(f(i));
  for (int i = 0; i < 100; ++i) CHECK(calls[static_cast<std::size_t>(i)].get() == i + 1);
  CHECK(session->writes() - before <= 3);
  rh::detail::runtime::instance().set_flush_delay(rh::limits::flush_delay);
}

TEST_CASE("a chain of a hundred dependent calls leaves in at most three writes", "[node][local_session]") {
  const auto session = std::make_shared<rh::detail::local_session>(1, [](const char*, bool, std::string_view) {});
  rh::cluster here(session);
  auto f = here.send<&plus_one>();
  f(0).get();
  rh::detail::runtime::instance().set_flush_delay(1min);
  const auto before = session->writes();
  rh::ref<int> n = f.remote(0);
  for (int i = 1; i < 100; ++i) n = f.remote(n);
  CHECK(n.get() == 100);
  CHECK(session->writes() - before <= 3);
  rh::detail::runtime::instance().set_flush_delay(rh::limits::flush_delay);
}

TEST_CASE("calls that follow one are spread over the workers when it has ended", "[node][local_session]") {
  rh::cluster here = rh::local(2);
  std::vector<rh::call<int>> warm;
  for (int i = 0; i < 2; ++i) warm.push_back(here.send<&nap>()(50));
  for (auto& w : warm) w.get();
  auto first = here.send<&nap>().remote(20);
  std::vector<rh::call<int>> after;
  for (int i = 0; i < 10; ++i) after.push_back(here.send<&nap_and_pid>()(first));
  std::set<int> pids;
  for (auto& a : after) pids.insert(a.get());
  CHECK(pids.size() == 2);
}

TEST_CASE("what short calls gave is not lost when the next call kills the worker", "[node][local_session]") {
  rh::cluster here = rh::local(1);
  auto f = here.send<&kill_at>();
  for (int round = 0; round < 20; ++round) {
    f(-1, 0).get();
    constexpr int victim = 30;
    std::vector<rh::call<int>> calls;
    for (int i = 0; i <= victim; ++i) calls.push_back(f(victim, i));
    for (int i = 0; i < victim; ++i) CHECK(calls[static_cast<std::size_t>(i)].get() == i);
    CHECK(error_of(std::move(calls.back())).kind() == rh::errc::worker_died);
  }
}

TEST_CASE("what short calls gave comes while the next call runs", "[node][local_session]") {
  rh::cluster here = rh::local(1);
  auto f = here.send<&plus_one>();
  auto rest = here.send<&nap>();
  f(0).get();
  const auto start = std::chrono::steady_clock::now();
  std::vector<rh::call<int>> calls;
  for (int i = 0; i < 20; ++i) calls.push_back(f(i));
  auto longer = rest(3000);
  for (int i = 0; i < 20; ++i) CHECK(calls[static_cast<std::size_t>(i)].get() == i + 1);
  CHECK(std::chrono::steady_clock::now() - start < 2s);
  longer.cancel();
}

TEST_CASE("any bytes in the outbox of a dead worker do no harm", "[node][local_session]") {
  rh::cluster here = rh::local(1);
  auto die = here.send<&die_leaving>();
  std::vector<std::uint8_t> frame{'R', 'H', 0x11, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0};
  const std::vector<std::vector<std::uint8_t>> contents{
      {}, {'R'}, frame, std::vector<std::uint8_t>(rh::wire::outbox::capacity_bytes, 0xff), std::vector<std::uint8_t>(rh::wire::outbox::capacity_bytes, 0)};
  for (const auto& bytes : contents) {
    for (const std::uint32_t used : {static_cast<std::uint32_t>(bytes.size()), 1u, 16320u, 16321u, 0xffffffffu}) {
      INFO(bytes.size() << " bytes, said to be " << used);
      auto call = die(used, bytes);
      CHECK(error_of(std::move(call)).kind() == rh::errc::worker_died);
    }
  }
}

TEST_CASE("a call starts while its caller computes", "[node][local_session]") {
  rh::cluster here = rh::local(1);
  auto rest = here.send<&nap>();
  rest(1).get();
  const auto start = std::chrono::steady_clock::now();
  auto call = rest(600);
  while (std::chrono::steady_clock::now() - start < 700ms) {
  }
  CHECK(call.get() == 600);
  CHECK(std::chrono::steady_clock::now() - start < 1200ms);
}

TEST_CASE("a dead worker is an error that says how it died and what it said last", "[node][local_session]") {
  kept_output out;
  rh::cluster here = out.cluster(1);
  auto end = here.send<&end_by>();
  for (const auto& [signal_number, words] : {std::pair(SIGKILL, "signal 9"), std::pair(crash, crash_words), std::pair(0, "code 3")}) {
    const rh::error e = error_of(end(signal_number, "last words\n"));
    INFO(e.what());
    CHECK(e.kind() == rh::errc::worker_died);
    CHECK(e.origin().reached == rh::stage::may_have_run);
    CHECK(std::string(e.what()).find(words) != std::string::npos);
    CHECK(std::string(e.what()).find("last words") != std::string::npos);
    CHECK(std::string(e.what()).find("end_by") != std::string::npos);
    CHECK(here.send<&plus_one>()(1).get() == 2);  // and the next call runs
  }
}

TEST_CASE("of many calls only the one that killed its worker fails", "[node][local_session]") {
  rh::cluster here = rh::local(2);
  auto f = here.send<&kill_at>();
  std::vector<rh::call<int>> calls;
  for (int i = 0; i < 200; ++i) calls.push_back(f(77, i));
  int died = 0;
  for (int i = 0; i < 200; ++i) {
    try {
      const int result = calls[static_cast<std::size_t>(i)].get();
      CHECK(result == i);
    } catch (const rh::error& e) {
      CHECK(e.kind() == rh::errc::worker_died);
      CHECK(i == 77);
      ++died;
    }
  }
  CHECK(died == 1);
}

TEST_CASE("a function that closes its worker's descriptors is an error", "[node][local_session]") {
  rh::cluster here = rh::local(1);
  const rh::error e = error_of(here.send<&close_everything>()());
  CHECK(e.kind() == rh::errc::worker_died);
  CHECK(here.send<&plus_one>()(1).get() == 2);
}

TEST_CASE("a worker that has nothing to do is ended, and another takes the next call", "[node][local_session]") {
  rh::cluster here(std::make_shared<rh::detail::local_session>(2, [](const char*, bool, std::string_view) {}, 50ms));
  auto pid = here.send<&own_pid>();
  const pid_t first = pid().get();
  CHECK(is_gone(first));
  const pid_t second = pid().get();
  CHECK(second != first);
  // Not while it works, however long.
  CHECK(here.send<&nap>()(300).get() == 300);
  CHECK(is_gone(second));
}

TEST_CASE("what a function has started ends with its worker", "[node][local_session]") {
  pid_t child = 0;
  {
    rh::cluster here = rh::local(1);
    child = here.send<&start_child>()().get();
    REQUIRE(kill(child, 0) == 0);
  }
  CHECK(is_gone(child));
}

TEST_CASE("cancelling requests stop of the running function, and ends one that does not heed it", "[node][local_session]") {
  rh::cluster here = rh::local(1);
  auto ask = here.send<&own_pid>();
  const int pid = ask().get();
  SECTION("a function that takes a stop_token keeps its worker") {
    auto heeding = here.send<&nap_until_stopped>();
    auto stopping = rh::with_timeout(200ms, heeding(30));
    CHECK_THROWS_AS(rh::sync_wait(rh::as_task(std::move(stopping))), rh::error);
    CHECK(ask().get() == pid);
  }
  SECTION("one that does not loses it") {
    auto rest = here.send<&nap>();
    auto stopping = rh::with_timeout(200ms, rest(30000));
    const auto start = std::chrono::steady_clock::now();
    CHECK_THROWS_AS(rh::sync_wait(rh::as_task(std::move(stopping))), rh::error);
    CHECK(ask().get() != pid);
    CHECK(std::chrono::steady_clock::now() - start < 5s);
  }
  SECTION("dropped calls that have not begun never begin") {
    auto rest = here.send<&nap>();
    auto first = rest(300);
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < 20; ++i) {
      auto dropped = rest(5000);
    }
    CHECK(first.get() == 300);
    CHECK(ask().get() == pid);
    CHECK(std::chrono::steady_clock::now() - start < 4s);
  }
}

TEST_CASE("large arguments and results come whole", "[node][local_session]") {
  rh::cluster here = rh::local(1);
  auto f = here.send<&doubled>();
  std::vector<float> v(20'000'000);
  std::iota(v.begin(), v.end(), 0.0f);
  const auto result = f(v).get();
  REQUIRE(result.size() == v.size());
  bool right = true;
  for (std::size_t i = 0; i < v.size(); ++i) right &= result[i] == v[i] * 2;
  CHECK(right);
}

TEST_CASE("any thread may send and wait", "[node][local_session]") {
  rh::cluster here = rh::local(2);
  auto f = here.send<&plus_one>();
  std::atomic<int> wrong = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 6; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 300; ++i) {
          if (f(t * 1000 + i).get() != t * 1000 + i + 1) ++wrong;
        }
      });
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("a wait() of the user's that takes our worker's status does not hang a call", "[node][local_session]") {
  rh::cluster here = rh::local(1);
  auto end = here.send<&end_by>();
  std::atomic<bool> stop = false;
  std::jthread thief([&] {
    while (!stop) waitpid(-1, nullptr, WNOHANG);
  });
  const rh::error e = error_of(end(SIGKILL, ""));
  stop = true;
  CHECK(e.kind() == rh::errc::worker_died);
}
