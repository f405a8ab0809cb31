// SPDX-License-Identifier: Apache-2.0
// Cancellation as DESIGN.md section 10.2 has it, over all of async: the innermost await fails, and the tasks unwind.
#include <runhouse/async/task.hpp>

#include "async/support.hpp"
#include "support/catch.hpp"
#include "support/manual_driver.hpp"

#include <runhouse/async/channel.hpp>
#include <runhouse/async/runtime.hpp>
#include <runhouse/async/scope.hpp>
#include <runhouse/async/sync_wait.hpp>
#include <runhouse/async/timer.hpp>
#include <runhouse/async/when_all.hpp>
#include <runhouse/async/when_any.hpp>

#include <atomic>
#include <chrono>
#include <random>
#include <stop_token>
#include <thread>
#include <variant>
#include <vector>

using namespace std::chrono_literals;
using rh::channel;
using rh::errc;
using rh::sync_wait;
using rh::task;
using rh::test::kind_thrown_by;
using rh::test::manual_driver;

namespace {

struct leaves {
  leaves(std::vector<int>& n, int which) : notes(&n), note(which) {}
  leaves(const leaves&) = delete;
  leaves& operator=(const leaves&) = delete;
  ~leaves() { notes->push_back(note); }
  std::vector<int>* notes;
  int note;
};

task<> chain(std::vector<int>& notes, int depth) {
  leaves here(notes, depth);
  if (depth == 0) {
    co_await rh::sleep_for(1h);
  } else {
    co_await chain(notes, depth - 1);
  }
  notes.push_back(-1);
}

void spin(unsigned long turns) {
  std::atomic<unsigned long> count{0};
  while (count.fetch_add(1, std::memory_order_relaxed) < turns) {
  }
}

/// Three threads that meet at the beginning and the end of each of many rounds: one that waits in a task, one that
/// completes what it waits for and one that cancels it, each after a random while.
template <class Wait, class Complete>
void race(int rounds, Wait wait, Complete complete) {
  std::vector<std::stop_source> stops(static_cast<std::size_t>(rounds));
  std::atomic<int> round{-1};
  std::atomic<int> at_end{0};
  const auto run = [&](unsigned seed, auto action) {
    std::minstd_rand random(seed);
    for (int i = 0; i < rounds; ++i) {
      while (round.load() < i) std::this_thread::yield();
      spin(random() % 400);
      action(i);
      ++at_end;
    }
  };
  std::jthread completes([&] { run(1, complete); });
  std::jthread cancels([&] { run(2, [&](int i) { stops[static_cast<std::size_t>(i)].request_stop(); }); });
  for (int i = 0; i < rounds; ++i) {
    round = i;
    wait(i, stops[static_cast<std::size_t>(i)].get_token());
    while (at_end.load() < 2 * (i + 1)) std::this_thread::yield();
  }
}

task<int> received(channel<int>& from) {
  const auto value = co_await from.receive();
  co_return *value;
}
task<> sent(channel<int>& to, int value) {
  co_await to.send(value);
}

}  // namespace

TEST_CASE("cancellation fails the innermost await, and unwinds from there out", "[async][cancellation]") {
  manual_driver d;
  std::vector<int> notes;
  std::stop_source stop;
  stop.request_stop();
  CHECK(kind_thrown_by([&] { sync_wait(chain(notes, 3), d, stop.get_token()); }) == errc::cancelled);
  CHECK(notes == std::vector{0, 1, 2, 3});
}

TEST_CASE("a cancelled chain of a hundred thousand tasks unwinds without growing the stack", "[async][cancellation]") {
  const auto root = [](std::vector<int>& notes) -> task<> {
    auto within = rh::with_timeout(0s, chain(notes, 100'000));
    co_await std::move(within);
  };
  rh::detail::blocking_driver d;
  std::vector<int> notes;
  CHECK(kind_thrown_by([&] { sync_wait(root(notes), d); }) == errc::timed_out);
  CHECK(notes.size() == 100'001);
  CHECK(std::is_sorted(notes.begin(), notes.end()));
}

TEST_CASE("a task that catches its cancellation can go on, and is cancelled again at its next wait",
          "[async][cancellation]") {
  const auto root = [](int& caught) -> task<int> {
    for (int i = 0; i < 3; ++i) {
      try {
        co_await rh::sleep_for(1h);
      } catch (const rh::error& e) {
        caught += e.kind() == errc::cancelled;
      }
    }
    co_return caught;
  };
  manual_driver d;
  int caught = 0;
  std::stop_source stop;
  stop.request_stop();
  CHECK(sync_wait(root(caught), d, stop.get_token()) == 3);
}

TEST_CASE("ten thousand cancellations race with sends: no value is lost or given twice", "[async][cancellation]") {
  constexpr int rounds = 10'000;
  channel<int> c(0);
  std::vector<int> seen(rounds, 0);
  std::atomic<int> refused{0};
  int cancelled = 0;
  std::vector<std::stop_source> ends(rounds);
  race(
      rounds,
      [&](int i, std::stop_token stop) {
        try {
          ++seen[static_cast<std::size_t>(sync_wait(received(c), stop))];
        } catch (const rh::error& e) {
          cancelled += e.kind() == errc::cancelled;
        }
        ends[static_cast<std::size_t>(i)].request_stop();  // a send that nobody received is cancelled as well
      },
      [&](int i) {
        try {
          sync_wait(sent(c, i), ends[static_cast<std::size_t>(i)].get_token());
        } catch (const rh::error&) {
          ++refused;
        }
      });
  int received_count = 0;
  int twice = 0;
  for (const int times : seen) {
    received_count += times;
    twice += times > 1;
  }
  CHECK(twice == 0);
  CHECK(received_count + cancelled == rounds);
  CHECK(refused == cancelled);
  CHECK(cancelled > 0);
}

TEST_CASE("cancellations race with completions below when_any, when_all and scopes", "[async][cancellation]") {
  constexpr int rounds = 3'000;
  channel<int> values(1);
  const auto waits = [](channel<int>& from, int kind) -> task<> {
    channel<int> never(0);
    if (kind == 0) {
      auto any = rh::when_any(received(never), received(from), rh::sleep_for(1h));
      const auto won = co_await std::move(any);
      static_cast<void>(won);
    } else if (kind == 1) {
      auto any = rh::with_timeout(1h, received(from));
      auto all = rh::when_all(std::move(any), rh::sleep_for(0s));
      const auto both = co_await std::move(all);
      static_cast<void>(both);
    } else {
      const auto child = [](channel<int>& c) -> task<> { static_cast<void>(co_await received(c)); };
      rh::scope work;
      work.spawn(child(from));
      work.spawn(rh::as_task(rh::sleep_for(1us)));
      co_await work.join();
    }
  };
  for (const int kind : {0, 1, 2}) {
    int ended = 0;
    int other = 0;
    race(
        rounds,
        [&](int, std::stop_token stop) {
          const auto thrown = kind_thrown_by([&] { sync_wait(waits(values, kind), stop); });
          ++ended;
          other += thrown && thrown != errc::cancelled;
        },
        [&](int) {
          // What an earlier round left is taken out, so that there is room.
          const auto put = [](channel<int>& c) -> task<> {
            auto first = rh::when_any(sent(c, 1), received(c));
            const auto which = co_await std::move(first);
            static_cast<void>(which);
          };
          sync_wait(put(values));
        });
    CHECK(ended == rounds);
    CHECK(other == 0);
  }
}

TEST_CASE("cancellations race with timers, on each driver of real time", "[async][cancellation]") {
  const auto naps = [](int i) -> task<> { co_await rh::sleep_for(std::chrono::microseconds(i % 40)); };
  for (const bool on_runtime : {false, true}) {
    int ended = 0;
    int other = 0;
    race(
        2'000,
        [&](int i, std::stop_token stop) {
          const auto thrown = kind_thrown_by([&] {
            if (on_runtime) {
              sync_wait(naps(i), rh::detail::runtime::instance(), stop);
            } else {
              rh::detail::blocking_driver d;
              sync_wait(naps(i), d, stop);
            }
          });
          ++ended;
          other += thrown && thrown != errc::cancelled;
        },
        [](int) {});
    CHECK(ended == 2'000);
    CHECK(other == 0);
  }
}
