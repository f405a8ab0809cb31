// SPDX-License-Identifier: Apache-2.0

// A map of 200 sleeps of 10 ms over warm workers, beside bare processes, forked beforehand, that do the same sleeps
// divided evenly and write each result into a pipe. Bar: at least 98.5 % of their speed.

#include "bench.hpp"

#include <runhouse/runhouse.hpp>

#include <numeric>
#include <thread>

namespace {

constexpr int sleeps = 200;

int sleep_10_ms(int x) {
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return x;
}

/// Processes that each do their share when a byte comes.
class bare_sleepers {
 public:
  explicit bare_sleepers(int processes) {
    auto [results, their_results] = rh::os::make_pipe();
    for (int p = 0; p < processes; ++p) {
      const int share = sleeps / processes + (p < sleeps % processes ? 1 : 0);
      const int fd = their_results.get();
      starts_.push_back(bench::fork_peer([share, fd](bench::bare_end end) {
        for (std::byte start; end.receive({&start, 1}), true;) {
          for (int i = 0; i < share; ++i) {
            const int result = sleep_10_ms(i);
            if (::write(fd, &result, sizeof result) != sizeof result) ::_exit(1);
          }
        }
      }));
    }
    results_ = std::move(results);
  }
  double seconds() {
    const bench::stopwatch watch;
    for (bench::bare_end& start : starts_) start.send({&go, 1});
    for (int i = 0, result = 0; i < sleeps; ++i) {
      if (::read(results_.get(), &result, sizeof result) != sizeof result) std::abort();
    }
    return watch.seconds();
  }

 private:
  static constexpr std::byte go{1};
  std::vector<bench::bare_end> starts_;
  rh::os::unique_fd results_;
};

bare_sleepers* bare_2 = nullptr;
bare_sleepers* bare_8 = nullptr;

rh::task<> measure_with(int workers, bare_sleepers* bare) {
  rh::cluster here = rh::local(static_cast<unsigned>(workers));
  const auto there = here.send<&sleep_10_ms>();
  std::vector<int> inputs(sleeps);
  std::iota(inputs.begin(), inputs.end(), 0);
  co_await there.map(inputs);
  std::vector<double> ours;
  std::vector<double> bares;
  for (int round = 0; round < bench::rounds; ++round) {
    bares.push_back(bare->seconds());
    const bench::stopwatch watch;
    const std::vector<int> results = co_await there.map(inputs);
    ours.push_back(watch.seconds());
    if (results != inputs) std::abort();
  }
  const std::string suffix = "_" + std::to_string(workers) + "_workers";
  bench::print("map_200_x_10_ms" + suffix, bench::median(ours) * 1e3, "ms");
  bench::print("forked_200_x_10_ms" + suffix, bench::median(bares) * 1e3, "ms");
  bench::print("map_of_forked" + suffix, bench::median(bares) / bench::median(ours) * 100, "%");
}

rh::task<> measure() {
  co_await measure_with(2, bare_2);
  co_await measure_with(8, bare_8);
}

}  // namespace

int main(int argc, char** argv) {
  rh::serve_if_asked(argc, argv);
  bare_sleepers two(2);
  bare_sleepers eight(8);
  bare_2 = &two;
  bare_8 = &eight;
  return rh::main(argc, argv, measure);
}
