// SPDX-License-Identifier: Apache-2.0
#include <runhouse/send/call.hpp>

#include <runhouse/runhouse.hpp>

#include "support/catch.hpp"
#include "support/test_cluster.hpp"
#include "support/temporary_file.hpp"

#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/io_context.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <exception>
#include <optional>
#include <ranges>
#include <sstream>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

/// Each way to give up a call, at each moment of its life, on real workers.
using namespace std::chrono_literals;
using rh::test::append;
using rh::test::content;
using rh::test::in_time;
using rh::test::temporary_file;

namespace {

// ---- what is sent

int own_pid() {
  return getpid();
}
/// Stays until it is asked to stop, or a line "go" is in the file beside.
int hold(const std::string& file, std::stop_token stop) {
  append(file, "begun");
  while (!stop.stop_requested() && content(file + ".go").empty()) std::this_thread::sleep_for(1ms);
  append(file, stop.stop_requested() ? "stopped" : "let go");
  return 1;
}
int mark(const std::string& file, int x) {
  append(file, std::to_string(x));
  return x + 1;
}
/// Marks, and then stays as hold() does where x is `at`.
int mark_and_hold(const std::string& file, int at, int x, std::stop_token stop) {
  mark(file, x);
  if (x == at) hold(file, std::move(stop));
  return x + 1;
}
int sum(const std::string& file, int a, int b) {
  return mark(file, a + b);
}

volatile std::sig_atomic_t terminated = 0;
int heed_sigterm(const std::string& file) {
  const auto before = std::signal(SIGTERM, [](int) { terminated = 1; });
  append(file, "begun");
  while (terminated == 0) std::this_thread::sleep_for(1ms);
  std::signal(SIGTERM, before);
  append(file, "terminated");
  return 1;
}
int heed_nothing(const std::string& file) {
  std::signal(SIGTERM, SIG_IGN);
  append(file, "begun");
  for (;;) std::this_thread::sleep_for(1s);
}
int mark_and_pid(const std::string& file, int x) {
  mark(file, x);
  return own_pid();
}

// ---- ways to give up

enum class way { drop, cancel, scope, failed_scope, timeout, slot, stop };
constexpr way ways[] = {way::drop, way::cancel, way::scope, way::failed_scope, way::timeout, way::slot, way::stop};
const char* name_of(way w) {
  constexpr const char* names[] = {"drop", "cancel", "scope", "failed scope", "timeout", "slot", "stop"};
  return names[static_cast<int>(w)];
}

/// What came out of the awaits of calls.
using outcomes = std::vector<std::string>;
std::string in_words(const rh::error& e) {
  return std::string(rh::name_of(e.kind())) + ", " + rh::name_of(e.origin().reached);
}

template <class Awaitable>
rh::task<> note_outcome(Awaitable awaitable, outcomes* to) {
  try {
    co_await std::move(awaitable);
    to->push_back("value");
  } catch (const rh::error& e) {
    to->push_back(in_words(e));
  }
}
template <class Call>
rh::task<> cancelled_scope(Call call, outcomes* to) {
  rh::scope work;
  work.spawn(note_outcome(std::move(call), to));
  co_await rh::sleep_for(1ms);
  work.cancel();
  co_await work.join();
}
template <class Call>
rh::task<> spawn_and_fail(rh::scope& work, Call call, outcomes* to) {
  work.spawn(note_outcome(std::move(call), to));
  co_await rh::sleep_for(1ms);
  throw std::runtime_error("the body failed");
}
template <class Call>
void cancel_by_slot(Call call, outcomes& to) {
  asio::io_context io;
  asio::cancellation_signal signal;
  const auto handler = [&](const std::exception_ptr& e, const auto&...) {
    try {
      if (e) std::rethrow_exception(e);
      to.push_back("value");
    } catch (const rh::error& error) {
      to.push_back(in_words(error));
    }
  };
  call.async_get(asio::bind_cancellation_slot(signal.slot(), asio::bind_executor(io, handler)));
  signal.emit(asio::cancellation_type::terminal);
  io.run();
}

template <class Call>
outcomes give_up(way by, Call call) {
  outcomes all;
  switch (by) {
    case way::drop: break;
    case way::cancel: call.cancel(); break;
    case way::scope: rh::sync_wait(cancelled_scope(std::move(call), &all)); break;
    case way::failed_scope: {
      auto scoped = rh::with_scope([&](rh::scope& s) { return spawn_and_fail(s, std::move(call), &all); });
      CHECK_THROWS_WITH(rh::sync_wait(std::move(scoped)), "the body failed");
      break;
    }
    case way::timeout: rh::sync_wait(note_outcome(rh::with_timeout(0s, std::move(call)), &all)); break;
    case way::slot: cancel_by_slot(std::move(call), all); break;
    case way::stop: {
      std::stop_source stop;
      const std::jthread other([&] { stop.request_stop(); });
      rh::sync_wait(note_outcome(std::move(call), &all), stop.get_token());
      break;
    }
  }
  return all;
}

/// One outcome, where somebody waits for one: at once, before it is known whether the call had begun.
outcomes expected(way by) {
  if (by == way::drop || by == way::cancel) return {};
  return {by == way::timeout ? "timed_out, may have run" : "cancelled, may have run"};
}
outcomes expected_of_ended(way by) {
  if (by == way::drop || by == way::cancel) return {};
  return {"value"};
}

// ---- what must be true afterwards

bool is_idle(const rh::cluster& c) {
  return in_time([&] {
    const rh::usage now = c.usage();
    return now.unfinished_calls == 0 && now.values == 0 && now.value_bytes == 0;
  });
}

/// One warm worker, which must be the same at the end of each round.
class one_worker {
 public:
  one_worker() : pid_(cluster_.send<&own_pid>()().get()) {}
  const rh::cluster& operator*() const { return cluster_; }
  const rh::cluster* operator->() const { return &cluster_; }
  void check() const {
    CHECK(is_idle(cluster_));
    CHECK(cluster_.send<&own_pid>()().get() == pid_);
  }

 private:
  rh::cluster cluster_ = test_cluster(1);
  int pid_;
};

/// While it lives, nothing leaves before this thread waits.
class nothing_leaves {
 public:
  nothing_leaves() { rh::detail::runtime::instance().set_flush_delay(1min); }
  ~nothing_leaves() { rh::detail::runtime::instance().set_flush_delay(rh::limits::flush_delay); }
  nothing_leaves(const nothing_leaves&) = delete;
  nothing_leaves& operator=(const nothing_leaves&) = delete;
};

void let_leave() {
  rh::sync_wait(rh::sleep_for(0s));
}

bool has_begun(const temporary_file& file) {
  return in_time([&] { return content(file.path()).find("begun\n") != std::string::npos; });
}
/// After what was given up so far: that leaves no later than all else does, and a node that answers has read it.
void let_go(const rh::cluster& c, const temporary_file& file) {
  let_leave();
  if (!test_cluster_is("local")) c.names().get();
  append(file.path() + ".go", "go");
}

}  // namespace

TEST_CASE("a call that is given up before it left never starts", "[send][cancel]") {
  const one_worker own;
  for (const way by : ways) {
    INFO(name_of(by));
    const temporary_file file;
    auto busy = own->send<&hold>()(file.path());
    REQUIRE(has_begun(file));
    {
      const nothing_leaves until_given_up;
      CHECK(give_up(by, own->send<&mark>()(file.path(), 1)) == expected(by));
    }
    let_go(*own, file);
    CHECK(busy.get() == 1);
    own.check();
    CHECK(content(file.path()) == "begun\nlet go\n");
  }
}

TEST_CASE("a call that is given up while it is queued never starts, and those around it run", "[send][cancel]") {
  const one_worker own;
  for (const way by : ways) {
    INFO(name_of(by));
    const temporary_file file;
    auto busy = own->send<&hold>()(file.path());
    REQUIRE(has_begun(file));
    // More than are sent ahead.
    constexpr int others = 3 * rh::limits::prefetch_calls;
    auto there = own->send<&mark>();
    std::vector<rh::call<int>> calls;
    for (int i = 0; i < others; ++i) calls.push_back(there(file.path() + "2", i));
    auto given_up = there(file.path(), 1);
    calls.push_back(there(file.path() + "2", others));
    let_leave();
    CHECK(give_up(by, std::move(given_up)) == expected(by));
    let_go(*own, file);
    std::string all;
    for (int i = 0; i <= others; ++i) {
      CHECK(calls[static_cast<std::size_t>(i)].get() == i + 1);
      all += std::to_string(i) + "\n";
    }
    CHECK(busy.get() == 1);
    own.check();
    CHECK(content(file.path()) == "begun\nlet go\n");
    CHECK(content(file.path() + "2") == all);
  }
}

TEST_CASE("a call that is given up when it was sent ahead never starts, and those around it run", "[send][cancel]") {
  const one_worker own;
  for (const way by : ways) {
    INFO(name_of(by));
    const temporary_file file;
    auto there = own->send<&mark>();
    std::optional<nothing_leaves> together(std::in_place);
    auto busy = own->send<&hold>()(file.path());
    auto before = there(file.path() + "2", 1);
    auto given_up = there(file.path(), 1);
    auto after = there(file.path() + "2", 2);
    let_leave();
    together.reset();
    REQUIRE(has_begun(file));
    CHECK(give_up(by, std::move(given_up)) == expected(by));
    let_go(*own, file);
    CHECK(busy.get() == 1);
    CHECK(before.get() == 2);
    CHECK(after.get() == 3);
    own.check();
    CHECK(content(file.path()) == "begun\nlet go\n");
    CHECK(content(file.path() + "2") == "1\n2\n");
  }
}

TEST_CASE("a call that is given up while it waits in its queue never starts, and the queue goes on", "[send][cancel]") {
  const one_worker own;
  for (const way by : ways) {
    INFO(name_of(by));
    const temporary_file file;
    auto there = own->send<&mark>().queue("one");
    auto busy = own->send<&hold>().queue("one").enqueue(file.path());
    auto given_up = there.enqueue(file.path(), 1);
    auto after = there.enqueue(file.path(), 2);
    REQUIRE(has_begun(file));
    CHECK(give_up(by, std::move(given_up)) == expected(by));
    let_go(*own, file);
    CHECK(after.get() == 3);
    CHECK(busy.get() == 1);
    own.check();
    CHECK(content(file.path()) == "begun\nlet go\n2\n");
  }
}

TEST_CASE("a running call of a queue that is given up is stopped, and the queue goes on", "[send][cancel]") {
  const one_worker own;
  for (const way by : ways) {
    INFO(name_of(by));
    const temporary_file file;
    auto given_up = own->send<&hold>().queue("one").enqueue(file.path());
    auto after = own->send<&mark>().queue("one").enqueue(file.path(), 2);
    REQUIRE(has_begun(file));
    CHECK(give_up(by, std::move(given_up)) == expected(by));
    CHECK(after.get() == 3);
    own.check();
    CHECK(content(file.path()) == "begun\nstopped\n2\n");
  }
}

TEST_CASE("a running call that is given up is asked to stop, and its worker stays", "[send][cancel]") {
  const one_worker own;
  for (const way by : ways) {
    INFO(name_of(by));
    const temporary_file file;
    auto given_up = own->send<&hold>()(file.path());
    REQUIRE(has_begun(file));
    CHECK(give_up(by, std::move(given_up)) == expected(by));
    own.check();
    CHECK(content(file.path()) == "begun\nstopped\n");
  }
}

TEST_CASE("to give up a call that has ended changes nothing: its value comes", "[send][cancel]") {
  const one_worker own;
  for (const way by : ways) {
    INFO(name_of(by));
    const temporary_file file;
    auto ended = own->send<&mark>()(file.path(), 1);
    REQUIRE(in_time([&] { return ended.is_ready(); }));
    CHECK(give_up(by, std::move(ended)) == expected_of_ended(by));
    own.check();
    CHECK(content(file.path()) == "1\n");
  }
}

TEST_CASE("a call that takes values is given up with all that makes them, wherever the chain stands",
          "[send][cancel]") {
  const one_worker own;
  for (const way by : ways) {
    for (const int at : {0, 3, 9}) {
      INFO(name_of(by) << " at link " << at);
      const temporary_file file;
      const auto chain = [&] {
        auto link = own->send<&mark_and_hold>();
        auto n = link.remote(file.path(), at, 0);
        for (int i = 1; i < 9; ++i) n = link.remote(file.path(), at, n);
        return link(file.path(), at, n);
      };
      auto last = chain();
      REQUIRE(has_begun(file));
      CHECK(give_up(by, std::move(last)) == expected(by));
      own.check();
      std::string links;
      for (int i = 0; i <= at; ++i) links += std::to_string(i) + "\n";
      CHECK(content(file.path()) == links + "begun\nstopped\n");
    }
  }
}

TEST_CASE("a call that waits for the values of two workers is given up with them", "[send][cancel]") {
  const rh::cluster own = test_cluster(2);
  for (const way by : ways) {
    INFO(name_of(by));
    const temporary_file one;
    const temporary_file other;
    const auto joined = [&] {
      auto there = own.send<&hold>();
      auto a = there.remote(one.path());
      auto b = there.remote(other.path());
      return own.send<&sum>()(one.path(), a, b);
    };
    auto both = joined();
    REQUIRE(has_begun(one));
    REQUIRE(has_begun(other));
    CHECK(give_up(by, std::move(both)) == expected(by));
    CHECK(is_idle(own));
    CHECK(own.send<&mark>()(one.path(), 7).get() == 8);
    CHECK(content(one.path()) == "begun\nstopped\n7\n");
    CHECK(content(other.path()) == "begun\nstopped\n");
  }
}

TEST_CASE("an unfinished value is given up with its last ref, not before", "[send][cancel]") {
  const one_worker own;
  const temporary_file file;
  std::optional first = own->send<&hold>().remote(file.path());
  std::optional behind = own->send<&mark>().remote(file.path(), 1);
  std::optional second = first;
  REQUIRE(has_begun(file));
  first.reset();
  behind.reset();
  CHECK_FALSE(second->is_ready());
  {
    auto fetched = second->fetch();  // a wait, which holds the value as well
    second.reset();
    std::this_thread::sleep_for(20ms);
    CHECK(content(file.path()) == "begun\n");
  }
  own.check();
  CHECK(content(file.path()) == "begun\nstopped\n");
}

TEST_CASE("a map that is given up in its middle is stopped there, and no further call of it starts", "[send][cancel]") {
  const one_worker own;
  for (const way by : ways) {
    for (const int size : {10, 5000}) {  // all of it sent ahead, or most of it not made yet
      INFO(name_of(by) << ", " << size);
      const temporary_file file;
      auto map = own->send<&mark_and_hold>().map(file.path(), 5, rh::each(std::views::iota(0, size)));
      REQUIRE(has_begun(file));
      CHECK(give_up(by, std::move(map)) == expected(by));
      own.check();
      CHECK(content(file.path()) == "0\n1\n2\n3\n4\n5\nbegun\nstopped\n");
    }
  }
}

TEST_CASE("a map with all its outcomes is given up as one without", "[send][cancel]") {
  const one_worker own;
  const temporary_file file;
  auto map = own->send<&mark_and_hold>().map(file.path(), 2, rh::each(std::views::iota(0, 500)));
  auto outcomes_of_all = map.as_outcomes();
  REQUIRE(has_begun(file));
  CHECK(give_up(way::timeout, std::move(outcomes_of_all)) == expected(way::timeout));
  own.check();
  CHECK(content(file.path()) == "0\n1\n2\nbegun\nstopped\n");
}

TEST_CASE("a stream that is given up in its middle is stopped there, and who waits for the next is told",
          "[send][cancel]") {
  const one_worker own;
  for (const bool is_dropped : {false, true}) {
    const temporary_file file;
    std::optional stream =
        own->send<&mark_and_hold>().map_as_completed(file.path(), 5, rh::each(std::views::iota(0, 5000)));
    for (int i = 0; i < 3; ++i) CHECK(stream->next().get()->outcome.value() == i + 1);
    REQUIRE(has_begun(file));
    for (int i = 3; i < 5; ++i) CHECK(stream->next().get()->outcome.value() == i + 1);
    auto next = stream->next();
    CHECK_FALSE(next.is_ready());
    if (is_dropped) {
      stream.reset();
    } else {
      stream->cancel();
    }
    const auto last = next.get();
    CHECK((!last || !last->outcome.has_value() || last->outcome.value() == 6));
    stream.reset();
    own.check();
    CHECK(content(file.path()) == "0\n1\n2\n3\n4\n5\nbegun\nstopped\n");
  }
}

TEST_CASE("a function that does not heed its stop token sees SIGTERM after a second, and may keep its worker",
          "[send][cancel]") {
  const one_worker own;
  const temporary_file file;
  auto given_up = own->send<&heed_sigterm>()(file.path());
  REQUIRE(has_begun(file));
  auto ahead = own->send<&mark>()(file.path(), 1);
  const auto start = std::chrono::steady_clock::now();
  given_up.cancel();
  CHECK(ahead.get() == 2);
  CHECK(std::chrono::steady_clock::now() - start > 900ms);
  own.check();
  CHECK(content(file.path()) == "begun\nterminated\n1\n");
}

TEST_CASE("a function that heeds not even SIGTERM is killed after two seconds, and what was sent ahead runs once",
          "[send][cancel]") {
  const rh::cluster own = test_cluster(1);
  const int pid = own.send<&own_pid>()().get();
  const temporary_file file;
  const temporary_file marks;
  std::vector<rh::call<int>> ahead;
  std::optional<nothing_leaves> together(std::in_place);
  auto given_up = own.send<&heed_nothing>()(file.path());
  for (int i = 0; i < 20; ++i) ahead.push_back(own.send<&mark_and_pid>()(marks.path(), i));
  let_leave();
  together.reset();
  REQUIRE(has_begun(file));
  const auto start = std::chrono::steady_clock::now();
  given_up.cancel();
  std::string all;
  for (int i = 0; i < 20; ++i) {
    CHECK(ahead[static_cast<std::size_t>(i)].get() != pid);
    all += std::to_string(i) + "\n";
  }
  CHECK(std::chrono::steady_clock::now() - start > 1900ms);
  CHECK(kill(pid, 0) != 0);
  CHECK(is_idle(own));
  CHECK(content(marks.path()) == all);
}

TEST_CASE("what was sent ahead to a worker that is to be killed runs elsewhere, once, if there is another",
          "[send][cancel]") {
  const rh::cluster own = test_cluster(2);
  own.send<&own_pid>().repeat(4).get();
  const temporary_file file;
  const temporary_file marks;
  auto given_up = own.send<&heed_nothing>()(file.path());
  REQUIRE(has_begun(file));
  std::vector<rh::call<int>> others;
  for (int i = 0; i < 200; ++i) others.push_back(own.send<&mark_and_pid>()(marks.path(), i));
  give_up(way::timeout, std::move(given_up));
  for (auto& other : others) CHECK(other.get() > 0);
  CHECK(is_idle(own));
  std::istringstream lines(content(marks.path()));
  std::vector<int> seen;
  for (int x = 0; lines >> x;) seen.push_back(x);
  std::ranges::sort(seen);
  CHECK(std::ranges::equal(seen, std::views::iota(0, 200)));
}
