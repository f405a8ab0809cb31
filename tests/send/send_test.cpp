// SPDX-License-Identifier: Apache-2.0
#include <runhouse/send/send.hpp>

#include <runhouse/runhouse.hpp>

#include "support/catch.hpp"
#include "support/test_cluster.hpp"

#include <cereal/types/map.hpp>
#include <cereal/types/memory.hpp>

#include <chrono>
#include <complex>
#include <cstdio>
#include <map>
#include <memory>
#include <new>
#include <numeric>
#include <optional>
#include <ranges>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <unistd.h>
#include <vector>

namespace physics {
struct diverged : std::runtime_error {
  using std::runtime_error::runtime_error;
};
}  // namespace physics

namespace {

int add(int a, int b) { return a + b; }
double mean(std::span<const double> v) { return std::accumulate(v.begin(), v.end(), 0.0) / static_cast<double>(v.size()); }
std::string shout(std::string_view text) { return std::string(text) + "!"; }
void nothing() {}
std::unique_ptr<int> boxed(std::unique_ptr<int> p) { return std::make_unique<int>(*p + 1); }
std::map<std::string, std::vector<int>> count(const std::vector<std::string>& words) {
  std::map<std::string, std::vector<int>> places;
  for (int i = 0; const std::string& w : words) places[w].push_back(i++);
  return places;
}
std::string joined(std::string&& a, const std::optional<int>& b, std::tuple<int, double> c) {
  std::ostringstream out;
  out << a << b.value_or(-1) << std::get<0>(c) << std::get<1>(c);
  return out.str();
}
int throws(int kind) {
  switch (kind) {
    case 0: throw std::invalid_argument("no such thing");
    case 1: throw std::out_of_range("17");
    case 2: throw physics::diverged("at step 3");
    case 3: throw 42;
    case 4: throw std::bad_alloc();
    default: throw std::runtime_error("plain");
  }
}
int fails_at(int bad, int x) {
  if (x >= bad) throw std::invalid_argument(std::to_string(x));
  return x;
}
int nested(int x) { return test_cluster().send<&add>()(x, 1).get(); }

struct scaled {
  double factor;
  std::vector<double> offsets;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(factor, offsets);
  }
  double operator()(double x) const { return x * factor + offsets.at(0); }
};

struct fails_to_save {
  int x = 0;
  template <class Archive>
  void save(Archive&) const {
    throw std::runtime_error("not today");
  }
  template <class Archive>
  void load(Archive& ar) {
    ar(x);
  }
};
int take(const fails_to_save& f) { return f.x; }

rh::cluster here() {
  static rh::cluster* only = new rh::cluster(test_cluster(2));  // warm for all tests, and there until the program ends
  return *only;
}

}  // namespace

TEST_CASE("a call runs the function with its arguments and gives its result", "[send][send]") {
  CHECK(here().send<&add>()(2, 3).get() == 5);
  CHECK(here().send<&mean>()(std::vector<double>{1, 2, 6}).get() == 3);
  CHECK(here().send<&mean>()(std::vector<double>(100'000, 2.5)).get() == 2.5);
  CHECK(here().send<&shout>()("hey").get() == "hey!");
  CHECK_NOTHROW(here().send<&nothing>()().get());
  CHECK(*here().send<&boxed>()(std::make_unique<int>(4)).get() == 5);
  CHECK(here().send<&joined>()("a", 7, std::tuple(1, 2.5)).get() == "a712.5");
  const auto places = here().send<&count>()(std::vector<std::string>{"x", "y", "x"}).get();
  CHECK(places.at("x") == std::vector<int>{0, 2});
}

TEST_CASE("arguments are converted to the parameters", "[send][send]") {
  CHECK(here().send<&add>()(2.9, short{3}).get() == 5);
  const char* text = "from a pointer";
  CHECK(here().send<&shout>()(text).get() == "from a pointer!");
  const double raw[] = {1, 3};
  CHECK(here().send<&mean>()(raw).get() == 2);
}

TEST_CASE("lambdas and function objects are sent, the latter with their state", "[send][send]") {
  rh::send square([](double x) { return x * x; }, here());
  CHECK(square(3).get() == 9);
  rh::send scale(scaled{2, {0.5}}, here());
  CHECK(scale(4).get() == 8.5);
  rh::send stopped([](int x, std::stop_token stop) { return stop.stop_requested() ? -1 : x; }, here());
  CHECK(stopped(6).get() == 6);
}

TEST_CASE("standard exceptions arrive as their own type, with the details", "[send][call]") {
  auto f = here().send<&throws>();
  CHECK_THROWS_AS(f(0).get(), std::invalid_argument);
  CHECK_THROWS_WITH(f(0).get(), "no such thing");
  CHECK_THROWS_AS(f(1).get(), std::out_of_range);
  CHECK_THROWS_AS(f(4).get(), std::bad_alloc);
  CHECK_THROWS_AS(f(9).get(), std::runtime_error);
  try {
    f(1).get();
    FAIL("nothing was thrown");
  } catch (const rh::remote_details& e) {
    CHECK(e.type_name() == "std::out_of_range");
    CHECK(e.where().reached == rh::stage::ran);
    CHECK(e.where().function.find("throws") != std::string::npos);
  }
}

TEST_CASE("other exceptions arrive as remote_error with their type's name", "[send][call]") {
  auto f = here().send<&throws>();
  try {
    f(2).get();
    FAIL("nothing was thrown");
  } catch (const rh::remote_error& e) {
    CHECK(e.type_name() == "physics::diverged");
    CHECK(e.remote_what() == "at step 3");
    CHECK(e.code() == rh::errc::remote_exception);
  }
  try {
    f(3).get();
    FAIL("nothing was thrown");
  } catch (const rh::remote_error& e) {
    CHECK(e.type_name() == "int");
  }
}

TEST_CASE("an argument that cannot be serialized fails before anything is sent", "[send][send]") {
  auto f = here().send<&take>();
  CHECK_THROWS_AS(f(fails_to_save{}), rh::error);
  CHECK(here().send<&add>()(1, 1).get() == 2);
}

TEST_CASE("a result is taken once", "[send][call]") {
  auto call = here().send<&add>()(1, 2);
  CHECK(call.get() == 3);
  try {
    call.get();
    FAIL("nothing was thrown");
  } catch (const rh::error& e) {
    CHECK(e.kind() == rh::errc::already_taken);
  }
}

TEST_CASE("a blocking get inside a task is refused, not a deadlock", "[send][call]") {
  const auto blocking = []() -> rh::task<> {
    auto call = here().send<&add>()(1, 2);
    call.get();
    co_return;
  };
  try {
    rh::sync_wait(blocking());
    FAIL("nothing was thrown");
  } catch (const rh::error& e) {
    CHECK(e.kind() == rh::errc::would_deadlock);
  }
}

TEST_CASE("a send inside a worker is refused", "[send][send]") {
  try {
    here().send<&nested>()(1).get();
    FAIL("nothing was thrown");
  } catch (const rh::error& e) {
    CHECK(e.kind() == rh::errc::nested);
  }
}

TEST_CASE("map gives results in the order of the input", "[send][map]") {
  auto f = here().send<&add>();
  SECTION("a first argument that is a range needs no mark") {
    const std::vector<int> xs{5, 6, 7};
    CHECK(f.map(xs, 10).get() == std::vector<int>{15, 16, 17});
  }
  SECTION("marked ranges are zipped, the rest is broadcast") {
    CHECK(f.map(1, rh::each(std::views::iota(0, 4))).get() == std::vector<int>{1, 2, 3, 4});
    const std::vector<int> a{1, 2};
    const std::vector<int> b{10, 20};
    CHECK(f.map(rh::each(a), rh::each(b)).get() == std::vector<int>{11, 22});
  }
  SECTION("a range without elements gives none") {
    CHECK(f.map(std::vector<int>(), 1).get().empty());
  }
  SECTION("a one-pass range") {
    std::istringstream in("1 2 3");
    CHECK(f.map(rh::each(std::views::istream<int>(in)), 1).get() == std::vector<int>{2, 3, 4});
  }
  SECTION("ten thousand elements") {
    const auto result = f.map(rh::each(std::views::iota(0, 10'000)), 1).get();
    REQUIRE(result.size() == 10'000);
    CHECK(result[9'999] == 10'000);
  }
  SECTION("a function without result") {
    rh::send silent([](int) {}, here());
    CHECK_NOTHROW(silent.map(std::vector<int>{1, 2}).get());
  }
}

TEST_CASE("map refuses ranges of unequal length before anything is sent", "[send][map]") {
  const std::vector<int> a{1, 2};
  const std::vector<int> b{1, 2, 3};
  try {
    auto call = here().send<&add>().map(rh::each(a), rh::each(b));
    FAIL("nothing was thrown");
  } catch (const rh::error& e) {
    CHECK(e.kind() == rh::errc::length_mismatch);
    CHECK(std::string(e.what()).find("2 and 3") != std::string::npos);
  }
}

TEST_CASE("map throws the first error in the order of the input", "[send][map]") {
  try {
    here().send<&fails_at>().map(4, rh::each(std::views::iota(0, 50))).get();
    FAIL("nothing was thrown");
  } catch (const std::invalid_argument& e) {
    CHECK(e.what() == std::string("4"));
  }
}

TEST_CASE("starmap spreads tuples over the leading parameters", "[send][map]") {
  auto f = here().send<&add>();
  const std::vector<std::tuple<int, int>> pairs{{1, 2}, {3, 4}};
  CHECK(f.starmap(pairs).get() == std::vector<int>{3, 7});
  CHECK(f.starmap(std::vector<std::tuple<int>>{{1}, {2}}, 5).get() == std::vector<int>{6, 7});
}

TEST_CASE("calls are awaited in tasks, alone and together", "[send][call]") {
  const auto program = []() -> rh::task<int> {
    auto f = here().send<&add>();
    auto first = f(1, 2);
    const int three = co_await first;
    auto both = rh::when_all(f(three, 1), f(three, 2));
    auto results = co_await std::move(both);
    co_return std::get<0>(results) * 10 + std::get<1>(results);
  };
  CHECK(rh::sync_wait(program()) == 45);
}

TEST_CASE("progress counts the calls that have ended", "[send][call]") {
  auto map = here().send<&add>().map(std::vector<int>(20, 1), 1);
  const rh::progress p = map.progress();
  CHECK(p.total() == 20);
  CHECK(map.get().size() == 20);
  CHECK(p.ended() == 20);
}
