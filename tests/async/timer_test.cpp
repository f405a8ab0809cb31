// SPDX-License-Identifier: Apache-2.0
#include <runhouse/async/timer.hpp>

#include "async/support.hpp"
#include "support/catch.hpp"
#include "support/manual_driver.hpp"

#include <runhouse/async/channel.hpp>
#include <runhouse/async/runtime.hpp>
#include <runhouse/async/sync_wait.hpp>
#include <runhouse/async/when_all.hpp>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <tuple>
#include <vector>

using namespace std::chrono_literals;
using rh::errc;
using rh::sleep_for;
using rh::sync_wait;
using rh::task;
using rh::when_all;
using rh::with_timeout;
using rh::test::kind_thrown_by;
using rh::test::manual_driver;
using rh::test::until_cancelled;
using rh::test::yield_now;
using rh::test::yields;

namespace {

using duration = std::chrono::steady_clock::duration;

/// Runs `t` while the clock moves on by a second a turn.
template <class T>
task<T> while_time_passes(manual_driver& d, task<T> t, int seconds) {
  const auto passing = [](manual_driver& clock, int count) -> task<> {
    for (int i = 0; i < count; ++i) {
      co_await yields(5);
      clock.advance(1s);
    }
  };
  auto both = when_all(std::move(t), passing(d, seconds));
  auto values = co_await std::move(both);
  if constexpr (!std::is_void_v<T>) co_return std::get<0>(std::move(values));
}
task<int> value_after(duration delay, int value) {
  co_await sleep_for(delay);
  co_return value;
}
task<> noting_after(duration delay, std::vector<int>& notes, int note) {
  co_await sleep_for(delay);
  notes.push_back(note);
}
task<> failing_after(duration delay) {
  co_await sleep_for(delay);
  throw std::runtime_error("inner");
}
task<int> limited(duration timeout, duration delay) {
  auto within = with_timeout(timeout, value_after(delay, 7));
  co_return co_await std::move(within);
}

}  // namespace

TEST_CASE("sleeps end in the order of their times, and those of one time in order of their starts", "[async][timer]") {
  const auto root = [](manual_driver& d, std::vector<int>& notes) -> task<> {
    auto all = when_all(noting_after(3s, notes, 4), noting_after(1s, notes, 1), noting_after(2s, notes, 2),
                        noting_after(2s, notes, 3), noting_after(0s, notes, 0));
    const auto advance = [](manual_driver& clock) -> task<> {
      co_await yields(3);
      clock.advance(10s);
    };
    auto both = when_all(rh::as_task(std::move(all)), advance(d));
    co_await std::move(both);
  };
  manual_driver d;
  std::vector<int> notes;
  sync_wait(root(d, notes), d);
  CHECK(notes == std::vector{0, 1, 2, 3, 4});
}

TEST_CASE("a sleep without end can be cancelled, and does not overflow", "[async][timer]") {
  const auto root = [](int& ended, manual_driver& d) -> task<> {
    const auto longest = [](int& count) -> task<> {
      try {
        co_await sleep_for(duration::max());
      } catch (const rh::error&) {
        ++count;
        throw;
      }
    };
    d.advance(1h);
    auto within = with_timeout(5s, longest(ended));
    co_await std::move(within);
  };
  manual_driver d;
  int ended = 0;
  CHECK(kind_thrown_by([&] { sync_wait(while_time_passes(d, root(ended, d), 6), d); }) == errc::timed_out);
  CHECK(ended == 1);
  CHECK_FALSE(d.next_timer());
}

TEST_CASE("a cancelled sleep fails with errc::cancelled and leaves no timer", "[async][timer]") {
  const auto root = []() -> task<> { co_await sleep_for(1h); };
  manual_driver d;
  std::stop_source stop;
  stop.request_stop();
  CHECK(kind_thrown_by([&] { sync_wait(root(), d, stop.get_token()); }) == errc::cancelled);
  CHECK_FALSE(d.next_timer());
}

TEST_CASE("with_timeout gives the value that comes in time, and takes its timer away", "[async][timer]") {
  manual_driver d;
  CHECK(sync_wait(while_time_passes(d, limited(5s, 3s), 3), d) == 7);
  CHECK_FALSE(d.next_timer());
}

TEST_CASE("with_timeout fails with errc::timed_out and cancels what it waits for", "[async][timer]") {
  const auto root = [](int& cancelled) -> task<> {
    auto within = with_timeout(5s, until_cancelled(cancelled));
    co_await std::move(within);
  };
  manual_driver d;
  int cancelled = 0;
  CHECK(kind_thrown_by([&] { sync_wait(while_time_passes(d, root(cancelled), 5), d); }) == errc::timed_out);
  CHECK(cancelled == 1);
  CHECK(kind_thrown_by([&] { sync_wait(while_time_passes(d, limited(2s, 3s), 3), d); }) == errc::timed_out);
}

TEST_CASE("with_timeout waits for what it cancelled, and takes a value that still comes", "[async][timer]") {
  const auto stubborn = []() -> task<int> {
    int cancelled = 0;
    try {
      co_await until_cancelled(cancelled);
    } catch (const rh::error&) {
      cancelled = 1;
    }
    co_await yields(100);
    co_return 5;
  };
  const auto root = [](auto f) -> task<int> {
    auto within = with_timeout(1s, f());
    co_return co_await std::move(within);
  };
  manual_driver d;
  CHECK(sync_wait(while_time_passes(d, root(stubborn), 1), d) == 5);
}

TEST_CASE("a value that meets the timeout is not lost from its channel", "[async][timer]") {
  const auto root = [](manual_driver& d) -> task<int> {
    rh::channel<int> values(0);
    const auto receives = [](rh::channel<int>& from) -> task<int> {
      auto within = with_timeout(1s, from.receive());
      const auto got = co_await std::move(within);
      co_return got.value_or(-1);
    };
    const auto sends = [](rh::channel<int>& to, manual_driver& clock) -> task<> {
      clock.advance(1s);  // the timer's task is ready first
      auto sent = to.send(3);
      co_await std::move(sent);
    };
    auto both = when_all(receives(values), sends(values, d));
    const auto got = co_await std::move(both);
    co_return std::get<0>(got);
  };
  manual_driver d;
  CHECK(sync_wait(root(d), d) == 3);
}

TEST_CASE("an error of the task comes through with_timeout", "[async][timer]") {
  const auto root = []() -> task<> {
    auto within = with_timeout(5s, failing_after(1s));
    co_await std::move(within);
  };
  manual_driver d;
  CHECK_THROWS_WITH(sync_wait(while_time_passes(d, root(), 1), d), "inner");
  CHECK_FALSE(d.next_timer());
}

TEST_CASE("cancelling from outside a with_timeout is errc::cancelled, not timed_out", "[async][timer]") {
  const auto root = [](int& cancelled, std::stop_source stop) -> task<> {
    const auto stops = [](std::stop_source s) -> task<> {
      co_await yields(3);
      s.request_stop();
    };
    auto within = with_timeout(5s, until_cancelled(cancelled));
    auto both = when_all(std::move(within), stops(stop));
    co_await std::move(both);
  };
  manual_driver d;
  int cancelled = 0;
  std::stop_source stop;
  CHECK(kind_thrown_by([&] { sync_wait(root(cancelled, stop), d, stop.get_token()); }) == errc::cancelled);
  CHECK(cancelled == 1);
}

TEST_CASE("cancelling from outside a with_timeout gives the error of what it waits for, with its stage",
          "[async][timer]") {
  const auto began = []() -> task<> {
    try {
      co_await sleep_for(1h);
    } catch (const rh::error&) {
      rh::fail(errc::cancelled, "it had begun", rh::stage::may_have_run);
    }
  };
  const auto root = [](task<> what, std::stop_source stop) -> task<rh::stage> {
    const auto stops = [](std::stop_source s) -> task<> {
      co_await yields(3);
      s.request_stop();
    };
    auto within = with_timeout(5s, std::move(what));
    auto both = when_all(std::move(within), stops(stop));
    try {
      co_await std::move(both);
    } catch (const rh::error& e) {
      co_return e.origin().reached;
    }
    co_return rh::stage::ran;
  };
  manual_driver d;
  std::stop_source stop;
  CHECK(sync_wait(root(began(), stop), d, stop.get_token()) == rh::stage::may_have_run);
}

TEST_CASE("of nested timeouts the shorter one counts, at the level where it was set", "[async][timer]") {
  const auto inner_first = []() -> task<int> {
    const auto inner = []() -> task<int> {
      try {
        co_return co_await limited(1s, 1h);
      } catch (const rh::error& e) {
        if (e.kind() != errc::timed_out) throw;
      }
      co_return -1;
    };
    auto within = with_timeout(5s, inner());
    co_return co_await std::move(within);
  };
  const auto outer_first = [](std::vector<errc>& inside) -> task<int> {
    const auto inner = [](std::vector<errc>& seen) -> task<int> {
      try {
        co_return co_await limited(5s, 1h);
      } catch (const rh::error& e) {
        seen.push_back(e.kind());
        throw;
      }
    };
    auto within = with_timeout(1s, inner(inside));
    co_return co_await std::move(within);
  };
  manual_driver d;
  CHECK(sync_wait(while_time_passes(d, inner_first(), 2), d) == -1);
  std::vector<errc> inside;
  CHECK(kind_thrown_by([&] { sync_wait(while_time_passes(d, outer_first(inside), 2), d); }) == errc::timed_out);
  CHECK(inside == std::vector{errc::cancelled});
}

TEST_CASE("a timeout of zero, or in the past, lets through only what is ready", "[async][timer]") {
  const auto ready = []() -> task<int> { co_return 1; };
  const auto root = [](auto f, duration timeout) -> task<int> {
    auto within = with_timeout(timeout, f());
    const int first = co_await std::move(within);
    co_return first;
  };
  manual_driver d;
  CHECK(sync_wait(while_time_passes(d, root(ready, 0s), 1), d) == 1);
  CHECK(sync_wait(while_time_passes(d, root(ready, -5s), 1), d) == 1);
  CHECK(kind_thrown_by([&] { sync_wait(while_time_passes(d, limited(0s, 2s), 2), d); }) == errc::timed_out);
}

TEST_CASE("with_timeout of void and of move-only values", "[async][timer]") {
  const auto boxed = []() -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(3); };
  const auto root = [](auto f) -> task<int> {
    auto first = with_timeout(1s, yields(1));
    co_await std::move(first);
    auto second = with_timeout(1s, f());
    const auto box = co_await std::move(second);
    co_return *box;
  };
  manual_driver d;
  CHECK(sync_wait(root(boxed), d) == 3);
}

TEST_CASE("a timer expires though the other tasks are always ready", "[async][timer]") {
  const auto busy = []() -> task<> {
    const auto spins = []() -> task<> {
      for (;;) {
        co_await yield_now();
        co_await sleep_for(-1s);  // where a cancellation is noticed
      }
    };
    const auto always_ready = [](bool& stop) -> task<> {
      while (!stop) co_await yield_now();
    };
    const auto limits = [](auto f, bool& stop) -> task<> {
      try {
        auto within = with_timeout(2ms, f());
        co_await std::move(within);
      } catch (const rh::error& e) {
        stop = e.kind() == errc::timed_out;
      }
    };
    bool stop = false;
    auto both = when_all(always_ready(stop), limits(spins, stop));
    co_await std::move(both);
    CHECK(stop);
  };
  rh::detail::blocking_driver blocking;
  sync_wait(busy(), blocking);
  sync_wait(busy(), rh::detail::runtime::instance());
}

TEST_CASE("the drivers of real time sleep at least as long as asked", "[async][timer]") {
  const auto naps = []() -> task<duration> {
    const auto before = std::chrono::steady_clock::now();
    std::vector<task<int>> all;
    for (int i = 0; i < 20; ++i) all.push_back(value_after(std::chrono::microseconds(200 * (20 - i)), i));
    const auto values = co_await when_all(std::move(all));
    CHECK(values.size() == 20);
    co_return std::chrono::steady_clock::now() - before;
  };
  rh::detail::blocking_driver blocking;
  CHECK(sync_wait(naps(), blocking) >= 4ms);
  CHECK(sync_wait(naps(), rh::detail::runtime::instance()) >= 4ms);
}
