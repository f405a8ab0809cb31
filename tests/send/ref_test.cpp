// SPDX-License-Identifier: Apache-2.0
#include <runhouse/send/ref.hpp>

#include <runhouse/runhouse.hpp>

#include "support/catch.hpp"
#include "support/test_cluster.hpp"

#include <cereal/types/memory.hpp>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <functional>
#include <memory>
#include <numeric>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <unistd.h>
#include <vector>

using namespace std::chrono_literals;

namespace {

int add(int a, int b) { return a + b; }
int twice(int x) { return 2 * x; }
std::vector<int> up_to(int n) {
  std::vector<int> v(static_cast<std::size_t>(n));
  std::iota(v.begin(), v.end(), 0);
  return v;
}
long sum(const std::vector<int>& v) { return std::accumulate(v.begin(), v.end(), 0L); }
long sum_of_view(std::span<const int> v) { return std::accumulate(v.begin(), v.end(), 0L); }
std::string joined(const std::vector<std::string>& parts, const std::string& between) {
  std::string all;
  for (const std::string& p : parts) all += (all.empty() ? "" : between) + p;
  return all;
}
std::string named(int x) { return "n" + std::to_string(x); }
std::size_t length(std::string_view text) { return text.size(); }
int refuses(int x) { throw std::out_of_range("no " + std::to_string(x)); }
int refuses_from(int bad, int x) { return x >= bad ? refuses(x) : x; }
int dies(int x) {
  std::raise(SIGKILL);
  return x;
}
std::unique_ptr<int> boxed(int x) { return std::make_unique<int>(x); }
int unboxed(std::unique_ptr<int> p) { return *p; }
void nothing() {}
int nap(int milliseconds, int result) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
  return result;
}
int nap_until_stopped(std::stop_token stop) {
  while (!stop.stop_requested()) std::this_thread::sleep_for(1ms);
  return 1;
}
int id() { return getpid(); }

rh::cluster here() {
  static rh::cluster* only = new rh::cluster(test_cluster(2));
  return *only;
}

/// Waits, for up to ten seconds, until it holds.
template <class Holds>
bool in_time(Holds&& holds) {
  for (int i = 0; i < 10'000; ++i) {
    if (holds()) return true;
    std::this_thread::sleep_for(1ms);
  }
  return false;
}

bool nothing_is_left(const rh::cluster& c) {
  return in_time([&] { return c.usage().values == 0 && c.usage().unfinished_calls == 0; });
}

}  // namespace

TEST_CASE("a ref is there at once, and gives its value as often as it is asked", "[send][ref]") {
  auto slow = here().send<&nap>().remote(50, 7);
  CHECK(!slow.is_ready());
  CHECK(slow.get() == 7);
  CHECK(slow.is_ready());
  CHECK(slow.get() == 7);
  const auto copy = slow;
  CHECK(copy.get() == 7);
  CHECK_NOTHROW(here().send<&nothing>().remote().get());
  CHECK(*here().send<&boxed>().remote(3).get() == 3);
}

TEST_CASE("a ref stands for its value in the next call, ready or not", "[send][ref]") {
  auto n = here().send<&nap>().remote(30, 5);
  CHECK(here().send<&add>()(n, 1).get() == 6);
  CHECK(here().send<&add>()(n, n).get() == 10);
  CHECK(here().send<&twice>().remote(here().send<&twice>().remote(here().send<&add>().remote(n, n))).get() == 40);
  CHECK(here().send<&unboxed>()(here().send<&boxed>().remote(9)).get() == 9);
  CHECK(here().send<&unboxed>()(here().send<&boxed>().remote(9)).get() == 9);
}

TEST_CASE("a value is viewed where a span or string_view is taken", "[send][ref]") {
  auto v = here().send<&up_to>().remote(100'000);
  CHECK(here().send<&sum_of_view>()(v).get() == 4'999'950'000);
  CHECK(here().send<&sum>()(v).get() == 4'999'950'000);
  CHECK(here().send<&length>()(here().send<&named>().remote(12)).get() == 3);
}

TEST_CASE("a vector of refs is taken for a vector", "[send][ref]") {
  auto name = here().send<&named>();
  std::vector<rh::ref<std::string>> names;
  for (int i = 0; i < 4; ++i) names.push_back(name.remote(i));
  CHECK(here().send<&joined>()(names, " ").get() == "n0 n1 n2 n3");
  CHECK(here().send<&joined>()(name.map_remote(std::vector{7, 8}), "-").get() == "n7-n8");
  CHECK(here().send<&joined>()(std::vector<rh::ref<std::string>>(), "-").get().empty());
  auto sums = here().send<&add>().starmap_remote(std::vector{std::tuple(1, 2), std::tuple(3, 4)});
  CHECK(here().send<&sum>()(sums).get() == 10);
  auto empty = here().send<&named>().map_remote(std::vector<int>());
  CHECK(empty.empty());
}

TEST_CASE("refs are spread and broadcast by map like values", "[send][ref]") {
  auto numbers = here().send<&twice>().map_remote(std::vector{1, 2, 3});
  CHECK(here().send<&twice>().map(numbers).get() == std::vector{4, 8, 12});
  auto ten = here().put(10);
  CHECK(here().send<&add>().map(rh::each(numbers), ten).get() == std::vector{12, 14, 16});
  CHECK(here().send<&add>().map(ten, rh::each(std::vector{1, 2})).get() == std::vector{11, 12});
}

TEST_CASE("what is put there is a value like any other", "[send][ref]") {
  CHECK(here().put(3).get() == 3);
  auto text = here().put("a text");
  static_assert(std::is_same_v<decltype(text), rh::ref<std::string>>);
  CHECK(here().send<&length>()(text).get() == 6);
  const std::vector<int> numbers = up_to(1000);
  auto view = here().put(std::span(numbers));
  static_assert(std::is_same_v<decltype(view), rh::ref<std::vector<int>>>);
  CHECK(here().send<&sum>()(view).get() == 499'500);
  CHECK(view.get() == numbers);
}

TEST_CASE("several consumers wait for the same value, and each gets it", "[send][ref]") {
  const auto program = []() -> rh::task<int> {
    auto n = here().send<&nap>().remote(30, 5);
    auto a = n.fetch();
    auto b = n.fetch();
    auto c = here().send<&twice>()(n);
    const int x = co_await a;
    const int y = co_await b;
    const int z = co_await c;
    const int again = co_await n;
    co_return x + y + z + again;
  };
  CHECK(rh::sync_wait(program()) == 25);
}

TEST_CASE("what takes the result of a failed call does not start, and says why", "[send][ref]") {
  auto bad = here().send<&refuses>().remote(3);
  auto next = here().send<&add>().remote(1, bad);
  auto last = here().send<&twice>()(next);
  CHECK_THROWS_AS(bad.get(), std::out_of_range);
  try {
    last.get();
    FAIL("nothing was thrown");
  } catch (const std::out_of_range& e) {
    CHECK(std::string(e.what()) == "no 3");
    const auto& details = dynamic_cast<const rh::remote_details&>(e);
    CHECK(details.where().reached == rh::stage::not_started);
    CHECK(details.where().function.find("twice") != std::string::npos);
    CHECK(details.because().find("argument 2, the result of ") == 0);
    CHECK(details.because().find("refuses") != std::string::npos);
  }
}

TEST_CASE("a worker's death reaches all that depend on its call", "[send][ref]") {
  auto next = here().send<&twice>()(here().send<&twice>().remote(here().send<&dies>().remote(3)));
  try {
    next.get();
    FAIL("nothing was thrown");
  } catch (const rh::error& e) {
    CHECK(e.kind() == rh::errc::worker_died);
    CHECK(e.origin().reached == rh::stage::not_started);
    CHECK(std::string(e.what()).find("dies") != std::string::npos);
  }
  CHECK(here().send<&twice>()(4).get() == 8);
}

TEST_CASE("a list with one failed value fails", "[send][ref]") {
  auto numbers = here().send<&refuses_from>().map_remote(2, rh::each(std::vector{0, 1, 2, 3}));
  CHECK_THROWS_WITH(here().send<&sum>()(numbers).get(), "no 2");
  CHECK(numbers[1].get() == 1);
}

TEST_CASE("a ref of another cluster is refused", "[send][ref]") {
  const rh::cluster other = test_cluster(1);
  auto n = other.put(3);
  try {
    const auto never = here().send<&twice>().remote(n);
    FAIL("nothing was thrown");
  } catch (const rh::error& e) {
    CHECK(e.kind() == rh::errc::ref_elsewhere);
    CHECK(std::string(e.what()).find("co_await") != std::string::npos);
  }
}

TEST_CASE("a ref that was moved from says so", "[send][ref]") {
  auto n = here().put(3);
  const auto m = std::move(n);
  CHECK(m.get() == 3);
  for (const auto& use : {std::function<void()>([&] { n.get(); }), std::function<void()>([&] { here().send<&twice>()(n).get(); })}) {
    try {
      use();
      FAIL("nothing was thrown");
    } catch (const rh::error& e) {
      CHECK(e.kind() == rh::errc::already_taken);
    }
  }
}

TEST_CASE("a value that nobody holds any more is not made", "[send][ref]") {
  const rh::cluster own = test_cluster(1);
  const auto pid = own.send<&id>()().get();
  {
    auto dropped = own.send<&nap_until_stopped>().remote();
    std::this_thread::sleep_for(20ms);
  }
  CHECK(own.send<&id>()().get() == pid);  // it was stopped by its token, not killed
  CHECK(nothing_is_left(own));
}

TEST_CASE("an unfinished call holds the values that it takes", "[send][ref]") {
  auto result = [] {
    auto n = here().send<&nap>().remote(20, 4);
    return here().send<&twice>()(n);
  }();
  CHECK(result.get() == 8);
}

TEST_CASE("to cancel a wait for a value leaves the value", "[send][ref]") {
  const auto program = []() -> rh::task<int> {
    auto n = here().send<&nap>().remote(100, 5);
    auto wait = rh::with_timeout(10ms, n.fetch());
    bool was_late = false;
    try {
      co_await std::move(wait);
    } catch (const rh::error& e) {
      was_late = e.kind() == rh::errc::timed_out;
    }
    CHECK(was_late);
    co_return co_await n;
  };
  CHECK(rh::sync_wait(program()) == 5);
}

TEST_CASE("a long chain is made, run and dropped", "[send][ref]") {
  auto next = here().send<&add>();
  rh::ref<int> n = here().put(0);
  for (int i = 0; i < 5000; ++i) n = next.remote(n, 1);
  CHECK(n.get() == 5000);
  for (int i = 0; i < 5000; ++i) n = next.remote(n, 1);
  n = here().put(0);  // in the middle
  CHECK(n.get() == 0);
  CHECK(here().send<&twice>()(21).get() == 42);
}

TEST_CASE("at the end nothing is left", "[send][ref]") {
  const rh::cluster own = test_cluster(2);
  {
    auto v = own.send<&up_to>().remote(1000);
    auto all = own.send<&add>().map_remote(rh::each(std::vector{1, 2, 3}), 1);
    auto total = own.send<&sum>().remote(all);
    CHECK(own.usage().values == 5);
    CHECK(total.get() == 9);
    CHECK(own.send<&sum>()(v).get() == 499'500);
    auto failed = own.send<&refuses>().remote(1);
    auto after = own.send<&twice>().remote(failed);
    CHECK_THROWS_AS(after.get(), std::out_of_range);
  }
  CHECK(nothing_is_left(own));
}
