// SPDX-License-Identifier: Apache-2.0

// Calls per second of many int -> int calls at once on one worker, beside a bare stream of the same bytes through a
// socketpair with 64 frames in flight, each frame written by a system call of its own. Bar: at least 0.8 of the bare
// stream. The same stream at 64 frames a system call is what is left on the table.

#include "bench.hpp"

#include <runhouse/runhouse.hpp>

#include <cstring>

namespace {

constexpr int calls = 100'000;
constexpr int window = 64;

int echo(int x) {
  return x;
}

/// Answers each frame as it comes, `batch` of them at most in one system call.
bench::bare_end start_bare(int batch) {
  return bench::fork_peer([batch](bench::bare_end end) {
    const std::size_t frame = bench::call_bytes();
    const std::size_t answer = bench::outcome_bytes();
    std::vector<std::byte> in(64 * 1024);
    const std::vector<std::byte> out(answer * static_cast<std::size_t>(batch));
    std::size_t open = 0;  // bytes that came and are no whole frame yet
    for (;;) {
      open += end.receive_some(in);
      for (; open >= frame;) {
        const std::size_t n = std::min(open / frame, static_cast<std::size_t>(batch));
        end.send(std::span(out).first(n * answer));
        open -= n * frame;
      }
    }
  });
}

double bare_per_second(bench::bare_end& end, int batch) {
  const std::size_t frame = bench::call_bytes();
  const std::size_t answer = bench::outcome_bytes();
  const std::vector<std::byte> out(frame * static_cast<std::size_t>(batch));
  std::vector<std::byte> in(64 * 1024);
  std::size_t open = 0;
  int sent = 0;
  int answered = 0;
  const bench::stopwatch watch;
  while (answered < calls) {
    while (sent < calls && sent - answered + batch <= window) {
      const int n = std::min(batch, calls - sent);
      end.send(std::span(out).first(static_cast<std::size_t>(n) * frame));
      sent += n;
    }
    open += end.receive_some(in);
    answered += static_cast<int>(open / answer);
    open %= answer;
  }
  return calls / watch.seconds();
}

/// All are made, then awaited in order.
rh::task<double> our_per_second(rh::send<rh::fn<&echo>> there) {
  std::vector<rh::call<int>> made;
  made.reserve(calls);
  const bench::stopwatch watch;
  for (int i = 0; i < calls; ++i) made.push_back(there(i));
  for (int i = 0; i < calls; ++i) {
    const int back = co_await made[static_cast<std::size_t>(i)];
    if (back != i) std::abort();
  }
  co_return calls / watch.seconds();
}

/// The same with no more than `window` calls made and not answered: what a program does that has no room for more.
rh::task<double> our_windowed_per_second(rh::send<rh::fn<&echo>> there) {
  std::vector<rh::call<int>> made;
  made.reserve(calls);
  const bench::stopwatch watch;
  for (int i = 0; i < window; ++i) made.push_back(there(i));
  for (int i = 0; i < calls; ++i) {
    const int back = co_await made[static_cast<std::size_t>(i)];
    if (back != i) std::abort();
    if (i + window < calls) made.push_back(there(i + window));
  }
  co_return calls / watch.seconds();
}

bench::bare_end* by_frame = nullptr;
bench::bare_end* by_64 = nullptr;

rh::task<> measure() {
  rh::cluster here = rh::local(1);
  const auto there = here.send<&echo>();
  co_await our_per_second(there);
  std::vector<double> ours;
  std::vector<double> windowed;
  std::vector<double> bare;
  std::vector<double> batched;
  for (int round = 0; round < bench::rounds; ++round) {
    bare.push_back(bare_per_second(*by_frame, 1));
    const double all = co_await our_per_second(there);
    ours.push_back(all);
    batched.push_back(bare_per_second(*by_64, window));
    const double some = co_await our_windowed_per_second(there);
    windowed.push_back(some);
  }
  bench::print("calls_pipelined", bench::median(ours), "calls/s");
  bench::print("calls_64_in_flight", bench::median(windowed), "calls/s");
  bench::print("socketpair_1_frame_per_write", bench::median(bare), "frames/s");
  bench::print("socketpair_64_frames_per_write", bench::median(batched), "frames/s");
  bench::print("calls_pipelined_to_socketpair_1_frame", bench::median(ours) / bench::median(bare), "ratio");
  bench::print("calls_64_in_flight_to_socketpair_1_frame", bench::median(windowed) / bench::median(bare), "ratio");
  bench::print("calls_pipelined_to_socketpair_64_frames", bench::median(ours) / bench::median(batched), "ratio");
}

}  // namespace

int main(int argc, char** argv) {
  rh::serve_if_asked(argc, argv);
  bench::bare_end one = start_bare(1);
  bench::bare_end many = start_bare(window);
  by_frame = &one;
  by_64 = &many;
  return rh::main(argc, argv, measure);
}
