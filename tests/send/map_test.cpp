// SPDX-License-Identifier: Apache-2.0
#include <runhouse/send/map.hpp>

#include <runhouse/runhouse.hpp>

#include "support/catch.hpp"
#include "support/test_cluster.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <numeric>
#include <ranges>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <stop_token>
#include <vector>

using namespace std::chrono_literals;

namespace {

int twice(int x) { return 2 * x; }
int fails_on_odd(int x) {
  if (x % 2 != 0) throw std::out_of_range(std::to_string(x));
  return x;
}
void check_even(int x) {
  if (x % 2 != 0) throw std::out_of_range(std::to_string(x));
}
int dies_on(int bad, int x) {
  if (x == bad) std::raise(SIGKILL);
  return x;
}
std::string repeated(const std::string& text, std::size_t n) {
  std::string all;
  for (std::size_t i = 0; i < n; ++i) all += text;
  return all;
}
int nap(int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
  return milliseconds;
}
int nap_until_stopped(int x, std::stop_token stop) {
  while (!stop.stop_requested()) std::this_thread::sleep_for(1ms);
  return x;
}
std::vector<float> ones(std::size_t n) { return std::vector<float>(n, 1.0f); }

rh::cluster here() {
  static rh::cluster* only = new rh::cluster(test_cluster(2));
  return *only;
}

template <class Holds>
bool in_time(Holds&& holds) {
  for (int i = 0; i < 10'000; ++i) {
    if (holds()) return true;
    std::this_thread::sleep_for(1ms);
  }
  return false;
}

}  // namespace

TEST_CASE("a map of a million keeps its order", "[send][map]") {
  constexpr int n = 1'000'000;
  const std::vector<int> all = here().send<&twice>().map(std::views::iota(0, n)).get();
  REQUIRE(all.size() == static_cast<std::size_t>(n));
  bool in_order = true;
  for (int i = 0; i < n; ++i) in_order = in_order && all[static_cast<std::size_t>(i)] == 2 * i;
  CHECK(in_order);
  CHECK(in_time([] { return here().usage().unfinished_calls == 0; }));
}

TEST_CASE("a map of nothing ends at once", "[send][map]") {
  CHECK(here().send<&twice>().map(std::vector<int>()).get().empty());
  CHECK(here().send<&twice>().map(std::views::iota(0, 0)).as_outcomes().get().empty());
  CHECK_NOTHROW(here().send<&check_even>().map(std::vector<int>()).get());
  auto stream = here().send<&twice>().map_as_completed(std::vector<int>());
  CHECK(!stream.next().get().has_value());
  CHECK(!stream.next().get().has_value());
}

TEST_CASE("a range that can be read once is read once", "[send][map]") {
  std::istringstream in("1 2 3 4");
  CHECK(here().send<&twice>().map(rh::each(std::views::istream<int>(in))).get() == std::vector{2, 4, 6, 8});
}

TEST_CASE("small and large elements and results are mixed", "[send][map]") {
  std::vector<std::string> texts;
  std::vector<std::size_t> counts;
  for (std::size_t i = 0; i < 3000; ++i) {
    texts.push_back(std::string(i % 5 == 0 ? 1500 : 3, static_cast<char>('a' + i % 26)));
    counts.push_back(i % 7 == 0 ? 2000 : 2);
  }
  const auto all = here().send<&repeated>().map(rh::each(texts), rh::each(counts)).get();
  REQUIRE(all.size() == 3000);
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < all.size(); ++i) wrong += all[i] == repeated(texts[i], counts[i]) ? 0 : 1;
  CHECK(wrong == 0);
  const auto big = here().send<&ones>().map(std::vector<std::size_t>(20, 1'000'000)).get();
  CHECK(std::accumulate(big[19].begin(), big[19].end(), 0.0) == 1e6);
}

TEST_CASE("as_outcomes gives every value and every error, by place", "[send][map]") {
  const auto all = here().send<&fails_on_odd>().map(std::views::iota(0, 5000)).as_outcomes().get();
  REQUIRE(all.size() == 5000);
  std::size_t wrong = 0;
  for (int i = 0; i < 5000; ++i) {
    const rh::outcome<int>& one = all[static_cast<std::size_t>(i)];
    try {
      wrong += one.value() == i && i % 2 == 0 && one ? 0 : 1;
    } catch (const std::out_of_range& e) {
      wrong += e.what() == std::to_string(i) && i % 2 == 1 && one.error() ? 0 : 1;
    }
  }
  CHECK(wrong == 0);
  const auto checked = here().send<&check_even>().map(std::vector{1, 2, 3}).as_outcomes().get();
  CHECK(!checked[0]);
  CHECK(checked[1]);
  CHECK_THROWS_AS(checked[2].value(), std::out_of_range);
  CHECK_THROWS_WITH(here().send<&fails_on_odd>().map(std::vector{2, 5, 3}).get(), "5");
}

TEST_CASE("an outcome's value can be moved out", "[send][outcome]") {
  auto all = here().send<&repeated>().map(std::vector<std::string>{"a"}, std::size_t{3}).as_outcomes().get();
  const std::string moved = std::move(all[0]).value();
  CHECK(moved == "aaa");
}

TEST_CASE("map_as_completed gives each once, with its place, errors among them", "[send][stream]") {
  const auto program = []() -> rh::task<> {
    auto stream = here().send<&fails_on_odd>().map_as_completed(std::views::iota(0, 20'000));
    std::vector<bool> seen(20'000);
    std::size_t wrong = 0;
    for (;;) {
      auto next = stream.next();
      std::optional<rh::completed<int>> one = co_await next;
      if (!one) break;
      wrong += seen.at(one->index) ? 1 : 0;
      seen[one->index] = true;
      if (one->index % 2 == 0) {
        wrong += one->outcome.value() == static_cast<int>(one->index) ? 0 : 1;
      } else {
        wrong += one->outcome ? 1 : 0;
      }
    }
    CHECK(wrong == 0);
    CHECK(std::count(seen.begin(), seen.end(), true) == 20'000);
    CHECK(stream.progress().ended() == 20'000);
  };
  rh::sync_wait(program());
}

TEST_CASE("map_as_completed gives a short call before a long one", "[send][stream]") {
  here().send<&nap>().map(std::vector{20, 20}).get();  // both workers are warm
  auto stream = here().send<&nap>().map_as_completed(std::vector{200, 1});
  CHECK(stream.next().get()->index == 1);
  CHECK(stream.next().get()->index == 0);
  CHECK(!stream.next().get());
}

TEST_CASE("who takes no results is not sent more than a window of calls", "[send][stream]") {
  auto stream = here().send<&twice>().map_as_completed(std::views::iota(0, 100'000));
  const rh::progress progress = stream.progress();
  CHECK(in_time([&] { return progress.ended() >= 1000; }));
  std::this_thread::sleep_for(20ms);  // it would go on by now
  CHECK(progress.ended() < 10'000);
  std::size_t count = 0;
  while (stream.next().get()) ++count;
  CHECK(count == 100'000);
}

TEST_CASE("several consumers share a stream", "[send][stream]") {
  auto stream = here().send<&twice>().map_as_completed(std::views::iota(0, 10'000));
  std::atomic<int> sum{0};
  std::vector<std::thread> consumers;
  for (int i = 0; i < 4; ++i) {
    consumers.emplace_back([&] {
      while (auto one = stream.next().get()) sum += one->outcome.value() / 2000;
    });
  }
  for (std::thread& c : consumers) c.join();
  int expected = 0;
  for (int i = 0; i < 10'000; ++i) expected += 2 * i / 2000;
  CHECK(sum == expected);
}

TEST_CASE("to cancel the wait for one leaves the others", "[send][stream]") {
  const auto program = []() -> rh::task<> {
    auto stream = here().send<&nap>().map_as_completed(std::vector{100, 100});
    auto soon = rh::with_timeout(5ms, stream.next());
    bool was_late = false;
    try {
      co_await std::move(soon);
    } catch (const rh::error& e) {
      was_late = e.kind() == rh::errc::timed_out;
    }
    CHECK(was_late);
    auto first = stream.next();
    const auto a = co_await first;
    auto second = stream.next();
    const auto b = co_await second;
    CHECK(a.has_value());
    CHECK(b.has_value());
  };
  rh::sync_wait(program());
}

TEST_CASE("a map and a stream that are dropped stop their calls", "[send][map]") {
  const rh::cluster own = test_cluster(2);
  own.send<&nap>().map(std::vector{20, 20}).get();
  { auto dropped = own.send<&nap_until_stopped>().map(std::views::iota(0, 10'000)); }
  {
    auto dropped = own.send<&nap_until_stopped>().map_as_completed(std::views::iota(0, 10'000));
    std::this_thread::sleep_for(5ms);
  }
  CHECK(in_time([&] { return own.usage().unfinished_calls == 0; }));
  CHECK(own.send<&twice>()(4).get() == 8);
}

TEST_CASE("a worker that dies in a map loses its call alone", "[send][map]") {
  const auto all = here().send<&dies_on>().map(700, rh::each(std::views::iota(0, 1500))).as_outcomes().get();
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < all.size(); ++i) wrong += all[i].has_value() == (i != 700) ? 0 : 1;
  CHECK(wrong == 0);
  try {
    all[700].value();
    FAIL("nothing was thrown");
  } catch (const rh::error& e) {
    CHECK(e.kind() == rh::errc::worker_died);
    CHECK(e.origin().reached == rh::stage::may_have_run);
  }
}
