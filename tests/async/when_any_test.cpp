// SPDX-License-Identifier: Apache-2.0
#include <runhouse/async/when_any.hpp>

#include "async/support.hpp"
#include "support/catch.hpp"
#include "support/manual_driver.hpp"

#include <runhouse/async/sync_wait.hpp>

#include <memory>
#include <stdexcept>
#include <stop_token>
#include <variant>
#include <vector>

using rh::errc;
using rh::sync_wait;
using rh::task;
using rh::when_any;
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
task<> failing(int turns) {
  co_await yields(turns);
  throw std::runtime_error("failed");
}
/// Does not heed its cancellation at once.
task<int> slow_to_leave(bool& left) {
  int cancelled = 0;
  try {
    co_await until_cancelled(cancelled);
  } catch (const rh::error&) {
    cancelled = 2;
  }
  co_await yields(50);
  left = cancelled == 2;
  co_return 99;
}

}  // namespace

TEST_CASE("when_any gives the first, and says which it is", "[async][when_any]") {
  const auto first = []() -> task<> {
    auto race = when_any(after(9, 1), after(2, 2), after(9, 3));
    auto won = co_await std::move(race);
    static_assert(std::is_same_v<decltype(won), std::variant<int, int, int>>);
    CHECK(won.index() == 1);
    CHECK(std::get<1>(won) == 2);
    auto mixed = when_any(yields(1), after(5, 1));
    const auto other = co_await std::move(mixed);
    CHECK(other.index() == 0);
    auto single = when_any(after(1, 6));
    const auto only = co_await std::move(single);
    CHECK(std::get<0>(only) == 6);
  };
  manual_driver d;
  sync_wait(first(), d);
}

TEST_CASE("when_any of a vector gives index and value, also void and move-only ones", "[async][when_any]") {
  const auto boxed = [](int turns, int value) -> task<std::unique_ptr<int>> {
    co_await yields(turns);
    co_return std::make_unique<int>(value);
  };
  const auto first = [](auto box) -> task<> {
    std::vector<task<std::unique_ptr<int>>> tasks;
    for (int i = 0; i < 5; ++i) tasks.push_back(box(i == 3 ? 1 : 9, i));
    const auto won = co_await when_any(std::move(tasks));
    CHECK(won.index == 3);
    CHECK(*won.value == 3);
    std::vector<task<>> voids;
    voids.push_back(yields(9));
    voids.push_back(yields(1));
    const auto other = co_await when_any(std::move(voids));
    CHECK(other.index == 1);
  };
  manual_driver d;
  sync_wait(first(boxed), d);
}

TEST_CASE("the losers of when_any are cancelled and awaited before it gives the winner", "[async][when_any]") {
  const auto pack = [](int& cancelled, bool& left) -> task<int> {
    auto race = when_any(until_cancelled(cancelled), slow_to_leave(left), after(3, 7));
    auto won = co_await std::move(race);
    co_return std::get<2>(won);
  };
  const auto range = [](bool& first, bool& second) -> task<int> {
    std::vector<task<int>> tasks;
    tasks.push_back(slow_to_leave(first));
    tasks.push_back(after(3, 7));
    tasks.push_back(slow_to_leave(second));
    const auto won = co_await when_any(std::move(tasks));
    co_return won.value;
  };
  manual_driver d;
  int cancelled = 0;
  bool left = false;
  bool also_left = false;
  CHECK(sync_wait(pack(cancelled, left), d) == 7);
  CHECK(cancelled == 1);
  CHECK(left);
  left = false;
  CHECK(sync_wait(range(left, also_left), d) == 7);
  CHECK((left && also_left));
}

TEST_CASE("an error that is first wins when_any", "[async][when_any]") {
  const auto race = [](int& cancelled) -> task<> {
    auto both = when_any(until_cancelled(cancelled), failing(2));
    co_await std::move(both);
  };
  manual_driver d;
  int cancelled = 0;
  CHECK_THROWS_WITH(sync_wait(race(cancelled), d), "failed");
  CHECK(cancelled == 1);
}

TEST_CASE("an error of a loser of when_any is dropped", "[async][when_any]") {
  const auto race = []() -> task<int> {
    auto both = when_any(after(1, 5), failing(2));
    const auto won = co_await std::move(both);
    co_return std::get<0>(won);
  };
  manual_driver d;
  CHECK(sync_wait(race(), d) == 5);
}

TEST_CASE("when_any of an empty vector is an error", "[async][when_any]") {
  const auto race = []() -> task<> {
    const auto won = co_await when_any(std::vector<task<int>>());
    static_cast<void>(won);
  };
  manual_driver d;
  CHECK(kind_thrown_by([&] { sync_wait(race(), d); }) == errc::length_mismatch);
}

TEST_CASE("cancelling the parent of when_any gives errc::cancelled after all have left", "[async][when_any]") {
  const auto race = [](int& cancelled) -> task<> {
    auto both = when_any(until_cancelled(cancelled), until_cancelled(cancelled));
    co_await std::move(both);
  };
  manual_driver d;
  std::stop_source stop;
  stop.request_stop();
  int cancelled = 0;
  CHECK(kind_thrown_by([&] { sync_wait(race(cancelled), d, stop.get_token()); }) == errc::cancelled);
  CHECK(cancelled == 2);
}

TEST_CASE("what takes part in when_any is destroyed once, winner or loser", "[async][when_any]") {
  const auto gives = [](counted_object o, int turns) -> task<counted_object> {
    co_await yields(turns);
    co_return o;
  };
  const auto root = [](auto f) -> task<int> {
    counted_object a(1);
    auto first = f(a, 3);
    auto second = f(std::move(a), 1);
    auto race = when_any(std::move(first), std::move(second));
    auto won = co_await std::move(race);
    co_return std::get<1>(won).value;
  };
  manual_driver d;
  CHECK(sync_wait(root(gives), d) == 1);
  CHECK(counted_object::alive == 0);
  CHECK(counted_object::misused == 0);
}
