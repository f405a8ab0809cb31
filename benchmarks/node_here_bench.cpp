// SPDX-License-Identifier: Apache-2.0

// What a node in a process of its own costs: the round trip of a call int -> int on `here`, beside the same call on
// workers of this process and one hop more, a socketpair ping-pong of as many bytes between two processes. Bar: at most
// 1.3 times the two together. Beside it a bare relay: the same bytes through a process in between, which does nothing
// else. Where there are fewer cores than processes, three that wait for each other cost more than two twice. And how long it takes to connect to a node that runs (bar: 10 ms), and to start one (bar:
// 100 ms and the program's own load time). Uses a node of its own, in a folder that it removes.

#include "bench.hpp"

#include <runhouse/runhouse.hpp>

#include <csignal>
#include <filesystem>
#include <fstream>

namespace {

constexpr int calls = 10'000;
constexpr int warm_up = 2'000;

int echo(int x) {
  return x;
}

rh::task<double> our_microseconds(rh::send<rh::fn<&echo>> there, int n) {
  const bench::stopwatch watch;
  for (int i = 0; i < n; ++i) {
    const int back = co_await there(i);
    if (back != i) std::abort();
  }
  co_return watch.seconds() * 1e6 / n;
}

/// All of them made at once.
rh::task<double> calls_a_second(rh::send<rh::fn<&echo>> there, int n) {
  const bench::stopwatch watch;
  std::vector<rh::call<int>> made;
  made.reserve(static_cast<std::size_t>(n));
  for (int i = 0; i < n; ++i) made.push_back(there(i));
  for (auto& call : made) co_await call;
  co_return n / watch.seconds();
}

bench::bare_end* bare = nullptr;
bench::bare_end* relay = nullptr;

rh::task<> measure() {
  std::vector<double> starts;
  std::vector<double> loads;
  std::vector<double> connects;
  for (int round = 0; round < bench::rounds; ++round) {
    rh::restart("here");
    const bench::stopwatch start;
    {
      auto reached = rh::connect("here");
      const rh::cluster first = co_await reached;
    }
    starts.push_back(start.seconds() * 1e3);
    const bench::stopwatch load;  // this program, which ends as soon as it is loaded
    if (std::system("BENCH_LOAD=1 /proc/$PPID/exe") != 0) std::abort();
    loads.push_back(load.seconds() * 1e3);
    for (int i = 0; i < 20; ++i) {
      const bench::stopwatch watch;
      auto reached = rh::connect("here");
      const rh::cluster again = co_await reached;
      connects.push_back(watch.seconds() * 1e3);
    }
  }
  bench::print("node_start", bench::median(starts), "ms");
  bench::print("program_load", bench::median(loads), "ms");
  bench::print("node_connect", bench::median(connects), "ms");

  auto reached = rh::connect("here");
  const rh::cluster here = co_await reached;
  std::vector<double> heres;
  std::vector<double> locals;
  std::vector<double> bares;
  std::vector<double> relays;
  std::vector<double> here_rates;
  std::vector<double> local_rates;
  const auto there = here.send<&echo>();
  for (int round = 0; round < bench::rounds; ++round) {
    bench::echo_microseconds(*bare, warm_up);
    bares.push_back(bench::echo_microseconds(*bare, calls));
    bench::echo_microseconds(*relay, warm_up);
    relays.push_back(bench::echo_microseconds(*relay, calls));
    {
      const rh::cluster local = rh::local(1);
      const auto local_send = local.send<&echo>();
      co_await our_microseconds(local_send, warm_up);
      const double one = co_await our_microseconds(local_send, calls);
      locals.push_back(one);
      const double rate = co_await calls_a_second(local_send, 10 * calls);
      local_rates.push_back(rate);
    }
    co_await our_microseconds(there, warm_up);
    const double one = co_await our_microseconds(there, calls);
    heres.push_back(one);
    const double rate = co_await calls_a_second(there, 10 * calls);
    here_rates.push_back(rate);
  }
  const double parts = bench::median(bares) + bench::median(locals);
  bench::print("here_round_trip", bench::median(heres), "us");
  bench::print("local_round_trip", bench::median(locals), "us");
  bench::print("socketpair_round_trip", bench::median(bares), "us");
  bench::print("relay_round_trip", bench::median(relays), "us");
  bench::print("here_to_local_and_relay_without_its_last_hop", bench::median(heres) / (bench::median(locals) + bench::median(relays) - bench::median(bares)), "ratio");
  bench::print("here_to_local_and_hop", bench::median(heres) / parts, "ratio");
  bench::print("here_pipelined", bench::median(here_rates), "calls/s");
  bench::print("here_to_local_pipelined", bench::median(here_rates) / bench::median(local_rates), "ratio");
  rh::restart("here");
}

}  // namespace

int main(int argc, char** argv) {
  if (std::getenv("BENCH_LOAD") != nullptr) return 0;
  std::string folder = std::filesystem::temp_directory_path() / "runhouse-bench-XXXXXX";
  if (std::getenv("RUNHOUSE_WORKER") == nullptr) {
    if (::mkdtemp(folder.data()) == nullptr) return 1;
    ::setenv("XDG_RUNTIME_DIR", folder.c_str(), 1);
    ::setenv("HOME", folder.c_str(), 1);
    ::setenv("RUNHOUSE_WORKERS", "1", 1);
  }
  rh::serve_if_asked(argc, argv);
  bench::bare_end peer = bench::start_echo();
  bare = &peer;
  bench::bare_end between = bench::start_relay();
  relay = &between;
  const int code = rh::main(argc, argv, measure);
  std::filesystem::remove_all(folder);
  return code;
}
