// SPDX-License-Identifier: Apache-2.0
#include <runhouse/async/co_spawn.hpp>

#include "async/support.hpp"
#include "support/catch.hpp"

#include <runhouse/async/channel.hpp>
#include <runhouse/async/scope.hpp>
#include <runhouse/async/sync_wait.hpp>
#include <runhouse/async/timer.hpp>
#include <runhouse/async/when_all.hpp>

#include <asio/awaitable.hpp>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/thread_pool.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/use_future.hpp>

#include <atomic>
#include <chrono>
#include <exception>
#include <future>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using rh::errc;
using rh::task;
using rh::test::counted_object;
using rh::test::kind_thrown_by;
using rh::test::until_cancelled;
using rh::test::yield_now;
using rh::test::yields;

namespace {

task<int> answer() {
  co_await yield_now();
  co_return 42;
}
task<int> failing() {
  co_await yield_now();
  throw std::out_of_range("failed");
}
std::optional<errc> kind_in(const std::exception_ptr& e) {
  return kind_thrown_by([&] {
    if (e) std::rethrow_exception(e);
  });
}

}  // namespace

TEST_CASE("co_spawn runs a task on an io_context and calls back there, never before it returns", "[async][co_spawn]") {
  asio::io_context io;
  std::vector<int> notes;
  const auto root = [](std::vector<int>& n) -> task<int> {
    n.push_back(2);
    co_return 7;
  };
  rh::co_spawn(io, root(notes), [&](std::exception_ptr e, int value) {
    CHECK_FALSE(e);
    CHECK(rh::run_queue::current() == nullptr);  // the handler is no part of the task
    notes.push_back(value);
  });
  notes.push_back(1);
  io.run();
  CHECK(notes == std::vector{1, 2, 7});
}

TEST_CASE("co_spawn gives errors, void and move-only values to callbacks and futures", "[async][co_spawn]") {
  const auto boxed = []() -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(3); };
  asio::io_context io;
  int called = 0;
  rh::co_spawn(io, failing(), [&](std::exception_ptr e, int) {
    ++called;
    CHECK_THROWS_AS(std::rethrow_exception(e), std::out_of_range);
  });
  rh::co_spawn(io, yields(3), [&](std::exception_ptr e) {
    ++called;
    CHECK_FALSE(e);
  });
  auto counts = [&called, only = std::make_unique<int>(1)](std::exception_ptr, std::unique_ptr<int> box) {
    called += *only;
    CHECK(*box == 3);
  };
  rh::co_spawn(io.get_executor(), boxed(), std::move(counts));
  rh::co_spawn(io, failing(), asio::detached);
  std::future<int> value = rh::co_spawn(io, answer(), asio::use_future);
  std::future<int> error = rh::co_spawn(io, failing(), asio::use_future);
  std::future<void> nothing = rh::co_spawn(io, yields(1), asio::use_future);
  io.run();
  CHECK(called == 3);
  CHECK(value.get() == 42);
  CHECK_THROWS_AS(error.get(), std::out_of_range);
  CHECK_NOTHROW(nothing.get());
}

TEST_CASE("an asio::awaitable can await a task through co_spawn", "[async][co_spawn]") {
  const auto theirs = [](int& result) -> asio::awaitable<void> {
    const auto executor = co_await asio::this_coro::executor;
    result = co_await rh::co_spawn(executor, answer(), asio::use_awaitable);
    try {
      const int never = co_await rh::co_spawn(executor, failing(), asio::use_awaitable);
      result += never;
    } catch (const std::out_of_range&) {
      ++result;
    }
    co_await rh::co_spawn(executor, yields(1), asio::use_awaitable);
  };
  asio::io_context io;
  int result = 0;
  asio::co_spawn(io, theirs(result), asio::detached);
  io.run();
  CHECK(result == 43);
}

TEST_CASE("the handler of co_spawn runs on its associated executor, which has work until then", "[async][co_spawn]") {
  asio::io_context io;
  asio::io_context other;
  int called = 0;
  rh::co_spawn(io, answer(), asio::bind_executor(other.get_executor(), [&](std::exception_ptr, int) { ++called; }));
  CHECK(other.poll() == 0);
  CHECK_FALSE(other.stopped());
  io.run();
  CHECK(called == 0);
  other.run();
  CHECK(called == 1);
}

TEST_CASE("a task on an io_context uses that context's timers, and everything else of async", "[async][co_spawn]") {
  const auto root = []() -> task<int> {
    const auto nap = [](int us) -> task<int> {
      co_await rh::sleep_for(std::chrono::microseconds(us));
      co_return us;
    };
    const auto before = std::chrono::steady_clock::now();
    auto both = rh::when_all(nap(3000), nap(1000), nap(2000));
    const auto values = co_await std::move(both);
    CHECK(std::chrono::steady_clock::now() - before >= 3ms);
    int cancelled = 0;
    int timed_out = 0;
    try {
      auto within = rh::with_timeout(1ms, until_cancelled(cancelled));
      co_await std::move(within);
    } catch (const rh::error& e) {
      timed_out = e.kind() == errc::timed_out;
    }
    rh::channel<int> c(0);
    const auto sends = [](rh::channel<int>& to) -> task<> { co_await to.send(5); };
    rh::scope work;
    work.spawn(sends(c));
    const auto five = co_await c.receive();
    co_await work.join();
    co_return std::get<0>(values) + cancelled + timed_out + *five;
  };
  asio::io_context io;
  auto result = rh::co_spawn(io, root(), asio::use_future);
  io.run();
  CHECK(result.get() == 3007);
}

TEST_CASE("an io_context has work while a task on it waits for another thread", "[async][co_spawn]") {
  const auto root = [](rh::channel<int>& from) -> task<int> {
    int sum = 0;
    for (;;) {
      const auto value = co_await from.receive();
      if (!value) co_return sum;
      sum += *value;
    }
  };
  const auto sends = [](rh::channel<int>& to) -> task<> {
    for (int i = 0; i < 2000; ++i) co_await to.send(1);
    to.close();
  };
  rh::channel<int> c(2);
  asio::io_context io;
  auto result = rh::co_spawn(io, root(c), asio::use_future);
  std::jthread other([&] { rh::sync_wait(sends(c)); });
  io.run();
  CHECK(result.get() == 2000);
}

TEST_CASE("on many threads of a pool, a task's coroutines run one at a time", "[async][co_spawn]") {
  const auto root = [](rh::channel<int>& from, int& inside, int& overlaps) -> task<int> {
    const auto child = [](rh::channel<int>& c, int& in, int& over) -> task<int> {
      int count = 0;
      for (;;) {
        const auto value = co_await c.receive();
        over += in != 0;
        ++in;
        count += value.has_value();
        --in;
        if (!value) co_return count;
        co_await rh::sleep_for(1us);
      }
    };
    auto both = rh::when_all(child(from, inside, overlaps), child(from, inside, overlaps));
    const auto counts = co_await std::move(both);
    co_return std::get<0>(counts) + std::get<1>(counts);
  };
  const auto sends = [](rh::channel<int>& to, int count) -> task<> {
    for (int i = 0; i < count; ++i) co_await to.send(1);
  };
  asio::thread_pool pool(4);
  rh::channel<int> c(0);
  int inside = 0;
  int overlaps = 0;
  auto result = rh::co_spawn(pool, root(c, inside, overlaps), asio::use_future);
  std::vector<std::future<void>> senders;
  for (int i = 0; i < 3; ++i) senders.push_back(rh::co_spawn(pool, sends(c, 300), asio::use_future));
  for (auto& sender : senders) sender.get();
  c.close();
  CHECK(result.get() == 900);
  CHECK(overlaps == 0);
  pool.join();
}

TEST_CASE("a blocking wait inside a task on an io_context is errc::would_deadlock", "[async][co_spawn]") {
  const auto root = []() -> task<int> {
    co_return kind_thrown_by([] { rh::sync_wait(answer()); }) == errc::would_deadlock;
  };
  asio::io_context io;
  auto result = rh::co_spawn(io, root(), asio::use_future);
  io.run();
  CHECK(result.get() == 1);
}

TEST_CASE("a task that is always ready leaves an io_context its other work", "[async][co_spawn]") {
  const auto root = [](bool& stop) -> task<> {
    while (!stop) co_await yield_now();
  };
  asio::io_context io;
  bool stop = false;
  rh::co_spawn(io, root(stop), asio::detached);
  asio::steady_timer timer(io, 1ms);
  timer.async_wait([&](std::error_code) { stop = true; });
  io.run();
  CHECK(stop);
}

TEST_CASE("a cancellation slot stops the task of co_spawn, and errc::cancelled is delivered", "[async][co_spawn]") {
  asio::io_context io;
  asio::cancellation_signal signal;
  int cancelled = 0;
  std::optional<errc> kind;
  const auto handler = [&](std::exception_ptr e) { kind = kind_in(e); };
  rh::co_spawn(io, until_cancelled(cancelled), asio::bind_cancellation_slot(signal.slot(), handler));
  io.poll();
  signal.emit(asio::cancellation_type::total);  // promises what a task cannot
  io.poll();
  CHECK(cancelled == 0);
  signal.emit(asio::cancellation_type::terminal);
  io.run();
  CHECK(cancelled == 1);
  CHECK(kind == errc::cancelled);
  signal.emit(asio::cancellation_type::terminal);  // too late, and harmless
}

TEST_CASE("cancelling an asio::awaitable reaches the task that it awaits", "[async][co_spawn]") {
  const auto theirs = [](int& cancelled) -> asio::awaitable<void> {
    const auto executor = co_await asio::this_coro::executor;
    co_await rh::co_spawn(executor, until_cancelled(cancelled), asio::use_awaitable);
  };
  asio::io_context io;
  asio::cancellation_signal signal;
  int cancelled = 0;
  asio::co_spawn(io, theirs(cancelled), asio::bind_cancellation_slot(signal.slot(), asio::detached));
  io.poll();
  signal.emit(asio::cancellation_type::terminal);
  io.run();
  CHECK(cancelled == 1);
}

TEST_CASE("a task and its objects are gone when the handler of co_spawn was called", "[async][co_spawn]") {
  const auto root = [](counted_object o) -> task<counted_object> {
    co_await yield_now();
    co_return o;
  };
  {
    asio::io_context io;
    int value = 0;
    rh::co_spawn(io, root(counted_object(3)), [&](std::exception_ptr, counted_object got) { value = got.value; });
    auto never_run = std::make_unique<asio::io_context>();
    const auto lazy = rh::co_spawn(*never_run, root(counted_object(4)), asio::use_awaitable);  // not even begun
    io.run();
    CHECK(value == 3);
  }
  CHECK(counted_object::alive == 0);
  CHECK(counted_object::misused == 0);
}

TEST_CASE("an io_context may go as soon as it ran out of work, while other threads still post", "[async][co_spawn]") {
  const auto root = [](rh::channel<int>& from) -> task<> {
    const auto value = co_await from.receive();
    static_cast<void>(value);
  };
  const auto sends = [](rh::channel<int>& to) -> task<> { co_await to.send(1); };
  for (int i = 0; i < 1000; ++i) {
    rh::channel<int> c(0);
    std::jthread other([&] { rh::sync_wait(sends(c)); });
    asio::io_context io;
    rh::co_spawn(io, root(c), asio::detached);
    io.run();
  }
}
