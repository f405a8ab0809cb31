// SPDX-License-Identifier: Apache-2.0

// What ssh_bench.py measures: one verb, on the cluster of --cluster, which prints its figure. PAD, if it is defined, is a
// file that makes this program as large as real ones; CHANGED changes one function.

#include "../bench.hpp"

#include <runhouse/runhouse.hpp>

#include <cereal/types/vector.hpp>

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#ifdef PAD
asm(".section .rodata\n.global bench_pad\nbench_pad:\n.incbin \"" PAD "\"\n.previous\n");
extern "C" const char bench_pad[];
#endif

#ifndef CHANGED
#define CHANGED 0
#endif

namespace {

using bytes = std::vector<std::uint8_t>;

int echo(int x) { return x; }
int changed(int x) {
  int sum = x;
  for (int i = 0; i < 10 + CHANGED; ++i) sum = sum * (31 + CHANGED) + i;
  return sum;
}
std::uint64_t take(std::span<const std::uint8_t> in) { return in.size(); }
bytes give(std::uint64_t n) { return bytes(n, 7); }
/// What give() takes by itself.
std::uint8_t make(std::uint64_t n) { return give(n).back(); }
int next(int x) { return x + 1; }

rh::task<int> program(rh::cluster c, int argc, char** argv) {
  const std::string verb = argc > 1 ? argv[1] : "first";
  const auto number = static_cast<std::uint64_t>(argc > 2 ? std::stoll(argv[2]) : 1);
  auto echo_there = c.send<&echo>();
  auto first = echo_there(1);
  co_await first;
  if (verb == "first") co_return 0;
  if (verb == "changed") co_return co_await c.send<&changed>()(1) == 0;
  if (verb == "trip") {  // microseconds of each of so many, one after the other
    for (std::uint64_t i = 0; i < number / 5; ++i) co_await echo_there(1);
    const bench::stopwatch watch;
    for (std::uint64_t i = 0; i < number; ++i) co_await echo_there(1);
    std::printf("%.2f\n", watch.seconds() * 1e6 / static_cast<double>(number));
  } else if (verb == "up" || verb == "give") {  // bytes a second
    bytes value(number, 3);
    const bench::stopwatch watch;
    auto call = verb == "give" ? c.send<&take>()(std::move(value)) : c.send<&take>()(value);
    if (co_await call != number) std::abort();
    std::printf("%.0f\n", static_cast<double>(number) / watch.seconds());
  } else if (verb == "down") {
    auto make_there = c.send<&make>();
    const bench::stopwatch making;
    auto made = make_there(number);
    if (co_await made != 7) std::abort();
    const double to_make = making.seconds();
    const bench::stopwatch watch;
    auto call = c.send<&give>()(number);
    const bytes value = co_await call;
    if (value.size() != number) std::abort();
    std::printf("%.0f\n", static_cast<double>(number) / (watch.seconds() - to_make));
  } else if (verb == "fetch") {
    auto made = c.send<&give>().remote(number);
    auto used = c.send<&take>()(made);
    if (co_await used != number) std::abort();
    const bench::stopwatch watch;
    const bytes value = co_await made;
    if (value.size() != number) std::abort();
    std::printf("%.0f\n", static_cast<double>(number) / watch.seconds());
  } else if (verb == "chain") {  // milliseconds of so many, each of which takes the one before; the median of 5
    std::vector<double> all;
    for (int round = 0; round < 5; ++round) {
      const bench::stopwatch watch;
      auto there = c.send<&next>();
      auto at = there.remote(0);
      for (std::uint64_t i = 1; i < number; ++i) at = there.remote(at);
      if (co_await at != static_cast<int>(number)) std::abort();
      all.push_back(watch.seconds() * 1e3);
    }
    std::printf("%.2f\n", bench::median(all));
  } else if (verb == "map") {  // milliseconds, the median of 5
    std::vector<int> in(number);
    std::vector<double> all;
    for (int round = 0; round < 5; ++round) {
      const bench::stopwatch watch;
      auto mapped = echo_there.map(in);
      const auto out = co_await mapped;
      if (out.size() != number) std::abort();
      all.push_back(watch.seconds() * 1e3);
    }
    std::printf("%.2f\n", bench::median(all));
  } else if (verb == "beside") {  // milliseconds of a reply of 1 KiB: alone, and the median and worst while a large one comes
    auto give_there = c.send<&give>();
    const auto reply = [&]() -> rh::task<double> {
      const bench::stopwatch watch;
      auto call = give_there(1024);
      co_await call;
      co_return watch.seconds() * 1e3;
    };
    std::vector<double> alone;
    for (int i = 0; i < 50; ++i) {
      auto one = reply();
      alone.push_back(co_await std::move(one));
    }
    const bench::stopwatch watch;
    auto large = give_there(number);
    std::vector<double> beside;
    while (!large.is_ready()) {
      auto one = reply();
      beside.push_back(co_await std::move(one));
    }
    const double seconds = watch.seconds();
    co_await large;
    std::sort(beside.begin(), beside.end());
    std::printf("%.3f %.3f %.3f %.0f\n", bench::median(alone), bench::median(beside), beside.back(), static_cast<double>(number) / seconds);
  } else {
    std::fprintf(stderr, "no verb %s\n", verb.c_str());
    co_return 2;
  }
  co_return 0;
}

/// An echo through one more process, by a unix socket: what is the least that a node between can cost.
int relay() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return 1;
  char block[4096];
  if (::fork() == 0) {
    ::close(ends[0]);
    for (ssize_t n; (n = ::read(ends[1], block, sizeof block)) > 0;) {
      if (::write(ends[1], block, static_cast<std::size_t>(n)) != n) break;
    }
    ::_exit(0);
  }
  ::close(ends[1]);
  for (ssize_t n; (n = ::read(STDIN_FILENO, block, sizeof block)) > 0;) {
    if (::write(ends[0], block, static_cast<std::size_t>(n)) != n) break;
    const ssize_t back = ::read(ends[0], block, sizeof block);
    if (back <= 0 || ::write(STDOUT_FILENO, block, static_cast<std::size_t>(back)) != back) break;
  }
  return 0;
}

/// Microseconds of an echo through a command's standard input and output.
int ping(int rounds, char** command) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return 1;
  if (::fork() == 0) {
    ::dup2(ends[1], STDIN_FILENO);
    ::dup2(ends[1], STDOUT_FILENO);
    ::close(ends[0]);
    ::close(ends[1]);
    ::execvp(command[0], command);
    ::_exit(127);
  }
  ::close(ends[1]);
  char block[64] = {};
  bench::stopwatch watch;
  for (int i = -rounds / 5; i < rounds; ++i) {
    if (i == 0) watch = bench::stopwatch();
    if (::write(ends[0], block, sizeof block) != sizeof block) return 1;
    for (std::size_t got = 0; got < sizeof block;) {
      const ssize_t n = ::read(ends[0], block, sizeof block - got);
      if (n <= 0) return 1;
      got += static_cast<std::size_t>(n);
    }
  }
  std::printf("%.2f\n", watch.seconds() * 1e6 / rounds);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
#ifdef PAD
  if (argc > 100) std::printf("%c", bench_pad[argc]);
#endif
  if (argc > 1 && std::string(argv[1]) == "relay") return relay();
  if (argc > 3 && std::string(argv[1]) == "ping") return ping(std::stoi(argv[2]), argv + 3);
  return rh::main(argc, argv, program);
}
