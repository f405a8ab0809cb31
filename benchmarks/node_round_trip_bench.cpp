// SPDX-License-Identifier: Apache-2.0

// The round trip of a call int -> int on a warm local worker, beside a socketpair ping-pong of the same numbers of
// bytes between two processes that wait by the same policy. Bar: at most 2 times the ping-pong. gRPC and Cap'n Proto,
// where they were built, do the same echo over a unix socket, each as it is.

#include "bench.hpp"

#include <runhouse/runhouse.hpp>

namespace {

constexpr int calls = 20'000;
constexpr int warm_up = 2'000;

int echo(int x) {
  return x;
}

/// By value: a coroutine's reference must outlive it.
rh::task<double> our_microseconds(rh::send<rh::fn<&echo>> there, int n) {
  const bench::stopwatch watch;
  for (int i = 0; i < n; ++i) {
    const int back = co_await there(i);
    if (back != i) std::abort();
  }
  co_return watch.seconds() * 1e6 / n;
}

/// Another system's program, which prints the microseconds of one round trip. Not a number where it fails.
double their_microseconds(const char* program) {
  const std::string command = "'" + std::string(program) + "' " + std::to_string(calls);
  double microseconds = 0;
  std::FILE* out = ::popen(command.c_str(), "r");
  const bool read = out != nullptr && std::fscanf(out, "%lf", &microseconds) == 1;
  const bool ended_well = out != nullptr && ::pclose(out) == 0;
  if (!read || !ended_well) {
    std::fprintf(stderr, "%s: failed\n", program);
    std::exit(1);
  }
  return microseconds;
}

struct system_beside {
  const char* name;
  const char* program;
  std::vector<double> microseconds{};
};

bench::bare_end* bare = nullptr;

rh::task<> measure() {
  rh::cluster here = rh::local(1);
  const auto there = here.send<&echo>();
  std::vector<double> ours;
  std::vector<double> bares;
  std::vector<system_beside> others;
#ifdef GRPC_ECHO
  others.push_back({"grpc", GRPC_ECHO});
#endif
#ifdef CAPNP_ECHO
  others.push_back({"capnp", CAPNP_ECHO});
#endif
  for (int round = 0; round < bench::rounds; ++round) {
    // Each begins warm: the policy of whoever waits is by then what the system itself makes of it.
    bench::echo_microseconds(*bare, warm_up);
    bares.push_back(bench::echo_microseconds(*bare, calls));
    co_await our_microseconds(there, warm_up);
    const double one = co_await our_microseconds(there, calls);
    ours.push_back(one);
    for (system_beside& other : others) other.microseconds.push_back(their_microseconds(other.program));
  }
  bench::print("call_round_trip", bench::median(ours), "us");
  bench::print("socketpair_round_trip", bench::median(bares), "us");
  bench::print("call_to_socketpair", bench::median(ours) / bench::median(bares), "ratio");
  for (const system_beside& other : others) {
    const double theirs = bench::median(other.microseconds);
    bench::print(std::string(other.name) + "_round_trip", theirs, "us");
    bench::print("call_to_" + std::string(other.name), bench::median(ours) / theirs, "ratio");
  }
}

}  // namespace

int main(int argc, char** argv) {
  rh::serve_if_asked(argc, argv);
  bench::bare_end peer = bench::start_echo();
  bare = &peer;
  return rh::main(argc, argv, measure);
}
