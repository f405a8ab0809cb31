// SPDX-License-Identifier: Apache-2.0
#include <runhouse/send/send.hpp>

#include <runhouse/runhouse.hpp>

#include "support/catch.hpp"
#include "support/test_cluster.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <random>
#include <ranges>
#include <span>
#include <stop_token>
#include <thread>
#include <unistd.h>
#include <variant>
#include <vector>

using namespace std::chrono_literals;

namespace {

int plus_one(int x) { return x + 1; }
int nap_microseconds(int n) {
  std::this_thread::sleep_for(std::chrono::microseconds(n));
  return n;
}
int wait_for_stop(std::stop_token stop) {
  while (!stop.stop_requested()) std::this_thread::sleep_for(100us);
  return 1;
}
long sum(const std::vector<int>& v) {
  long s = 0;
  for (const int x : v) s += x;
  return s;
}
std::size_t size_of(std::span<const char> v) { return v.size(); }
rh::task<int> naps(int milliseconds) {
  co_await rh::sleep_for(std::chrono::milliseconds(milliseconds));
  co_return milliseconds;
}
int own_pid() { return getpid(); }

template <class Holds>
bool in_time(Holds&& holds) {
  for (int i = 0; i < 20'000; ++i) {
    if (holds()) return true;
    std::this_thread::sleep_for(1ms);
  }
  return false;
}

/// Calls of every kind, which are dropped, cancelled or awaited at random times.
class storm {
 public:
  storm(rh::cluster on, std::uint32_t seed) : on_(std::move(on)), chance_(seed) {}

  rh::task<> one() {
    // Some have the time that it takes.
    const auto patience = std::chrono::microseconds(chance_() % 50 == 0 ? 50'000 : chance_() % 400);
    switch (chance_() % 9) {
      case 0: return within(patience, on_.send<&plus_one>()(1));
      case 1: return within(patience, on_.send<&nap_microseconds>()(200));
      case 2: return within(patience, on_.send<&wait_for_stop>()());
      case 3: return within(patience, chain());
      case 4: return within(patience, on_.send<&plus_one>().map(std::views::iota(0, 50)));
      case 5: return within(patience, on_.send<&sum>()(on_.send<&plus_one>().map_remote(std::views::iota(0, 20))));
      case 6: return within(patience, on_.send<&nap_microseconds>().enqueue(50));
      case 7: return within(patience, on_.send<&naps>()(1));
      default: return within(patience, on_.send<&size_of>()(std::vector<char>(chance_() % 3 == 0 ? 2'000'000 : 20'000)));
    }
  }

 private:
  rh::call<int> chain() {
    auto f = on_.send<&plus_one>();
    auto n = f.remote(0);
    for (int i = 0; i < 10; ++i) n = f.remote(n);
    return f(n);
  }
  template <class Call>
  rh::task<> within(std::chrono::microseconds patience, Call call) {
    try {
      auto limited = rh::with_timeout(patience, std::move(call));
      co_await std::move(limited);
      ++ended_;
    } catch (const rh::error& e) {
      ++(e.kind() == rh::errc::timed_out ? late_ : wrong_);
    }
  }

  rh::cluster on_;
  std::mt19937 chance_;

 public:
  int ended_ = 0;
  int late_ = 0;
  int wrong_ = 0;
};

}  // namespace

TEST_CASE("ten thousand calls of every kind, cancelled at random times, have one outcome each", "[send][cancel_storm]") {
  const rh::cluster own = test_cluster(2);
  storm s(own, 20261124);
  constexpr int calls = 10'000;
  const auto program = [](storm* all) -> rh::task<> {
    for (int i = 0; i < calls; i += 20) {
      std::vector<rh::task<>> some;
      for (int k = 0; k < 20; ++k) some.push_back(all->one());
      auto together = rh::when_all(std::move(some));
      co_await std::move(together);
    }
  };
  rh::sync_wait(program(&s));
  CHECK(s.wrong_ == 0);
  CHECK(s.ended_ + s.late_ == calls);
  CHECK(s.ended_ > 0);
  CHECK(s.late_ > 0);
  CHECK(in_time([&] { return own.usage().unfinished_calls == 0 && own.usage().values == 0; }));
  CHECK(own.usage().value_bytes == 0);
  CHECK(own.send<&plus_one>().map(std::views::iota(0, 1000)).get().back() == 1000);
}

TEST_CASE("calls that are dropped at once never start, or are stopped, and the workers live on", "[send][cancel_storm]") {
  const rh::cluster own = test_cluster(2);
  std::vector<int> before = own.send<&own_pid>().repeat(64).get();
  for (int i = 0; i < 2000; ++i) {
    auto a = own.send<&wait_for_stop>()();
    auto b = own.send<&plus_one>().remote(own.send<&wait_for_stop>().remote());
    if (i % 50 == 0) std::this_thread::sleep_for(1ms);
  }
  CHECK(in_time([&] { return own.usage().unfinished_calls == 0; }));
  const std::vector<int> after = own.send<&own_pid>().repeat(64).get();
  std::size_t new_workers = 0;
  for (const int pid : after) new_workers += std::ranges::count(before, pid) == 0 && before.front() != before.back() ? 1 : 0;
  CHECK(new_workers == 0);
}
