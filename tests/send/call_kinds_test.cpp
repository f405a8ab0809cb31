// SPDX-License-Identifier: Apache-2.0
#include <runhouse/send/send.hpp>

#include <runhouse/runhouse.hpp>

#include "support/catch.hpp"
#include "support/test_cluster.hpp"
#include "support/temporary_file.hpp"

#include <chrono>
#include <csignal>
#include <cstdio>
#include <set>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace std::chrono_literals;
using rh::test::append;
using rh::test::content;
using rh::test::in_time;
using rh::test::temporary_file;

namespace {

int own_pid() { return getpid(); }
/// Writes when it begins, and when it ends, after another has written "go".
void wait_for_go(const std::string& path) {
  append(path, "begin");
  in_time([&] { return content(path).find("go") != std::string::npos; });
  append(path, "end");
}
/// Writes when it begins and ends.
int traced(const std::string& path, int x, int milliseconds) {
  append(path, "begin " + std::to_string(x));
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
  append(path, "end " + std::to_string(x));
  return x;
}
/// Dies until it has been called so many times.
int dies_at_first(const std::string& path, int times) {
  append(path, "try");
  const auto tries = static_cast<int>(content(path).size()) / 4;
  if (tries <= times) std::raise(SIGKILL);
  return tries;
}
int throws_and_counts(const std::string& path) {
  append(path, "try");
  throw std::out_of_range("no");
}
int nap_then_write(const std::string& path, int milliseconds, std::stop_token stop) {
  for (int i = 0; i < milliseconds && !stop.stop_requested(); ++i) std::this_thread::sleep_for(1ms);
  append(path, stop.stop_requested() ? "stopped" : "done");
  return 1;
}

struct weights {
  std::vector<int> values;
  int made_by;
};
std::pair<int, int> use_pinned(const std::string& path) {
  auto& w = rh::pin<weights>("weights", [&] {
    append(path, "made");
    return weights{{1, 2, 3}, getpid()};
  });
  return {w.made_by, ++w.values[0]};
}
int pin_another_type() {
  rh::pin<int>("a key", [] { return 1; });
  return static_cast<int>(rh::pin<long>("a key", [] { return 2L; }));
}
int pin_that_throws(const std::string& path) {
  return rh::pin<int>("throws once", [&]() -> int {
    append(path, "try");
    if (content(path) == "try\n") throw std::runtime_error("not yet");
    return rh::pin<int>("another", [] { return 41; }) + 1;
  });
}

rh::task<int> half_later(int x) {
  co_await rh::sleep_for(1ms);
  co_return x / 2;
}
rh::task<std::size_t> sum_of_halves(const std::vector<int>& all) {
  std::size_t sum = 0;
  for (const int x : all) {
    const int half = co_await half_later(x);
    sum += static_cast<std::size_t>(half);
  }
  co_return sum;
}
rh::task<> fails_later() {
  co_await rh::sleep_for(1ms);
  throw std::out_of_range("later");
}
rh::task<int> sleeps_long(const std::string& path) {
  append(path, "begun");
  try {
    co_await rh::sleep_for(60s);
  } catch (const rh::error& e) {
    append(path, std::string("ended by ") + rh::name_of(e.kind()));
    throw;
  }
  co_return 1;
}

rh::cluster here() {
  static rh::cluster* only = new rh::cluster(test_cluster(2));
  return *only;
}

}  // namespace

TEST_CASE("enqueued calls run one at a time, in their order", "[send][enqueue]") {
  const temporary_file file;
  here().send<&own_pid>().repeat(4).get();  // both workers are there
  auto there = here().send<&traced>();
  std::vector<rh::call<int>> calls;
  for (int i = 0; i < 8; ++i) calls.push_back(there.enqueue(file.path(), i, i % 2 == 0 ? 3 : 0));
  std::string expected;
  for (int i = 0; i < 8; ++i) {
    CHECK(calls[static_cast<std::size_t>(i)].get() == i);
    expected += "begin " + std::to_string(i) + "\nend " + std::to_string(i) + "\n";
  }
  CHECK(content(file.path()) == expected);
}

TEST_CASE("a named queue is shared by functions, and other calls pass it", "[send][enqueue]") {
  const temporary_file file;
  auto append_there = here().send<&append>().queue("one");
  auto a = here().send<&wait_for_go>().queue("one").enqueue(file.path());
  auto b = append_there.enqueue(file.path(), std::string("between"));
  auto c = here().send<&traced>().queue("one").enqueue(file.path(), 2, 0);
  REQUIRE(in_time([&] { return content(file.path()) == "begin\n"; }));
  here().send<&append>()(file.path(), std::string("go")).get();
  c.get();
  CHECK(content(file.path()) == "begin\ngo\nend\nbetween\nbegin 2\nend 2\n");
}

TEST_CASE("a queue goes on after a failed and a cancelled call", "[send][enqueue]") {
  const temporary_file file;
  auto dies = here().send<&dies_at_first>().queue("q");
  auto traced_there = here().send<&traced>().queue("q");
  auto a = traced_there.enqueue(file.path(), 1, 30);
  auto b = traced_there.enqueue(file.path(), 2, 0);
  auto c = dies.enqueue(file.path() + "2", 1);
  auto d = traced_there.enqueue(file.path(), 3, 0);
  b.cancel();
  CHECK_THROWS_AS(c.get(), rh::error);
  CHECK(d.get() == 3);
  CHECK(content(file.path()) == "begin 1\nend 1\nbegin 3\nend 3\n");
  auto e = traced_there.enqueue(file.path(), 4, 1000);
  auto f = traced_there.enqueue(file.path(), 5, 0);
  e.cancel();
  CHECK(f.get() == 5);
}

TEST_CASE("a call is tried again where its worker died, so many times", "[send][retry]") {
  const temporary_file file;
  CHECK(here().send<&dies_at_first>().retry(2)(file.path(), 2).get() == 3);
  const temporary_file other;
  try {
    here().send<&dies_at_first>().retry(1)(other.path(), 9).get();
    FAIL("nothing was thrown");
  } catch (const rh::error& e) {
    CHECK(e.kind() == rh::errc::worker_died);
    CHECK(e.code() == rh::remedy::retry_later);
  }
  CHECK(content(other.path()) == "try\ntry\n");
  const temporary_file third;
  auto kept = here().send<&dies_at_first>().retry(1).remote(third.path(), 1);
  CHECK(kept.get() == 2);
}

TEST_CASE("an exception is not tried again", "[send][retry]") {
  const temporary_file file;
  CHECK_THROWS_AS(here().send<&throws_and_counts>().retry(5)(file.path()).get(), std::out_of_range);
  CHECK(content(file.path()) == "try\n");
}

TEST_CASE("repeat makes the same call so many times", "[send][repeat]") {
  const auto pids = here().send<&own_pid>().repeat(200).get();
  CHECK(pids.size() == 200);
  CHECK(here().send<&own_pid>().repeat(0).get().empty());
  const temporary_file file;
  here().send<&append>().repeat(3, file.path(), std::string("x")).get();
  CHECK(content(file.path()) == "x\nx\nx\n");
}

TEST_CASE("a detached call runs to its end, another is stopped", "[send][detach]") {
  const temporary_file file;
  auto there = here().send<&nap_then_write>();
  there(file.path(), 30).detach();
  CHECK(in_time([&] { return content(file.path()) == "done\n"; }));
  {
    auto kept = there.remote(file.path(), 30);
    kept.detach();
  }
  CHECK(in_time([&] { return content(file.path()) == "done\ndone\n"; }));
  {
    auto dropped = there(file.path(), 60'000);
    std::this_thread::sleep_for(10ms);
  }
  CHECK(in_time([&] { return here().usage().unfinished_calls == 0; }));
  auto once = there(file.path(), 1);
  once.detach();
  try {
    once.get();
    FAIL("nothing was thrown");
  } catch (const rh::error& e) {
    CHECK(e.kind() == rh::errc::already_taken);
  }
}

TEST_CASE("what is pinned is made once in each worker", "[send][pin]") {
  const temporary_file file;
  std::set<int> makers;
  for (const auto& [maker, count] : here().send<&use_pinned>().repeat(50, file.path()).get()) makers.insert(maker);
  CHECK(content(file.path()).size() == 5 * makers.size());
  CHECK(makers.count(getpid()) == 0);
}

TEST_CASE("a pin of another type, or whose making fails, says so", "[send][pin]") {
  try {
    here().send<&pin_another_type>()().get();
    FAIL("nothing was thrown");
  } catch (const rh::error& e) {
    CHECK(e.kind() == rh::errc::pin_type);
    CHECK(std::string(e.what()).find("'a key' is pinned as int, and was asked for as long") != std::string::npos);
  }
  const temporary_file file;
  const rh::cluster own = test_cluster(1);
  CHECK_THROWS_WITH(own.send<&pin_that_throws>()(file.path()).get(), "not yet");
  CHECK(own.send<&pin_that_throws>()(file.path()).get() == 42);
  CHECK(own.send<&pin_that_throws>()(file.path()).get() == 42);
  CHECK(content(file.path()) == "try\ntry\n");
}

TEST_CASE("a function that is a coroutine runs to its end there", "[send][coroutine]") {
  CHECK(here().send<&half_later>()(8).get() == 4);
  CHECK(here().send<&sum_of_halves>()(std::vector{2, 4, 6}).get() == 6);
  CHECK_THROWS_WITH(here().send<&fails_later>()().get(), "later");
  CHECK(here().send<&half_later>().map(std::vector{2, 4}).get() == std::vector{1, 2});
  CHECK(here().send<&half_later>().remote(here().send<&half_later>().remote(8)).get() == 2);
}

TEST_CASE("a coroutine that is cancelled unwinds there", "[send][coroutine]") {
  const temporary_file file;
  const rh::cluster own = test_cluster(1);
  const int pid = own.send<&own_pid>()().get();
  {
    auto dropped = own.send<&sleeps_long>()(file.path());
    CHECK(in_time([&] { return content(file.path()) == "begun\n"; }));
  }
  CHECK(in_time([&] { return content(file.path()) == "begun\nended by cancelled\n"; }));
  CHECK(own.send<&own_pid>()().get() == pid);
}
