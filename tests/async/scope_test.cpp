// SPDX-License-Identifier: Apache-2.0
#include <runhouse/async/scope.hpp>

#include "async/support.hpp"
#include "support/catch.hpp"
#include "support/manual_driver.hpp"

#include <runhouse/async/sync_wait.hpp>
#include <runhouse/async/when_all.hpp>

#include <malloc.h>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <vector>

using rh::errc;
using rh::scope;
using rh::sync_wait;
using rh::task;
using rh::with_scope;
using rh::test::counted_object;
using rh::test::kind_thrown_by;
using rh::test::manual_driver;
using rh::test::until_cancelled;
using rh::test::yield_now;
using rh::test::yields;

namespace {

task<> noting(std::vector<int>& notes, int turns, int note) {
  co_await yields(turns);
  notes.push_back(note);
}
task<> failing(int turns, const char* text) {
  co_await yields(turns);
  throw std::runtime_error(text);
}
/// Catches what its own children do wrong.
task<std::string> caught_from(task<> t) {
  try {
    co_await std::move(t);
  } catch (const std::exception& e) {
    co_return e.what();
  }
  co_return "nothing";
}

}  // namespace

TEST_CASE("spawned tasks begin when their spawner suspends, run beside it, and end before join does",
          "[async][scope]") {
  const auto root = [](std::vector<int>& notes) -> task<> {
    scope work;
    work.spawn(noting(notes, 0, 2));
    work.spawn(noting(notes, 9, 4));
    notes.push_back(1);
    CHECK(work.running() == 2);
    co_await yields(4);
    notes.push_back(3);
    CHECK(work.running() == 1);
    co_await work.join();
    notes.push_back(5);
    CHECK(work.running() == 0);
  };
  manual_driver d;
  std::vector<int> notes;
  sync_wait(root(notes), d);
  CHECK(notes == std::vector{1, 2, 3, 4, 5});
}

TEST_CASE("join with no tasks is ready, and a scope can be used again after it", "[async][scope]") {
  const auto root = [](std::vector<int>& notes) -> task<> {
    scope work;
    co_await work.join();
    for (int i = 0; i < 3; ++i) {
      work.spawn(noting(notes, 1, i));
      co_await work.join();
    }
    co_await work.join();
  };
  manual_driver d;
  std::vector<int> notes;
  sync_wait(root(notes), d);
  CHECK(notes == std::vector{0, 1, 2});
}

TEST_CASE("the first error in a scope cancels the others, waits for them, and comes out of join once",
          "[async][scope]") {
  const auto root = [](int& cancelled, std::vector<std::string>& errors) -> task<> {
    scope work;
    work.spawn(until_cancelled(cancelled));
    work.spawn(failing(2, "first"));
    work.spawn(failing(3, "second"));
    work.spawn(until_cancelled(cancelled));
    errors.push_back(co_await caught_from(rh::as_task(work.join())));
    CHECK(work.running() == 0);
    errors.push_back(co_await caught_from(rh::as_task(work.join())));
    work.spawn(until_cancelled(cancelled));  // cancelled from the start
    errors.push_back(co_await caught_from(rh::as_task(work.join())));
  };
  manual_driver d;
  int cancelled = 0;
  std::vector<std::string> errors;
  sync_wait(root(cancelled, errors), d);
  CHECK(cancelled == 3);
  CHECK(errors == std::vector<std::string>{"first", "nothing", "cancelled"});
}

TEST_CASE("an error in a scope waits for its join", "[async][scope]") {
  const auto root = [](std::string& error) -> task<> {
    scope work;
    work.spawn(failing(0, "early"));
    co_await yields(10);
    CHECK(work.running() == 0);
    error = co_await caught_from(rh::as_task(work.join()));
  };
  manual_driver d;
  std::string error;
  sync_wait(root(error), d);
  CHECK(error == "early");
}

TEST_CASE("cancel() stops what runs in a scope", "[async][scope]") {
  const auto root = [](int& cancelled) -> task<> {
    scope work;
    work.spawn(until_cancelled(cancelled));
    work.spawn(until_cancelled(cancelled));
    co_await yields(3);
    CHECK(cancelled == 0);
    work.cancel();
    work.cancel();
    co_await work.join();
  };
  manual_driver d;
  int cancelled = 0;
  CHECK(kind_thrown_by([&] { sync_wait(root(cancelled), d); }) == errc::cancelled);
  CHECK(cancelled == 2);
}

TEST_CASE("cancelling the task that joins cancels the scope, and the join still waits", "[async][scope]") {
  const auto root = [](int& cancelled, bool& late, std::stop_source stop) -> task<> {
    const auto stops = [](std::stop_source s) -> task<> {
      co_await yields(3);
      s.request_stop();
    };
    const auto slow = [](bool& done) -> task<> {
      int seen = 0;
      const auto error = co_await caught_from(until_cancelled(seen));
      co_await yields(20);
      done = error == "cancelled";
    };
    scope work;
    work.spawn(until_cancelled(cancelled));
    work.spawn(slow(late));
    work.spawn(stops(stop));
    co_await work.join();
  };
  manual_driver d;
  int cancelled = 0;
  bool late = false;
  std::stop_source stop;
  CHECK(kind_thrown_by([&] { sync_wait(root(cancelled, late, stop), d, stop.get_token()); }) == errc::cancelled);
  CHECK(cancelled == 1);
  CHECK(late);
}

TEST_CASE("a scope that was joined does not listen to the joining task any more", "[async][scope]") {
  const auto root = [](scope& work, std::stop_source stop, std::vector<int>& notes) -> task<> {
    work.spawn(noting(notes, 1, 1));
    co_await work.join();
    stop.request_stop();
    work.spawn(noting(notes, 1, 2));
    int cancelled = 0;
    const auto stoppable = co_await caught_from(until_cancelled(cancelled));
    CHECK(stoppable == "cancelled");
    co_await yields(5);
    CHECK(work.running() == 0);
  };
  manual_driver d;
  scope work;
  std::stop_source stop;
  std::vector<int> notes;
  sync_wait(root(work, stop, notes), d, stop.get_token());
  CHECK(notes == std::vector{1, 2});
}

TEST_CASE("spawn outside a task is an error, and drops the task", "[async][scope]") {
  {
    const auto holds = [](counted_object) -> task<> { co_return; };
    scope work;
    CHECK(kind_thrown_by([&] { work.spawn(holds(counted_object())); }) == errc::would_deadlock);
    CHECK(work.running() == 0);
  }
  CHECK(counted_object::alive == 0);
}

TEST_CASE("a spawned task can spawn others while join is awaited", "[async][scope]") {
  struct tree {
    static task<> grow(scope& work, int depth, int& leaves) {
      co_await yield_now();
      if (depth == 0) {
        ++leaves;
        co_return;
      }
      work.spawn(grow(work, depth - 1, leaves));
      work.spawn(grow(work, depth - 1, leaves));
    }
    static task<> root(int& leaves) {
      scope work;
      work.spawn(grow(work, 10, leaves));
      co_await work.join();
    }
  };
  manual_driver d;
  int leaves = 0;
  sync_wait(tree::root(leaves), d);
  CHECK(leaves == 1024);
}

TEST_CASE("a second join at the same time is an error and not a hang", "[async][scope]") {
  const auto root = [](std::string& error) -> task<> {
    const auto joins = [](scope& s, std::string& text) -> task<> {
      text = co_await caught_from(rh::as_task(s.join()));
    };
    scope work;
    scope other;
    work.spawn(yields(9));
    other.spawn(joins(work, error));
    co_await work.join();
    co_await other.join();
  };
  manual_driver d;
  std::string error;
  sync_wait(root(error), d);
  CHECK(error.find("scope::join") == 0);
}

TEST_CASE("with_scope joins, and gives what its body gives", "[async][scope]") {
  const auto root = [](std::vector<int>& notes) -> task<int> {
    const auto body = [](scope& s, std::vector<int>& n) -> task<std::unique_ptr<int>> {
      s.spawn(noting(n, 5, 2));
      n.push_back(1);
      co_return std::make_unique<int>(7);
    };
    auto scoped = with_scope([&notes, body](scope& s) { return body(s, notes); });
    const auto value = co_await std::move(scoped);
    notes.push_back(3);
    co_return *value;
  };
  manual_driver d;
  std::vector<int> notes;
  CHECK(sync_wait(root(notes), d) == 7);
  CHECK(notes == std::vector{1, 2, 3});
}

TEST_CASE("with_scope whose body throws cancels what it spawned, waits, and passes the error on", "[async][scope]") {
  const auto body = [](scope& s, int& cancelled) -> task<> {
    s.spawn(until_cancelled(cancelled));
    co_await yields(2);
    throw std::runtime_error("body");
  };
  const auto throws_before_it_is_a_task = [](scope&) -> task<> { throw std::runtime_error("no task"); };
  manual_driver d;
  int cancelled = 0;
  const auto scoped = [&](scope& s) { return body(s, cancelled); };
  CHECK_THROWS_WITH(sync_wait(with_scope(scoped), d), "body");
  CHECK(cancelled == 1);
  CHECK_THROWS_WITH(sync_wait(with_scope(throws_before_it_is_a_task), d), "no task");
}

TEST_CASE("a task that fails in with_scope cancels the body too, and its error is the one that comes out",
          "[async][scope]") {
  const auto body = [](scope& s, int& cancelled) -> task<int> {
    s.spawn(failing(2, "child"));
    s.spawn(until_cancelled(cancelled));
    co_await until_cancelled(cancelled);
    co_return 1;
  };
  manual_driver d;
  int cancelled = 0;
  const auto scoped = [&](scope& s) { return body(s, cancelled); };
  CHECK_THROWS_WITH(sync_wait(with_scope(scoped), d), "child");
  CHECK(cancelled == 2);
}

TEST_CASE("the body of with_scope may join by itself, and handle its children's error", "[async][scope]") {
  const auto body = [](scope& s, std::string& error) -> task<> {
    s.spawn(failing(2, "child"));
    error = co_await caught_from(rh::as_task(s.join()));
  };
  manual_driver d;
  std::string error;
  const auto scoped = [&](scope& s) { return body(s, error); };
  sync_wait(with_scope(scoped), d);
  CHECK(error == "child");
}

TEST_CASE("cancelling with_scope reaches its body and its children, before and after the body's end",
          "[async][scope]") {
  const auto root = [](int& cancelled, bool body_waits, std::stop_source stop) -> task<> {
    const auto body = [](scope& s, int& count, bool waits) -> task<> {
      s.spawn(until_cancelled(count));
      if (waits) {
        s.spawn(until_cancelled(count));
        co_await s.join();
      }
    };
    const auto stops = [](std::stop_source s) -> task<> {
      co_await yields(9);
      s.request_stop();
    };
    auto scoped = with_scope([&, body](scope& s) { return body(s, cancelled, body_waits); });
    auto both = rh::when_all(std::move(scoped), stops(stop));
    co_await std::move(both);
  };
  manual_driver d;
  for (const bool waits : {false, true}) {
    int cancelled = 0;
    std::stop_source stop;
    CHECK(kind_thrown_by([&] { sync_wait(root(cancelled, waits, stop), d, stop.get_token()); }) == errc::cancelled);
    CHECK(cancelled == (waits ? 2 : 1));
  }
}

TEST_CASE("a hundred thousand spawned tasks leave nothing behind once they have ended", "[async][scope]") {
  const auto root = [](int& most, std::size_t& grown) -> task<> {
    const auto child = [](counted_object o) -> task<> {
      co_await yield_now();
      static_cast<void>(o);
    };
    scope work;
    for (int i = 0; i < 100; ++i) {  // so that what allocators keep is there
      work.spawn(child(counted_object()));
      co_await yield_now();
    }
    const auto before = ::mallinfo2().uordblks;
    for (int i = 0; i < 100'000; ++i) {
      work.spawn(child(counted_object()));
      most = std::max(most, counted_object::alive.load());
      co_await yield_now();
    }
    const auto after = ::mallinfo2().uordblks;
    grown = after > before ? after - before : 0;
    co_await work.join();
  };
  manual_driver d;
  int most = 0;
  std::size_t grown = 0;
  sync_wait(root(most, grown), d);
  CHECK(most < 10);
  CHECK(grown < 10'000);
  CHECK(counted_object::alive == 0);
  CHECK(counted_object::misused == 0);
}

TEST_CASE("a hundred thousand tasks can run in a scope at once", "[async][scope]") {
  const auto root = [](int& cancelled, int& ended) -> task<> {
    const auto child = [](int& count) -> task<> {
      co_await yields(2);
      ++count;
    };
    {
      scope work;
      for (int i = 0; i < 100'000; ++i) work.spawn(child(ended));
      co_await work.join();
    }
    scope work;
    for (int i = 0; i < 20'000; ++i) work.spawn(until_cancelled(cancelled));
    co_await yield_now();
    work.cancel();
    static_cast<void>(co_await caught_from(rh::as_task(work.join())));
  };
  manual_driver d;
  int cancelled = 0;
  int ended = 0;
  sync_wait(root(cancelled, ended), d);
  CHECK(ended == 100'000);
  CHECK(cancelled == 20'000);
}
