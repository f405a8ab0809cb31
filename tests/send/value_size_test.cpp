// SPDX-License-Identifier: Apache-2.0
//
// The ends of the range: a few values of gigabytes, many of a mebibyte, very many of ten bytes.
#include <runhouse/send/ref.hpp>

#include <runhouse/runhouse.hpp>

#include "support/catch.hpp"
#include "support/test_cluster.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <limits>
#include <ranges>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr std::size_t mebibyte = std::size_t{1} << 20;
constexpr std::size_t gibibyte = std::size_t{1} << 30;

#if defined(__SANITIZE_ADDRESS__)
constexpr bool is_sanitized = true;
constexpr int tiny_values = 100'000;
#else
constexpr bool is_sanitized = false;
constexpr int tiny_values = 1'000'000;
#endif

std::size_t available_bytes() {
  std::ifstream in("/proc/meminfo");
  std::string name;
  for (std::size_t kib = 0; in >> name >> kib; in.ignore(std::numeric_limits<std::streamsize>::max(), '\n')) {
    if (name == "MemAvailable:") return kib * 1024;
  }
  return 0;
}

/// Each page begins with its number.
constexpr std::size_t page_words = 512;
std::vector<std::uint64_t> pages(std::size_t bytes) {
  std::vector<std::uint64_t> all(bytes / sizeof(std::uint64_t));
  for (std::size_t i = 0; i < all.size(); i += page_words) all[i] = i / page_words;
  return all;
}
/// How many pages there are, or the number of the first wrong one.
std::size_t count_pages(std::span<const std::uint64_t> all) {
  for (std::size_t i = 0; i < all.size(); i += page_words) {
    if (all[i] != i / page_words) return i / page_words;
  }
  return all.size() / page_words;
}
std::size_t count_pages_of_each(const std::vector<std::vector<std::uint64_t>>& all) {
  std::size_t count = 0;
  for (const auto& one : all) count += count_pages(one);
  return count;
}
std::string ten_bytes(int i) {
  const std::string digits = std::to_string(i);
  return std::string(10 - digits.size(), '0') + digits;
}
std::uint64_t sum_of(const std::vector<std::string>& numbers) {
  std::uint64_t sum = 0;
  for (const std::string& n : numbers) sum += std::stoull(n);
  return sum;
}

rh::cluster here() {
  static rh::cluster* only = new rh::cluster(test_cluster(2));
  return *only;
}

/// What is let go of is freed soon, not at once.
bool is_left_with_nothing() {
  for (int i = 0; i < 5000; ++i) {
    const rh::usage now = here().usage();
    if (now.values == 0 && now.value_bytes == 0 && now.unfinished_calls == 0) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

}  // namespace

TEST_CASE("a value of over 4 GiB stays, is viewed, comes home and goes", "[send][value_size]") {
  constexpr std::size_t bytes = 4 * gibibyte + mebibyte;  // more than 32 bits tell
  constexpr std::size_t count = bytes / (page_words * sizeof(std::uint64_t));
  // One copy in its file, one here.
  if (is_sanitized || available_bytes() < 2 * bytes + gibibyte) {
    WARN("skipped: " << (is_sanitized ? "ASan would double a value of 4 GiB"
                                      : "not enough memory for a value of 4 GiB"));
    return;
  }
  {
    auto there = here().send<&pages>().remote(bytes);
    CHECK(here().send<&count_pages>()(there).get() == count);
    const std::vector<std::uint64_t> back = there.get();
    CHECK(back.size() == bytes / sizeof(std::uint64_t));
    CHECK(count_pages(back) == count);
  }
  CHECK(is_left_with_nothing());
}

TEST_CASE("an argument of a gigabyte arrives whole", "[send][value_size]") {
  constexpr std::size_t bytes = is_sanitized ? gibibyte / 8 : gibibyte;
  CHECK(here().send<&count_pages>()(pages(bytes)).get() == bytes / 4096);
}

TEST_CASE("a thousand values of a mebibyte are one list", "[send][value_size]") {
  {
    const auto all = here().send<&pages>().map_remote(std::vector<std::size_t>(1000, mebibyte));
    CHECK(here().send<&count_pages_of_each>()(all).get() == 1000 * (mebibyte / 4096));
    CHECK(here().usage().values == 1000);
  }
  CHECK(is_left_with_nothing());
}

TEST_CASE("a million values of ten bytes stay, are taken, and go", "[send][value_size]") {
  constexpr auto n = static_cast<std::uint64_t>(tiny_values);
  constexpr std::size_t group = 10'000;
  {
    const auto all = here().send<&ten_bytes>().map_remote(std::views::iota(0, tiny_values));
    REQUIRE(all.size() == n);
    std::vector<rh::call<std::uint64_t>> sums;
    for (std::size_t at = 0; at < all.size(); at += group) {
      const auto begin = all.begin() + static_cast<std::ptrdiff_t>(at);
      sums.push_back(here().send<&sum_of>()(std::vector(begin, begin + static_cast<std::ptrdiff_t>(group))));
    }
    std::uint64_t sum = 0;
    for (auto& one : sums) sum += one.get();
    CHECK(sum == n * (n - 1) / 2);
    CHECK(here().usage().values == n);
  }
  CHECK(is_left_with_nothing());
}
