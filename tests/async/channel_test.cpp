// SPDX-License-Identifier: Apache-2.0
#include <runhouse/async/channel.hpp>

#include "async/support.hpp"
#include "support/catch.hpp"
#include "support/manual_driver.hpp"

#include <runhouse/async/scope.hpp>
#include <runhouse/async/sync_wait.hpp>
#include <runhouse/async/when_all.hpp>
#include <runhouse/async/when_any.hpp>

#include <memory>
#include <numeric>
#include <stop_token>
#include <thread>
#include <vector>

using rh::channel;
using rh::errc;
using rh::scope;
using rh::sync_wait;
using rh::task;
using rh::test::counted_object;
using rh::test::kind_thrown_by;
using rh::test::manual_driver;
using rh::test::yields;

namespace {

task<> send_all(channel<int>& to, int first, int count) {
  for (int i = first; i < first + count; ++i) co_await to.send(i);
}
task<> send_and_close(channel<int>& to, int count) {
  co_await send_all(to, 0, count);
  to.close();
}
task<> receive_until_closed(channel<int>& from, std::vector<int>& got) {
  for (;;) {
    const auto value = co_await from.receive();
    if (!value) co_return;
    got.push_back(*value);
  }
}
std::vector<int> numbers(int count) {
  std::vector<int> all(static_cast<std::size_t>(count));
  std::iota(all.begin(), all.end(), 0);
  return all;
}
/// How it ended: an errc, or 0 for no error.
task<int> end_of_send(channel<int>& to, int value) {
  try {
    co_await to.send(value);
  } catch (const rh::error& e) {
    co_return static_cast<int>(e.kind());
  }
  co_return 0;
}
task<int> end_of_receive(channel<int>& from) {
  try {
    const auto value = co_await from.receive();
    co_return value ? *value : -1;
  } catch (const rh::error& e) {
    co_return static_cast<int>(e.kind());
  }
}

}  // namespace

TEST_CASE("a channel gives every value once and in order, whatever its capacity", "[async][channel]") {
  const auto root = [](std::size_t capacity, std::vector<int>& got) -> task<> {
    channel<int> c(capacity);
    auto both = rh::when_all(send_and_close(c, 100), receive_until_closed(c, got));
    co_await std::move(both);
    got.push_back(100);
    auto reversed = rh::when_all(receive_until_closed(c, got), yields(1));  // closed and empty
    co_await std::move(reversed);
  };
  manual_driver d;
  for (const std::size_t capacity : {0u, 1u, 7u, 1000u}) {
    std::vector<int> got;
    sync_wait(root(capacity, got), d);
    CHECK(got == numbers(101));
  }
}

TEST_CASE("a send waits for room, and with capacity 0 for a receive", "[async][channel]") {
  const auto root = [](std::size_t capacity, std::vector<int>& sent) -> task<> {
    const auto sends = [](channel<int>& to, std::vector<int>& notes) -> task<> {
      for (int i = 0; i < 5; ++i) {
        co_await to.send(i);
        notes.push_back(i);
      }
    };
    channel<int> c(capacity);
    scope work;
    work.spawn(sends(c, sent));
    co_await yields(20);
    CHECK(sent.size() == capacity);
    const auto first = co_await c.receive();
    CHECK(first == 0);
    co_await yields(20);
    CHECK(sent.size() == capacity + 1);
    for (int i = 1; i < 5; ++i) {
      const auto next = co_await c.receive();
      CHECK(next == i);
    }
    co_await work.join();
  };
  manual_driver d;
  for (const std::size_t capacity : {0u, 1u, 3u}) {
    std::vector<int> sent;
    sync_wait(root(capacity, sent), d);
  }
}

TEST_CASE("several producers and consumers of one task share a channel", "[async][channel]") {
  const auto root = [](std::size_t capacity, std::vector<int>& got) -> task<> {
    channel<int> c(capacity);
    scope producers;
    scope consumers;
    for (int i = 0; i < 3; ++i) consumers.spawn(receive_until_closed(c, got));
    for (int i = 0; i < 4; ++i) producers.spawn(send_all(c, 50 * i, 50));
    co_await producers.join();
    c.close();
    co_await consumers.join();
  };
  manual_driver d;
  for (const std::size_t capacity : {0u, 1u, 5u}) {
    std::vector<int> got;
    sync_wait(root(capacity, got), d);
    std::sort(got.begin(), got.end());
    CHECK(got == numbers(200));
  }
}

TEST_CASE("close ends receivers with nothing and senders with errc::closed, and keeps what was sent",
          "[async][channel]") {
  const auto receivers = []() -> task<> {
    const auto closes = [](channel<int>& c) -> task<> {
      c.close();
      c.close();
      co_return;
    };
    channel<int> c(0);
    auto all = rh::when_all(end_of_receive(c), end_of_receive(c), closes(c));
    const auto ends = co_await std::move(all);
    CHECK(std::get<0>(ends) == -1);
    CHECK(std::get<1>(ends) == -1);
    channel<int> full(1);
    co_await full.send(5);
    auto senders = rh::when_all(end_of_send(full, 6), end_of_send(full, 7), closes(full));
    const auto refused = co_await std::move(senders);
    CHECK(std::get<0>(refused) == static_cast<int>(errc::closed));
    CHECK(std::get<1>(refused) == static_cast<int>(errc::closed));
    const int later = co_await end_of_send(full, 8);
    CHECK(later == static_cast<int>(errc::closed));
    const int kept = co_await end_of_receive(full);
    CHECK(kept == 5);
    const int end = co_await end_of_receive(full);
    CHECK(end == -1);
  };
  manual_driver d;
  sync_wait(receivers(), d);
}

TEST_CASE("a cancelled receive takes nothing, a cancelled send leaves nothing", "[async][channel]") {
  const auto root = []() -> task<> {
    channel<int> c(0);
    auto race = rh::when_any(end_of_receive(c), yields(3));
    const auto won = co_await std::move(race);
    CHECK(won.index() == 1);
    auto other = rh::when_any(rh::as_task(c.send(1)), yields(3));
    const auto also = co_await std::move(other);
    CHECK(also.index() == 1);
    auto pair = rh::when_all(end_of_send(c, 2), end_of_receive(c));
    const auto met = co_await std::move(pair);
    CHECK(std::get<0>(met) == 0);
    CHECK(std::get<1>(met) == 2);
  };
  const auto cancelled = [](bool sends) -> task<> {
    channel<int> c(0);
    if (sends) co_await c.send(1);
    const auto value = co_await c.receive();
    static_cast<void>(value);
  };
  manual_driver d;
  sync_wait(root(), d);
  std::stop_source stop;
  stop.request_stop();
  CHECK(kind_thrown_by([&] { sync_wait(cancelled(true), d, stop.get_token()); }) == errc::cancelled);
  CHECK(kind_thrown_by([&] { sync_wait(cancelled(false), d, stop.get_token()); }) == errc::cancelled);
}

TEST_CASE("one of many waiting receivers can be cancelled without touching the others", "[async][channel]") {
  const auto root = [](std::vector<int>& got) -> task<> {
    const auto limited = [](channel<int>& c) -> task<> {
      auto race = rh::when_any(end_of_receive(c), yields(5));
      const auto won = co_await std::move(race);
      CHECK(won.index() == 1);
    };
    channel<int> c(0);
    scope work;
    work.spawn(receive_until_closed(c, got));
    work.spawn(limited(c));
    work.spawn(receive_until_closed(c, got));
    co_await yields(20);
    co_await c.send(1);
    co_await c.send(2);
    co_await c.send(3);
    c.close();
    co_await work.join();
  };
  manual_driver d;
  std::vector<int> got;
  sync_wait(root(got), d);
  std::sort(got.begin(), got.end());
  CHECK(got == std::vector{1, 2, 3});
}

TEST_CASE("twenty thousand waiting receivers are cancelled in no time", "[async][channel]") {
  const auto root = []() -> task<> {
    const auto waits = [](channel<int>& c) -> task<> {
      const auto value = co_await c.receive();
      static_cast<void>(value);
    };
    channel<int> c(0);
    scope work;
    for (int i = 0; i < 20'000; ++i) work.spawn(waits(c));
    co_await yields(1);
    work.cancel();
    co_await work.join();
  };
  manual_driver d;
  CHECK(kind_thrown_by([&] { sync_wait(root(), d); }) == errc::cancelled);
}

TEST_CASE("a channel carries move-only values, and destroys each once", "[async][channel]") {
  const auto root = [](std::size_t capacity) -> task<int> {
    const auto sends = [](channel<std::unique_ptr<counted_object>>& to) -> task<> {
      for (int i = 0; i < 10; ++i) {
        auto box = std::make_unique<counted_object>(i);
        co_await to.send(std::move(box));
      }
    };
    const auto receives = [](channel<std::unique_ptr<counted_object>>& from, int& sum) -> task<> {
      for (int i = 0; i < 8; ++i) {
        const auto box = co_await from.receive();
        sum += (*box)->value;
      }
      from.close();
    };
    const auto survives = [](auto t) -> task<> {
      try {
        co_await std::move(t);
      } catch (const rh::error&) {
      }
    };
    int sum = 0;
    channel<std::unique_ptr<counted_object>> c(capacity);
    auto both = rh::when_all(survives(sends(c)), receives(c, sum));
    co_await std::move(both);
    channel<counted_object> plain(capacity + 1);
    counted_object named(3);
    co_await plain.send(named);
    const auto back = co_await plain.receive();
    co_return sum + back->value;
  };
  manual_driver d;
  for (const std::size_t capacity : {0u, 1u, 2u}) CHECK(sync_wait(root(capacity), d) == 31);
  CHECK(counted_object::alive == 0);
  CHECK(counted_object::misused == 0);
}

TEST_CASE("a channel connects root tasks on different threads", "[async][channel]") {
  constexpr int producers = 3;
  constexpr int consumers = 3;
  constexpr int count = 2000;
  for (const std::size_t capacity : {0u, 1u, 16u}) {
    channel<int> c(capacity);
    std::vector<std::vector<int>> got(consumers);
    {
      std::vector<std::jthread> receiving;
      for (auto& mine : got) receiving.emplace_back([&] { sync_wait(receive_until_closed(c, mine)); });
      std::vector<std::jthread> sending;
      for (int i = 0; i < producers; ++i) sending.emplace_back([&c, i] { sync_wait(send_all(c, i * count, count)); });
      sending.clear();
      c.close();
    }
    std::vector<int> all;
    for (const auto& part : got) {
      for (int p = 0; p < producers; ++p) {  // of one producer, each consumer sees an ascending part
        int last = -1;
        for (const int v : part) {
          if (v / count != p) continue;
          if (v <= last) FAIL("out of order");
          last = v;
        }
      }
      all.insert(all.end(), part.begin(), part.end());
    }
    std::sort(all.begin(), all.end());
    CHECK(all == numbers(producers * count));
  }
}
