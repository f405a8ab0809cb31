// SPDX-License-Identifier: Apache-2.0

// Calls per second of a map of 100,000 calls int -> int over two workers; send_map_bench.py puts Ray and dask beside it.
// With an argument, a million calls at once, each with a handle of its own: what they take of memory, while they are
// under way and when they have gone. Bar: 2 KiB each.

#include "bench.hpp"

#include <runhouse/runhouse.hpp>

#include <fstream>
#include <malloc.h>
#include <ranges>
#include <string>

namespace {

constexpr int elements = 100'000;

int plus_one(int x) {
  return x + 1;
}

double resident_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) return std::stod(line.substr(6)) * 1024;
  }
  return 0;
}

rh::task<> measure_map() {
  rh::cluster here = rh::local(2);
  const auto there = here.send<&plus_one>();
  std::vector<double> rates;
  for (int round = -1; round < bench::rounds; ++round) {
    const bench::stopwatch watch;
    auto all = there.map(std::views::iota(0, elements));
    const std::vector<int> results = co_await all;
    if (results.back() != elements) std::abort();
    if (round >= 0) rates.push_back(elements / watch.seconds());
  }
  bench::print("map_of_100000", bench::median(rates), "calls/s");
}

rh::task<> measure_memory() {
  rh::cluster here = rh::local(2);
  const auto there = here.send<&plus_one>();
  constexpr int calls = 1'000'000;
  co_await there(0);
  const double before = resident_bytes();
  double most = 0;
  {
    std::vector<rh::call<int>> made;
    made.reserve(calls);
    for (int i = 0; i < calls; ++i) made.push_back(there(i));
    most = resident_bytes();
    for (int i = 0; i < calls; ++i) {
      const int back = co_await made[static_cast<std::size_t>(i)];
      if (back != i + 1) std::abort();
      if (i % 1000 == 0) most = std::max(most, resident_bytes());
    }
  }
  ::malloc_trim(0);
  bench::print("a_call_in_flight", (most - before) / calls, "bytes");
  bench::print("left_of_a_call", (resident_bytes() - before) / calls, "bytes");
}

rh::task<> measure(int argc, char**) {
  if (argc > 1) co_return co_await measure_memory();
  co_await measure_map();
  co_await measure_memory();
}

}  // namespace

int main(int argc, char** argv) {
  rh::serve_if_asked(argc, argv);
  return rh::main(argc, argv, measure);
}
