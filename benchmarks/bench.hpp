// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/io/waiting.hpp>
#include <runhouse/os/fd.hpp>
#include <runhouse/os/socket.hpp>
#include <runhouse/wire/archive.hpp>
#include <runhouse/wire/message_stream.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <poll.h>
#include <span>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

/// What the benchmarks share. Each measures ours and a bare system's in turn, A B A B, so that whatever else the
/// machine does meets both; what is quoted is the ratio of the medians.
namespace bench {

inline constexpr int rounds = 5;

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

inline void print(const std::string& name, double value, const char* unit) {
  std::printf("%s %.4g %s\n", name.c_str(), value, unit);
  std::fflush(stdout);
}

class stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count(); }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

/// One value's message, whole: what a call of int -> int, or its outcome, is on the wire.
template <class Head>
std::size_t message_bytes(Head head) {
  const rh::wire::payload value = rh::wire::encode(1);
  std::vector<std::span<const std::byte>> segments;
  const rh::wire::payload_view view = rh::wire::view(value, segments);
  std::vector<std::byte> out;
  if constexpr (std::is_same_v<Head, rh::wire::call_head>) {
    head.parameters.push_back(rh::wire::shape_of(value));
    rh::wire::outgoing_message(head, 1, {&view, 1}).append_next(out);
  } else {
    head.result = rh::wire::shape_of(value);
    rh::wire::outgoing_message(head, 1, {&view, 1}).append_next(out);
  }
  return out.size();
}
inline std::size_t call_bytes() {
  return message_bytes(rh::wire::call_head());
}
inline std::size_t outcome_bytes() {
  return message_bytes(rh::wire::outcome_head());
}

/// One end of a bare stream: waits as ours do. The peer's end is the end of the process.
class bare_end {
 public:
  explicit bare_end(rh::os::unique_fd fd) : fd_(std::move(fd)) {}

  void send(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const auto sent = rh::os::send(fd_.get(), bytes, rh::os::blocking::no);
      if (sent.how == rh::os::transfer::closed) ::_exit(0);
      if (sent.how == rh::os::transfer::would_block) wait(POLLOUT);
      bytes = bytes.subspan(sent.bytes);
    }
  }
  std::size_t receive_some(std::span<std::byte> into) {
    rh::os::transferred got{rh::os::transfer::would_block, 0};
    const auto something = [&] {
      got = rh::os::receive(fd_.get(), into, rh::os::blocking::no);
      return got.how != rh::os::transfer::would_block;
    };
    rh::io::spin_until(waiting_, something);
    while (got.how == rh::os::transfer::would_block) {
      wait(POLLIN);
      something();
    }
    if (got.how == rh::os::transfer::closed) ::_exit(0);
    return got.bytes;
  }
  void receive(std::span<std::byte> whole) {
    while (!whole.empty()) whole = whole.subspan(receive_some(whole));
  }

 private:
  void wait(short events) {
    pollfd ready{fd_.get(), events, 0};
    ::poll(&ready, 1, -1);
  }
  rh::os::unique_fd fd_;
  rh::io::waiting_policy waiting_;
};

/// Runs `serve(end)` in a forked process and gives the other end. Called before anything of runhouse is used, so that
/// the child has one thread and none of its descriptors. It ends when this process does, or closes its end.
template <class Serve>
bare_end fork_peer(Serve serve) {
  auto [ours, theirs] = rh::os::socket_pair();
  std::fflush(nullptr);
  if (::fork() == 0) {
    ours = rh::os::unique_fd();
    serve(bare_end(std::move(theirs)));
    ::_exit(0);
  }
  return bare_end(std::move(ours));
}

/// A peer that answers as many bytes as a call of int -> int has with those of its outcome.
inline bare_end start_echo() {
  return fork_peer([](bare_end end) {
    std::vector<std::byte> in(call_bytes());
    const std::vector<std::byte> out(outcome_bytes());
    for (;;) {
      end.receive(in);
      end.send(out);
    }
  });
}

/// A peer that has another one answer, and passes on what that says: three processes wait for each other, as a program,
/// a node and a worker do.
inline bare_end start_relay() {
  return fork_peer([](bare_end end) {
    bare_end beyond = start_echo();
    std::vector<std::byte> in(call_bytes());
    std::vector<std::byte> out(outcome_bytes());
    for (;;) {
      end.receive(in);
      beyond.send(in);
      beyond.receive(out);
      end.send(out);
    }
  });
}

/// One round trip to it, of `n` in turn.
inline double echo_microseconds(bare_end& echo, int n) {
  const std::vector<std::byte> out(call_bytes());
  std::vector<std::byte> in(outcome_bytes());
  const stopwatch watch;
  for (int i = 0; i < n; ++i) {
    echo.send(out);
    echo.receive(in);
  }
  return watch.seconds() * 1e6 / n;
}

}  // namespace bench
