// SPDX-License-Identifier: Apache-2.0
#include <runhouse/send/ref.hpp>

#include <runhouse/runhouse.hpp>

#include "support/catch.hpp"
#include "support/test_cluster.hpp"

#include <cereal/types/map.hpp>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <map>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr std::size_t mebibyte = std::size_t{1} << 20;

std::vector<float> ramp(std::size_t n, float first) {
  std::vector<float> v(n);
  std::iota(v.begin(), v.end(), first);
  return v;
}
std::vector<float> plus_one(std::vector<float> v) {
  for (float& x : v) x += 1;
  return v;
}
double sum_of_view(std::span<const float> v) { return std::accumulate(v.begin(), v.end(), 0.0); }
double sum(const std::vector<float>& v) { return std::accumulate(v.begin(), v.end(), 0.0); }
double sum_all(const std::vector<std::vector<float>>& all) {
  double s = 0;
  for (const auto& v : all) s += sum(v);
  return s;
}
std::size_t count_of(std::string_view text, char c) { return static_cast<std::size_t>(std::count(text.begin(), text.end(), c)); }
std::map<std::string, std::vector<double>> named(std::size_t keys, std::size_t each) {
  std::map<std::string, std::vector<double>> all;
  for (std::size_t i = 0; i < keys; ++i) all["key " + std::to_string(i)] = std::vector<double>(each, static_cast<double>(i));
  return all;
}
double sum_named(const std::map<std::string, std::vector<double>>& all) {
  double s = 0;
  for (const auto& [key, values] : all) s += std::accumulate(values.begin(), values.end(), 0.0);
  return s;
}
int die_with(std::span<const float> v) {
  if (!v.empty()) std::raise(SIGKILL);
  return 0;
}

std::size_t open_descriptors() {
  const std::filesystem::directory_iterator fds("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(fds, {}));
}

rh::cluster here() {
  static rh::cluster* only = new rh::cluster(test_cluster(2));
  return *only;
}

/// 0 + 1 + ... of n floats, exact while they are.
double ramp_sum(std::size_t n) { return static_cast<double>(n) * static_cast<double>(n - 1) / 2; }

}  // namespace

TEST_CASE("a large argument and a large result arrive as they were", "[send][big_value]") {
  for (const std::size_t n : {mebibyte / 4 - 16, mebibyte / 4, mebibyte / 4 + 1, 5 * mebibyte}) {
    const std::vector<float> v = ramp(n, 0);
    const std::vector<float> back = here().send<&plus_one>()(v).get();
    REQUIRE(back.size() == n);
    CHECK(back.front() == 1);
    CHECK(std::equal(back.begin(), back.end(), v.begin(), [](float a, float b) { return a == b + 1; }));
  }
}

TEST_CASE("a large value goes from call to call, and is viewed where it is", "[send][big_value]") {
  constexpr std::size_t n = 2 * mebibyte;
  auto v = here().send<&ramp>().remote(n, 0.0f);
  auto w = here().send<&plus_one>().remote(v);
  CHECK(here().send<&sum_of_view>()(v).get() == ramp_sum(n));
  CHECK(here().send<&sum>()(w).get() == ramp_sum(n) + static_cast<double>(n));
  CHECK(here().send<&sum>()(here().put(v.get())).get() == ramp_sum(n));
  std::string text(3 * mebibyte, 'a');
  text[17] = 'b';
  CHECK(here().send<&count_of>()(here().put(text), 'b').get() == 1);
  CHECK(here().send<&count_of>()(text, 'a').get() == text.size() - 1);
}

TEST_CASE("a large value of many parts arrives as it was", "[send][big_value]") {
  auto all = here().send<&named>().remote(std::size_t{2000}, std::size_t{100});   // a stream of megabytes
  CHECK(here().send<&sum_named>()(all).get() == 199'900'000);
  auto more = here().send<&named>().remote(std::size_t{5000}, std::size_t{200});  // more segments than a payload has
  CHECK(here().send<&sum_named>()(more).get() == 2'499'500'000);
  auto mixed = here().send<&named>().remote(std::size_t{3}, std::size_t{500'000});  // a small part, then large ones
  CHECK(mixed.get() == named(3, 500'000));
}

TEST_CASE("there may be more large values than memory files, and none is left", "[send][big_value]") {
  const rh::cluster own = test_cluster(2);
  own.send<&sum>().map(rh::each(std::vector<std::vector<float>>(4))).get();
  const std::size_t before = open_descriptors();
  {
    constexpr std::size_t n = mebibyte / 4 + 1;
    constexpr std::size_t values = rh::limits::memory_files + 50;
    std::vector<rh::ref<std::vector<float>>> all;
    for (std::size_t i = 0; i < values; ++i) all.push_back(own.send<&ramp>().remote(n, 0.0f));
    CHECK(own.send<&sum_all>()(all).get() == ramp_sum(n) * static_cast<double>(values));
    CHECK(open_descriptors() <= before + rh::limits::memory_files);
    all.resize(1, all.front());
    auto put = own.put(ramp(n, 0));
    CHECK(own.send<&sum_all>()(std::vector{all.front(), put}).get() == 2 * ramp_sum(n));
  }
  own.send<&sum>().map(rh::each(std::vector<std::vector<float>>(4))).get();
  CHECK(open_descriptors() <= before);
}

TEST_CASE("a worker that dies with a large value leaves it to others", "[send][big_value]") {
  auto v = here().send<&ramp>().remote(mebibyte, 0.0f);
  CHECK_THROWS_AS(here().send<&die_with>()(v).get(), rh::error);
  CHECK(here().send<&sum_of_view>()(v).get() == ramp_sum(mebibyte));
  auto a = here().send<&die_with>()(v);
  auto b = here().send<&sum_of_view>()(v);
  auto c = here().send<&sum_of_view>()(v);
  CHECK_THROWS_AS(a.get(), rh::error);
  CHECK(b.get() == ramp_sum(mebibyte));
  CHECK(c.get() == ramp_sum(mebibyte));
}
