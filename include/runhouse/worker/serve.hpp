// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/io/waiting.hpp>
#include <runhouse/os/fd.hpp>
#include <runhouse/os/shared_page.hpp>
#include <runhouse/os/socket.hpp>
#include <runhouse/os/system.hpp>
#include <runhouse/wire/frame_buffer.hpp>
#include <runhouse/wire/message_stream.hpp>
#include <runhouse/wire/start_gate.hpp>
#include <runhouse/worker/run_call.hpp>

#include <algorithm>
#include <condition_variable>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace rh::detail {

/// The descriptors that a worker is started with. Source: wire/protocol.md, section 7.
struct worker_descriptors {
  static constexpr int calls = 3;
  static constexpr int control = 4;
  static constexpr int gate = 5;
};

/// The environment variable that makes a program a worker; its value is the token of output marks, or empty.
inline constexpr const char* worker_variable = "RUNHOUSE_WORKER";

/// The far side of calls: reads one, runs it, answers, and so on, on the thread that called run(). A second thread only
/// watches the control socket, so that a call can be cancelled, and that the end of the node ends this process and
/// every process that its functions have started, also in the middle of a call.
class worker {
 public:
  explicit worker(std::string mark_token) : mark_token_(std::move(mark_token)) {}

  /// Serves until the node is gone; then ends the process.
  [[noreturn]] void run();

 private:
  using lock = std::unique_lock<std::mutex>;

  void say_hello();
  void serve_frame(const wire::frame& in);
  void serve_call(wire::incoming_message<wire::call_head>& call, std::uint64_t stream);
  void send_outcome(call_result result, std::uint64_t stream);
  bool mark_output(std::uint64_t stream);
  void send_frame(wire::frame_type type, std::uint64_t stream, std::span<const std::byte> payload);
  void send_all(int socket, std::span<const std::byte> bytes);
  bool receive_more();

  void watch();
  void watch_frame(const wire::frame& in);
  [[noreturn]] static void end();

  std::string mark_token_;
  function_finder functions_;
  os::shared_page<wire::start_gate> gate_;
  wire::frame_buffer in_;
  io::waiting_policy waiting_;
  std::vector<std::byte> out_;
  std::optional<std::pair<std::uint64_t, wire::incoming_message<wire::call_head>>> partial_;

  // Shared with the watcher.
  std::mutex mutex_;
  std::condition_variable credit_came_;
  std::uint64_t running_ = 0;
  std::uint64_t cancelled_ = 0;  // the highest stream that was cancelled while it ran or before
  std::stop_source stop_;
  std::uint64_t credit_ = limits::stream_credit_bytes;
};

/// Serves if this process was started as a worker, and then does not return.
inline void serve_as_worker_if_asked() {
  const char* asked = std::getenv(worker_variable);
  if (asked == nullptr) return;
  std::string token = asked;
  ::unsetenv(worker_variable);  // what a function starts is no worker
  worker(std::move(token)).run();
}

// ---- implementation

inline void worker::run() {
  int type = 0;
  socklen_t size = sizeof type;
  for (const int fd : {worker_descriptors::calls, worker_descriptors::control}) {
    if (::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM) {
      std::fprintf(stderr, "runhouse: %s is set, but descriptor %d is no socket of a node; unset the variable\n", worker_variable, fd);
      std::_Exit(2);
    }
    os::set_nonblocking(fd);
    ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  }
  ::fcntl(worker_descriptors::gate, F_SETFD, FD_CLOEXEC);
  // A stopped worker must still see the end of its node. Not SIGKILL: that would spare the processes it has started.
  ::prctl(PR_SET_PDEATHSIG, SIGCONT);
  ::setvbuf(stdout, nullptr, _IOLBF, 0);

  gate_ = os::shared_page<wire::start_gate>::map(worker_descriptors::gate);
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);  // signals are for the thread that runs functions
  std::thread([this] { watch(); }).detach();
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);

  say_hello();
  for (;;) {
    const auto next = in_.next();
    if (next) {
      serve_frame(*next);
    } else if (next.code() != errc::truncated || !receive_more()) {
      end();
    }
  }
}

inline void worker::say_hello() {
  wire::hello h;
  h.pid = static_cast<std::uint32_t>(::getpid());
  h.program = program_files();
  h.host = os::host_name();
  send_frame(wire::frame_type::hello, 0, encode(h));
}

inline bool worker::receive_more() {
  const auto room = in_.room();
  os::transferred got{os::transfer::would_block, 0};
  io::spin_until(waiting_, [&] {
    got = os::receive(worker_descriptors::calls, room, os::blocking::no);
    return got.how != os::transfer::would_block;
  });
  while (got.how == os::transfer::would_block) {
    pollfd readable{worker_descriptors::calls, POLLIN, 0};
    ::poll(&readable, 1, -1);
    got = os::receive(worker_descriptors::calls, room, os::blocking::no);
  }
  if (got.how == os::transfer::closed) return false;
  in_.received(got.bytes);
  return true;
}

inline void worker::serve_frame(const wire::frame& in) {
  switch (in.header.type) {
    case wire::frame_type::hello: {
      const auto h = wire::decode_hello(in.payload);
      if (!h) {
        const std::uint32_t code = static_cast<std::uint32_t>(h.code());
        send_frame(wire::frame_type::bye, 0, std::as_bytes(std::span(&code, 1)));
        end();
      }
      return;
    }
    case wire::frame_type::call: {
      if (partial_) end();
      wire::incoming_message<wire::call_head> call;
      const auto whole = call.begin(in.header, in.payload);
      if (!whole) end();
      if (*whole) {
        serve_call(call, in.header.stream);
      } else {
        partial_.emplace(in.header.stream, std::move(call));
      }
      return;
    }
    case wire::frame_type::data: {
      if (!partial_ || partial_->first != in.header.stream) end();
      const auto whole = partial_->second.add(in.header, in.payload);
      if (!whole) end();
      if (*whole) {
        auto call = std::move(partial_->second);
        partial_.reset();
        serve_call(call, in.header.stream);
      }
      return;
    }
    case wire::frame_type::describe:
      send_frame(wire::frame_type::functions, in.header.stream, encode(function_finder::rows()));
      return;
    case wire::frame_type::bye: end();
    default:
      if (static_cast<std::uint8_t>(in.header.type) < 0x80) end();
      return;  // a later minor version's
  }
}

inline void worker::serve_call(wire::incoming_message<wire::call_head>& call, std::uint64_t stream) {
  if (!gate_->claim(static_cast<std::uint32_t>(stream))) return;  // taken back: no answer is expected
  std::stop_token stop;
  {
    const lock locked(mutex_);
    running_ = stream;
    if (stop_.stop_requested()) stop_ = std::stop_source();
    if (cancelled_ == stream) stop_.request_stop();
    credit_ = limits::stream_credit_bytes;
    stop = stop_.get_token();
  }
  std::vector<std::span<const std::byte>> spans;
  const auto arguments = wire::incoming_message<wire::call_head>::views(call.head().parameters, call.body().bytes(), spans);
  call_result result = run_call(functions_, call.head(), arguments, std::move(stop));
  std::fflush(stdout);
  result.head.output_waiting = mark_output(stream);
  send_outcome(std::move(result), stream);
  const lock locked(mutex_);
  running_ = 0;
}

inline void worker::send_outcome(call_result result, std::uint64_t stream) {
  std::optional<wire::outgoing_message> message;
  try {
    message.emplace(result.head, stream, std::move(result.value));
  } catch (const error& e) {
    message.emplace(worker_detail::refuse(e.kind(), e.what()).head, stream, nullptr);
  }
  while (!message->done()) {
    std::size_t room = limits::chunk_bytes;
    if (message->body_left() > 0) {
      lock locked(mutex_);
      credit_came_.wait(locked, [&] { return credit_ > 0; });
      room = static_cast<std::size_t>(std::min<std::uint64_t>(room, credit_));
    }
    out_.clear();
    const std::size_t took = message->append_next(out_, room);
    if (took > 0) {
      const lock locked(mutex_);
      credit_ -= took;
    }
    send_all(worker_descriptors::calls, out_);
  }
}

/// Tells the node where in the pipes this call's output ends, if it has not read all of it yet.
inline bool worker::mark_output(std::uint64_t stream) {
  if (mark_token_.empty()) return false;
  bool waiting = false;
  for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) {
    int unread = 0;
    if (::ioctl(fd, FIONREAD, &unread) != 0 || unread == 0) continue;
    const std::string mark = mark_token_ + std::to_string(stream) + "\n";
    std::size_t done = 0;
    while (done < mark.size()) {
      const ssize_t n = ::write(fd, mark.data() + done, mark.size() - done);
      if (n < 0 && errno != EINTR) break;
      if (n > 0) done += static_cast<std::size_t>(n);
    }
    waiting = true;
  }
  return waiting;
}

inline void worker::send_frame(wire::frame_type type, std::uint64_t stream, std::span<const std::byte> payload) {
  out_.clear();
  wire::append_frame(out_, {type, 0, 0, stream}, payload);
  send_all(worker_descriptors::calls, out_);
}

inline void worker::send_all(int socket, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto sent = os::send(socket, bytes, os::blocking::no);
    if (sent.how == os::transfer::closed) end();
    if (sent.how == os::transfer::would_block) {
      pollfd writable{socket, POLLOUT, 0};
      ::poll(&writable, 1, -1);
      continue;
    }
    bytes = bytes.subspan(sent.bytes);
  }
}

inline void worker::watch() {
  wire::frame_buffer in;
  for (;;) {
    const auto next = in.next();
    if (next) {
      watch_frame(*next);
      continue;
    }
    if (next.code() != errc::truncated) end();
    pollfd readable{worker_descriptors::control, POLLIN, 0};
    ::poll(&readable, 1, -1);
    const auto got = os::receive(worker_descriptors::control, in.room(), os::blocking::no);
    if (got.how == os::transfer::closed) end();
    if (got.how == os::transfer::some) in.received(got.bytes);
  }
}

inline void worker::watch_frame(const wire::frame& in) {
  switch (in.header.type) {
    case wire::frame_type::cancel: {
      std::stop_source stop;
      {
        const lock locked(mutex_);
        cancelled_ = in.header.stream;
        if (running_ != in.header.stream) return;
        stop = stop_;
      }
      stop.request_stop();  // runs the function's callbacks, so without the lock
      return;
    }
    case wire::frame_type::credit: {
      wire::byte_reader read(in.payload);
      const auto bytes = read.get<std::uint64_t>();
      {
        const lock locked(mutex_);
        if (running_ == in.header.stream) credit_ += std::min<std::uint64_t>(bytes, limits::body_bytes);
      }
      credit_came_.notify_one();
      return;
    }
    case wire::frame_type::ping: {
      std::vector<std::byte> pong;
      wire::append_frame(pong, {wire::frame_type::pong, 0, 0, in.header.stream}, in.payload);
      send_all(worker_descriptors::control, pong);
      return;
    }
    default: return;
  }
}

inline void worker::end() {
  // Everything that this worker's functions have started is in its group, unless it left it.
  if (::getpgrp() == ::getpid()) ::kill(0, SIGKILL);
  std::_Exit(0);
}

}  // namespace rh::detail
