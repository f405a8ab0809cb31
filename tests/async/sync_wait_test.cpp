// SPDX-License-Identifier: Apache-2.0
#include <runhouse/async/sync_wait.hpp>

#include "async/support.hpp"
#include "support/catch.hpp"
#include "support/manual_driver.hpp"

#include <runhouse/async/channel.hpp>
#include <runhouse/async/runtime.hpp>
#include <runhouse/async/timer.hpp>
#include <runhouse/async/when_all.hpp>

#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using rh::errc;
using rh::sync_wait;
using rh::task;
using rh::test::kind_thrown_by;
using rh::test::manual_driver;
using rh::test::until_cancelled;
using rh::test::yield_now;

namespace {

task<int> answer() {
  co_return 42;
}

}  // namespace

TEST_CASE("sync_wait gives the task's value, or its error", "[async][sync_wait]") {
  const auto boxed = []() -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(3); };
  const auto fails = []() -> task<> {
    co_await yield_now();
    throw std::runtime_error("failed");
  };
  CHECK(sync_wait(answer()) == 42);
  CHECK(*sync_wait(boxed()) == 3);
  CHECK_THROWS_WITH(sync_wait(fails()), "failed");
  manual_driver d;
  CHECK(sync_wait(answer(), d) == 42);
  CHECK(rh::run_queue::current() == nullptr);
}

TEST_CASE("sync_wait takes anything that can be awaited", "[async][sync_wait]") {
  const auto both = sync_wait(rh::when_all(answer(), answer()));
  CHECK(std::get<0>(both) + std::get<1>(both) == 84);
  sync_wait(rh::sleep_for(1ms));
  CHECK(kind_thrown_by([] { sync_wait(rh::with_timeout(1ms, rh::sleep_for(1h))); }) == errc::timed_out);
}

TEST_CASE("sync_wait inside a task is errc::would_deadlock, and nothing of the task runs", "[async][sync_wait]") {
  const auto inner = [](bool& ran) -> task<> {
    ran = true;
    co_return;
  };
  const auto outer = [](auto f, bool& ran) -> task<int> {
    CHECK(kind_thrown_by([&] { sync_wait(f(ran)); }) == errc::would_deadlock);
    manual_driver other;
    CHECK(kind_thrown_by([&] { sync_wait(f(ran), other); }) == errc::would_deadlock);
    co_return 1;
  };
  bool ran = false;
  CHECK(sync_wait(outer(inner, ran)) == 1);
  CHECK_FALSE(ran);
  CHECK(sync_wait(answer()) == 42);  // the thread is free again
}

TEST_CASE("a stop token that is stopped from another thread cancels sync_wait", "[async][sync_wait]") {
  const auto waits = [](int& cancelled) -> task<> { co_await until_cancelled(cancelled); };
  for (int i = 0; i < 100; ++i) {
    int cancelled = 0;
    std::stop_source stop;
    std::jthread stopper([&] { stop.request_stop(); });
    CHECK(kind_thrown_by([&] { sync_wait(waits(cancelled), stop.get_token()); }) == errc::cancelled);
    CHECK(cancelled == 1);
  }
  int cancelled = 0;
  std::stop_source stop;
  std::jthread stopper([&] { stop.request_stop(); });
  CHECK(kind_thrown_by([&] { sync_wait(waits(cancelled), rh::detail::runtime::instance(), stop.get_token()); }) ==
        errc::cancelled);
}

TEST_CASE("threads wait on the one runtime at once: for timers, for each other, for cancellation",
          "[async][sync_wait]") {
  auto& runtime = rh::detail::runtime::instance();
  const auto naps = []() -> task<> {
    for (int i = 0; i < 50; ++i) co_await rh::sleep_for(std::chrono::microseconds(i * 5));
  };
  const auto sends = [](rh::channel<int>& to) -> task<> {
    for (int i = 0; i < 1000; ++i) co_await to.send(i);
    to.close();
  };
  const auto receives = [](rh::channel<int>& from, int& count) -> task<> {
    for (;;) {
      const auto value = co_await from.receive();
      if (!value) co_return;
      ++count;
    }
  };
  const auto times_out = []() -> task<> {
    int cancelled = 0;
    auto within = rh::with_timeout(2ms, until_cancelled(cancelled));
    co_await std::move(within);
  };
  rh::channel<int> c(1);
  int count = 0;
  std::atomic<int> timed_out{0};
  {
    std::vector<std::jthread> threads;
    threads.emplace_back([&] { sync_wait(naps(), runtime); });
    threads.emplace_back([&] { sync_wait(naps(), runtime); });
    threads.emplace_back([&] { sync_wait(sends(c), runtime); });
    threads.emplace_back([&] { sync_wait(receives(c, count), runtime); });
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i)
        timed_out += kind_thrown_by([&] { sync_wait(times_out(), runtime); }) == errc::timed_out;
    });
  }
  CHECK(count == 1000);
  CHECK(timed_out == 20);
}

TEST_CASE("short waits of several threads on the runtime begin and end all the time", "[async][sync_wait]") {
  auto& runtime = rh::detail::runtime::instance();
  const auto echo = [](rh::channel<int>& in, rh::channel<int>& out) -> task<int> {
    co_await out.send(1);
    const auto value = co_await in.receive();
    co_return *value;
  };
  rh::channel<int> ping(0);
  rh::channel<int> pong(0);
  const auto mirror = [](rh::channel<int>& in, rh::channel<int>& out) -> task<int> {
    const auto value = co_await in.receive();
    co_await out.send(*value);
    co_return *value;
  };
  int sum = 0;
  std::jthread other([&] {
    for (int i = 0; i < 1000; ++i) sync_wait(mirror(ping, pong), runtime);
  });
  std::jthread third([&] {
    for (int i = 0; i < 1000; ++i) sync_wait(answer(), runtime);
  });
  for (int i = 0; i < 1000; ++i) sum += sync_wait(echo(pong, ping), runtime);
  CHECK(sum == 1000);
}
