// SPDX-License-Identifier: Apache-2.0
#include <runhouse/async/task.hpp>

#include "async/support.hpp"
#include "support/catch.hpp"
#include "support/manual_driver.hpp"

#include <runhouse/async/sync_wait.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

using rh::errc;
using rh::sync_wait;
using rh::task;
using rh::test::counted_object;
using rh::test::kind_thrown_by;
using rh::test::manual_driver;

namespace {

static_assert(!std::is_copy_constructible_v<task<int>> && std::is_nothrow_move_constructible_v<task<int>>);

task<int> answer() {
  co_return 42;
}
task<int> noting(std::vector<int>& notes, int note) {
  notes.push_back(note);
  co_return note;
}
task<> nothing() {
  co_return;
}

task<long> awaits_in_a_loop(long times) {
  long sum = 0;
  for (long i = 0; i < times; ++i) {
    const int got = co_await answer();
    sum += got;
  }
  co_return sum;
}

task<long> nested(long depth) {
  if (depth == 0) co_return 0;
  const long below = co_await nested(depth - 1);
  co_return below + 1;
}

task<> throws_at(int depth) {
  if (depth == 0) throw std::out_of_range("the bottom");
  co_await throws_at(depth - 1);
}

/// Says in which order locals die.
struct leaves {
  leaves(std::vector<int>& n, int which) : notes(&n), note(which) {}
  leaves(leaves&& other) noexcept : notes(std::exchange(other.notes, nullptr)), note(other.note) {}
  ~leaves() {
    if (notes != nullptr) notes->push_back(note);
  }
  std::vector<int>* notes;
  int note;
};

}  // namespace

TEST_CASE("a task does not begin before it is awaited", "[async][task]") {
  manual_driver d;
  std::vector<int> notes;
  auto t = noting(notes, 7);
  CHECK(notes.empty());
  CHECK(sync_wait(std::move(t), d) == 7);
  CHECK(notes == std::vector{7});
}

TEST_CASE("a task that is never awaited leaks nothing", "[async][task]") {
  {
    auto t = [](counted_object, std::unique_ptr<int>) -> task<> { co_return; }(counted_object(),
                                                                               std::make_unique<int>(1));
    CHECK(counted_object::alive == 1);
    auto moved = std::move(t);
    CHECK(moved);
    CHECK_FALSE(t);  // NOLINT: what a move leaves behind
    moved = nothing();
    CHECK(counted_object::alive == 0);
  }
  CHECK(counted_object::misused == 0);
}

TEST_CASE("a million awaits in a loop do not grow the stack", "[async][task]") {
  manual_driver d;
  CHECK(sync_wait(awaits_in_a_loop(1'000'000), d) == 42'000'000);
}

TEST_CASE("a million nested awaits do not grow the stack", "[async][task]") {
  manual_driver d;
  CHECK(sync_wait(nested(1'000'000), d) == 1'000'000);
}

TEST_CASE("an exception comes through every await of a chain as itself", "[async][task]") {
  manual_driver d;
  CHECK_THROWS_AS(sync_wait(throws_at(0), d), std::out_of_range);
  CHECK_THROWS_WITH(sync_wait(throws_at(3), d), "the bottom");
  CHECK_THROWS_AS(sync_wait(throws_at(20'000), d), std::out_of_range);
}

TEST_CASE("an exception can be caught between awaits, and the task goes on", "[async][task]") {
  const auto careful = [](int times) -> task<int> {
    int caught = 0;
    for (int i = 0; i < times; ++i) {
      try {
        co_await throws_at(2);
      } catch (const std::out_of_range&) {
        ++caught;
      }
    }
    co_return caught;
  };
  manual_driver d;
  CHECK(sync_wait(careful(1000), d) == 1000);
}

TEST_CASE("a task gives move-only values, and values without a default", "[async][task]") {
  struct strict {
    explicit strict(int v) : value(v) {}
    strict(strict&&) = default;
    int value;
  };
  const auto inner = [](std::unique_ptr<int> p) -> task<std::unique_ptr<int>> {
    ++*p;
    co_return p;
  };
  const auto outer = [](auto f) -> task<strict> {
    auto p = std::make_unique<int>(1);
    auto q = co_await f(std::move(p));
    auto r = co_await f(std::move(q));
    co_return strict(*r);
  };
  manual_driver d;
  CHECK(sync_wait(outer(inner), d).value == 3);
}

TEST_CASE("co_return converts, and an exception of the conversion is the task's", "[async][task]") {
  struct picky {
    picky(int v) {  // NOLINT: converts
      if (v < 0) throw std::invalid_argument("negative");
    }
  };
  const auto text = []() -> task<std::string> { co_return "text"; };
  const auto braced = []() -> task<std::string> { co_return {}; };
  const auto pick = [](int v) -> task<picky> { co_return v; };
  manual_driver d;
  CHECK(sync_wait(text(), d) == "text");
  CHECK(sync_wait(braced(), d).empty());
  CHECK_NOTHROW(sync_wait(pick(1), d));
  CHECK_THROWS_AS(sync_wait(pick(-1), d), std::invalid_argument);
}

TEST_CASE("an exception_ptr can be a task's value", "[async][task]") {
  const auto gives = []() -> task<std::exception_ptr> { co_return std::make_exception_ptr(1); };
  manual_driver d;
  CHECK(sync_wait(gives(), d) != nullptr);
}

TEST_CASE("awaiting a task twice, or an empty one, is an error and no crash", "[async][task]") {
  const auto twice = []() -> task<> {
    auto t = answer();
    const int first = co_await std::move(t);
    static_cast<void>(first);
    co_await std::move(t);  // NOLINT: that is the test
  };
  const auto empty = []() -> task<> {
    task<> t;
    co_await std::move(t);
  };
  manual_driver d;
  CHECK(kind_thrown_by([&] { sync_wait(twice(), d); }) == errc::already_taken);
  CHECK(kind_thrown_by([&] { sync_wait(empty(), d); }) == errc::already_taken);
  CHECK(kind_thrown_by([&] { sync_wait(task<int>(), d); }) == errc::already_taken);
}

TEST_CASE("a task's locals die at its end, its parameters with its frame, after the awaiting expression",
          "[async][task]") {
  const auto inner = [](std::vector<int>& notes, leaves) -> task<int> {
    leaves first(notes, 1);
    leaves second(notes, 2);
    co_return 0;
  };
  const auto outer = [](auto f, std::vector<int>& notes) -> task<> {
    leaves last(notes, 5);
    leaves parameter(notes, 3);
    auto t = f(notes, std::move(parameter));
    const int got = co_await std::move(t);
    notes.push_back(4);
    static_cast<void>(got);
  };
  std::vector<int> notes;
  manual_driver d;
  sync_wait(outer(inner, notes), d);
  CHECK(notes == std::vector{2, 1, 3, 4, 5});
}

TEST_CASE("an exception unwinds a chain of tasks from the innermost out", "[async][task]") {
  const auto bottom = [](std::vector<int>& notes) -> task<> {
    leaves a(notes, 1);
    throw std::runtime_error("bottom");
    co_return;
  };
  const auto middle = [](auto f, std::vector<int>& notes) -> task<> {
    leaves b(notes, 2);
    co_await f(notes);
    notes.push_back(-1);
  };
  const auto top = [](auto f, auto g, std::vector<int>& notes) -> task<> {
    leaves c(notes, 3);
    co_await f(g, notes);
    notes.push_back(-2);
  };
  std::vector<int> notes;
  manual_driver d;
  CHECK_THROWS_WITH(sync_wait(top(middle, bottom, notes), d), "bottom");
  CHECK(notes == std::vector{1, 2, 3});
}

// g++ 12 destroys temporaries twice in some co_await expressions; these are the forms that the documentation shows.
TEST_CASE("the forms of co_await that we recommend destroy each object once", "[async][task]") {
  const auto pass = [](counted_object o, std::string text) -> task<counted_object> {
    o.value += static_cast<int>(text.size());
    co_await nothing();
    co_return o;
  };
  const auto fails = [](counted_object, std::string) -> task<counted_object> {
    co_await nothing();
    throw std::runtime_error("failed");
  };
  const auto forms = [](auto f, auto g) -> task<int> {
    counted_object named(1);
    std::string text = "a string that is too long for the small-string buffer";
    auto call = f(named, text);  // named call, then await
    auto first = co_await std::move(call);
    auto second = co_await f(named, text);  // named operands
    auto third = co_await f(std::move(named), std::move(text));
    auto fourth = co_await f(counted_object(4), "temporaries without braces or captures");
    co_await f(counted_object(5), "a result that is dropped");
    int failed = 0;
    try {
      auto never = co_await g(counted_object(6), "temporaries");
      static_cast<void>(never);
    } catch (const std::runtime_error&) {
      ++failed;
    }
    co_return first.value + second.value + third.value + fourth.value + failed;
  };
  manual_driver d;
  const int expected = 3 * (1 + 53) + 4 + 38 + 1;
  CHECK(sync_wait(forms(pass, fails), d) == expected);
  CHECK(counted_object::alive == 0);
  CHECK(counted_object::misused == 0);
}
