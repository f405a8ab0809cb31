// SPDX-License-Identifier: Apache-2.0
#include <runhouse/async/when_all.hpp>

#include "async/support.hpp"
#include "support/catch.hpp"
#include "support/manual_driver.hpp"

#include <runhouse/async/sync_wait.hpp>
#include <runhouse/async/timer.hpp>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <tuple>
#include <variant>
#include <vector>

using namespace std::chrono_literals;
using rh::errc;
using rh::sync_wait;
using rh::task;
using rh::when_all;
using rh::test::counted_object;
using rh::test::kind_thrown_by;
using rh::test::manual_driver;
using rh::test::until_cancelled;
using rh::test::yields;

namespace {

task<int> after(int turns, int value) {
  co_await yields(turns);
  co_return value;
}
task<std::unique_ptr<int>> boxed(int value) {
  co_return std::make_unique<int>(value);
}
task<> noting(std::vector<int>& notes, int note) {
  co_await yields(note);
  notes.push_back(note);
}
task<int> failing(int turns, const char* text) {
  co_await yields(turns);
  throw std::runtime_error(text);
}
/// Is cancelled, and takes its time about it.
task<> slow_to_leave(bool& left) {
  int cancelled = 0;
  try {
    co_await until_cancelled(cancelled);
  } catch (const rh::error&) {
    cancelled = 2;
  }
  co_await yields(50);
  left = cancelled == 2;
}
task<> advancing(manual_driver& d, std::chrono::seconds by) {
  d.advance(by);
  co_return;
}

}  // namespace

TEST_CASE("when_all of a pack gives a tuple in the order of its arguments", "[async][when_all]") {
  const auto all = []() -> task<> {
    auto both = when_all(after(5, 1), boxed(2), yields(3), after(0, 4));
    auto results = co_await std::move(both);
    static_assert(std::is_same_v<decltype(results), std::tuple<int, std::unique_ptr<int>, std::monostate, int>>);
    CHECK(std::get<0>(results) == 1);
    CHECK(*std::get<1>(results) == 2);
    CHECK(std::get<3>(results) == 4);
  };
  manual_driver d;
  sync_wait(all(), d);
}

TEST_CASE("when_all of a vector gives the values in order", "[async][when_all]") {
  const auto all = []() -> task<std::vector<std::unique_ptr<int>>> {
    std::vector<task<std::unique_ptr<int>>> tasks;
    for (int i = 0; i < 100; ++i) tasks.push_back(boxed(i));
    auto joined = when_all(std::move(tasks));
    co_return co_await std::move(joined);
  };
  manual_driver d;
  const auto values = sync_wait(all(), d);
  REQUIRE(values.size() == 100);
  for (int i = 0; i < 100; ++i) CHECK(*values[static_cast<std::size_t>(i)] == i);
}

TEST_CASE("when_all of a vector of void tasks runs all, and of bools gives bools", "[async][when_all]") {
  const auto all = [](std::vector<int>& notes) -> task<> {
    std::vector<task<>> tasks;
    for (int i = 3; i > 0; --i) tasks.push_back(noting(notes, i));
    co_await when_all(std::move(tasks));
    const auto yes = [](bool b) -> task<bool> { co_return b; };
    std::vector<task<bool>> bools;
    bools.push_back(yes(true));
    bools.push_back(yes(false));
    const auto got = co_await when_all(std::move(bools));
    CHECK(got == std::vector{true, false});
  };
  std::vector<int> notes;
  manual_driver d;
  sync_wait(all(notes), d);
  CHECK(notes == std::vector{1, 2, 3});
}

TEST_CASE("when_all of nothing is ready at once", "[async][when_all]") {
  const auto none = []() -> task<> {
    const auto values = co_await when_all(std::vector<task<int>>());
    CHECK(values.empty());
    co_await when_all(std::vector<task<>>());
    const std::tuple<> empty = co_await when_all();
    static_cast<void>(empty);
  };
  manual_driver d;
  sync_wait(none(), d);
}

TEST_CASE("when_all begins in order, and waits for the last", "[async][when_all]") {
  const auto all = [](manual_driver& d) -> task<> {
    auto both = when_all(rh::sleep_for(3s), rh::sleep_for(7s), advancing(d, 7s));
    co_await std::move(both);
    CHECK(d.now().time_since_epoch() == 7s);
  };
  manual_driver d;
  sync_wait(all(d), d);
  CHECK_FALSE(d.next_timer());
}

TEST_CASE("a failure in when_all cancels the others, waits for them, and is what comes out", "[async][when_all]") {
  const auto pack = [](int& cancelled, bool& left) -> task<> {
    auto all = when_all(until_cancelled(cancelled), slow_to_leave(left), failing(3, "first"), failing(4, "second"));
    co_await std::move(all);
  };
  const auto range = [](int& cancelled, bool& left) -> task<> {
    const auto as_void = []() -> task<> { static_cast<void>(co_await failing(3, "first")); };
    std::vector<task<>> tasks;
    tasks.push_back(until_cancelled(cancelled));
    tasks.push_back(slow_to_leave(left));
    tasks.push_back(as_void());
    co_await when_all(std::move(tasks));
  };
  manual_driver d;
  for (const bool as_pack : {true, false}) {
    int cancelled = 0;
    bool left = false;
    CHECK_THROWS_WITH(sync_wait(as_pack ? pack(cancelled, left) : range(cancelled, left), d), "first");
    CHECK(cancelled == 1);
    CHECK(left);
  }
}

TEST_CASE("cancelling the parent of when_all cancels all children, and gives errc::cancelled", "[async][when_all]") {
  const auto all = [](int& cancelled) -> task<> {
    auto both = when_all(until_cancelled(cancelled), until_cancelled(cancelled));
    co_await std::move(both);
  };
  const auto root = [](auto f, int& cancelled, std::stop_source stop) -> task<> {
    const auto stops = [](std::stop_source s) -> task<> {
      co_await yields(3);
      s.request_stop();
    };
    auto both = when_all(f(cancelled), stops(stop));
    co_await std::move(both);
  };
  manual_driver d;
  int cancelled = 0;
  std::stop_source stop;
  CHECK(kind_thrown_by([&] { sync_wait(root(all, cancelled, stop), d, stop.get_token()); }) == errc::cancelled);
  CHECK(cancelled == 2);
  CHECK(kind_thrown_by([&] { sync_wait(root(all, cancelled, stop), d, stop.get_token()); }) == errc::cancelled);
  CHECK(cancelled == 4);  // the token had been stopped before
}

TEST_CASE("when_all cancelled through its parent still gives values, where the children ignore it",
          "[async][when_all]") {
  const auto all = []() -> task<int> {
    auto both = when_all(after(5, 1), after(5, 2));
    auto values = co_await std::move(both);
    co_return std::get<0>(values) + std::get<1>(values);
  };
  manual_driver d;
  std::stop_source stop;
  stop.request_stop();
  CHECK(sync_wait(all(), d, stop.get_token()) == 3);
}

TEST_CASE("an empty task among others fails when_all and is awaited with them", "[async][when_all]") {
  const auto all = [](int& cancelled) -> task<> {
    auto both = when_all(until_cancelled(cancelled), task<int>());
    co_await std::move(both);
  };
  manual_driver d;
  int cancelled = 0;
  CHECK(kind_thrown_by([&] { sync_wait(all(cancelled), d); }) == errc::already_taken);
  CHECK(cancelled == 1);
}

TEST_CASE("a hundred thousand children of when_all, and a thousand nested ones", "[async][when_all]") {
  const auto wide = []() -> task<long> {
    std::vector<task<int>> tasks;
    for (int i = 0; i < 100'000; ++i) tasks.push_back(after(1, 1));
    const auto values = co_await when_all(std::move(tasks));
    long sum = 0;
    for (const int v : values) sum += v;
    co_return sum;
  };
  struct deep {
    static task<int> at(int depth, int& cancelled) {
      if (depth == 0) {
        co_await until_cancelled(cancelled);
        co_return 0;
      }
      auto both = when_all(at(depth - 1, cancelled), after(1, 1));
      auto values = co_await std::move(both);
      co_return std::get<0>(values) + 1;
    }
    static task<> cancelled_at_the_bottom(int& cancelled) {
      auto both = when_all(at(1000, cancelled), failing(5000, "top"));
      co_await std::move(both);
    }
  };
  manual_driver d;
  CHECK(sync_wait(wide(), d) == 100'000);
  int cancelled = 0;
  CHECK_THROWS_WITH(sync_wait(deep::cancelled_at_the_bottom(cancelled), d), "top");
  CHECK(cancelled == 1);
}

TEST_CASE("when_all that is never awaited drops its tasks", "[async][when_all]") {
  {
    const auto holds = [](counted_object) -> task<> { co_return; };
    auto all = when_all(holds(counted_object()), holds(counted_object()));
    CHECK(counted_object::alive == 2);
    auto moved = std::move(all);
    static_cast<void>(moved);
  }
  CHECK(counted_object::alive == 0);
}

TEST_CASE("children and their results are destroyed once each, whatever ends first", "[async][when_all]") {
  const auto gives = [](counted_object o, int turns) -> task<counted_object> {
    co_await yields(turns);
    co_return o;
  };
  const auto root = [](auto f, bool fails) -> task<int> {
    counted_object a(1);
    counted_object b(2);
    auto first = f(a, 3);
    auto second = f(std::move(b), 1);
    auto third = fails ? failing(2, "no") : after(2, 3);
    auto all = when_all(std::move(first), std::move(second), std::move(third));
    auto values = co_await std::move(all);
    co_return std::get<0>(values).value + std::get<1>(values).value + std::get<2>(values);
  };
  manual_driver d;
  CHECK(sync_wait(root(gives, false), d) == 6);
  CHECK_THROWS_WITH(sync_wait(root(gives, true), d), "no");
  CHECK(counted_object::alive == 0);
  CHECK(counted_object::misused == 0);
}
