// SPDX-License-Identifier: Apache-2.0

// A chain of 100 calls, each of which takes the result of the one before by ref, beside 100 calls that are awaited one
// after the other. Bar: at most 1.3 times as long.

#include "bench.hpp"

#include <runhouse/runhouse.hpp>

namespace {

constexpr int length = 100;
constexpr int repetitions = 200;

int plus_one(int x) {
  return x + 1;
}

rh::task<> run_chain(rh::send<rh::fn<&plus_one>> there) {
  rh::ref<int> n = there.remote(0);
  for (int i = 1; i < length; ++i) n = there.remote(n);
  const int last = co_await n;
  if (last != length) std::abort();
}

rh::task<> run_round_trips(rh::send<rh::fn<&plus_one>> there) {
  int n = 0;
  for (int i = 0; i < length; ++i) n = co_await there(n);
  if (n != length) std::abort();
}

template <class Run>
rh::task<double> microseconds(Run run, rh::send<rh::fn<&plus_one>> there) {
  for (int i = 0; i < repetitions / 10; ++i) co_await run(there);
  const bench::stopwatch watch;
  for (int i = 0; i < repetitions; ++i) co_await run(there);
  co_return watch.seconds() * 1e6 / repetitions;
}

rh::task<> measure() {
  rh::cluster here = rh::local(1);
  const auto there = here.send<&plus_one>();
  std::vector<double> chains;
  std::vector<double> trips;
  for (int round = 0; round < bench::rounds; ++round) {
    const double trip = co_await microseconds(&run_round_trips, there);
    const double chain = co_await microseconds(&run_chain, there);
    trips.push_back(trip);
    chains.push_back(chain);
  }
  bench::print("chain_of_100", bench::median(chains), "us");
  bench::print("100_round_trips", bench::median(trips), "us");
  bench::print("chain_to_round_trips", bench::median(chains) / bench::median(trips), "ratio");
}

}  // namespace

int main(int argc, char** argv) {
  rh::serve_if_asked(argc, argv);
  return rh::main(argc, argv, measure);
}
