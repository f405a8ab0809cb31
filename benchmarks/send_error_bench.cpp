// SPDX-License-Identifier: Apache-2.0

// A call that throws beside one that returns, each awaited before the next. Bar: at most 3 times as long.

#include "bench.hpp"

#include <runhouse/runhouse.hpp>

#include <stdexcept>

namespace {

constexpr int calls = 10'000;

int returns_or_throws(bool throws) {
  if (throws) throw std::invalid_argument("on purpose");
  return 1;
}

rh::task<double> microseconds(rh::send<rh::fn<&returns_or_throws>> there, bool throws) {
  const bench::stopwatch watch;
  int caught = 0;
  for (int i = 0; i < calls; ++i) {
    try {
      co_await there(throws);
    } catch (const std::invalid_argument&) {
      ++caught;
    }
  }
  if (caught != (throws ? calls : 0)) std::abort();
  co_return watch.seconds() * 1e6 / calls;
}

rh::task<> measure() {
  rh::cluster here = rh::local(1);
  const auto there = here.send<&returns_or_throws>();
  std::vector<double> returned;
  std::vector<double> thrown;
  for (int round = 0; round < bench::rounds; ++round) {
    const double r = co_await microseconds(there, false);
    const double t = co_await microseconds(there, true);
    returned.push_back(r);
    thrown.push_back(t);
  }
  bench::print("call_that_returns", bench::median(returned), "us");
  bench::print("call_that_throws", bench::median(thrown), "us");
  bench::print("throws_to_returns", bench::median(thrown) / bench::median(returned), "ratio");
}

}  // namespace

int main(int argc, char** argv) {
  rh::serve_if_asked(argc, argv);
  return rh::main(argc, argv, measure);
}
