// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/io/waiting.hpp>
#include <runhouse/os/fd.hpp>
#include <runhouse/os/own_libraries.hpp>
#include <runhouse/os/shared_memory.hpp>
#include <runhouse/os/socket.hpp>
#include <runhouse/os/system.hpp>
#include <runhouse/os/thread.hpp>
#include <runhouse/wire/frame_buffer.hpp>
#include <runhouse/wire/message_stream.hpp>
#include <runhouse/wire/outbox.hpp>
#include <runhouse/worker/end_worker.hpp>
#include <runhouse/worker/kept_results.hpp>
#include <runhouse/worker/outcome_writer.hpp>
#include <runhouse/worker/output_marks.hpp>
#include <runhouse/worker/run_call.hpp>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <new>
#include <optional>
#include <poll.h>
#include <span>
#include <stop_token>
#include <string>
#include <sys/prctl.h>
#include <sys/stat.h>
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
  explicit worker(std::string mark_token) : marks_(std::move(mark_token)) {}

  /// Serves until the node is gone; then ends the process.
  [[noreturn]] void run();

 private:
  using lock = std::unique_lock<std::mutex>;

  void take_descriptors();
  void say_hello();
  void serve_frame(const wire::frame& in);
  void begin_call(const wire::frame& in);
  bool take_files(const wire::call_head& head);
  void serve_call(wire::incoming_message<wire::call_head>& call, std::uint64_t stream);
  bool view_arguments(const wire::incoming_message<wire::call_head>& call, std::span<const wire::payload_file> files);
  void serve_describe(std::uint64_t stream);
  bool receive_more();

  void watch();
  void watch_frame(const wire::frame& in);
  /// Says why on the socket that the calling thread writes to, and ends.
  [[noreturn]] void refuse(int socket, errc code, const std::string& why);

  output_marks marks_;
  function_finder functions_;
  os::shared_memory<wire::start_gate> gate_;
  outcome_writer outcomes_{worker_descriptors::calls};
  wire::frame_buffer in_;
  io::waiting_policy waiting_;
  std::vector<argument_view> arguments_;
  std::vector<wire::payload_view> payloads_;
  kept_results kept_;
  std::vector<std::span<const std::byte>> segments_;
  os::received_fds fds_;
  std::vector<wire::payload_file> files_;  // of the arguments of one call
  std::vector<std::vector<std::span<const std::byte>>> file_segments_;
  bool greeted_ = false;
  std::optional<std::uint32_t> last_number_;  // of the calls that came
  std::optional<std::pair<std::uint64_t, wire::incoming_message<wire::call_head>>> partial_;

  // Shared with the watcher.
  std::mutex mutex_;
  std::uint64_t running_ = no_call;
  std::uint64_t cancelled_ = no_call;  // started, says the gate, but not yet running_ when its cancel came
  std::stop_source stop_;
};

/// Whether this process was started as a worker.
inline bool is_asked_to_serve() noexcept { return std::getenv(worker_variable) != nullptr; }

/// Serves, until the node is gone. Precondition: is_asked_to_serve().
[[noreturn]] inline void serve_as_worker() {
  std::string token = std::getenv(worker_variable);
  ::unsetenv(worker_variable);  // what a function starts is no worker
  os::own_libraries::take();
  worker(std::move(token)).run();
}

// ---- implementation

inline void worker::take_descriptors() {
  for (const int fd : {worker_descriptors::calls, worker_descriptors::control}) {
    int type = 0;
    socklen_t size = sizeof type;
    if (::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM) {
      std::fprintf(stderr, "runhouse: %s is set, but descriptor %d is no socket of a node; unset the variable\n", worker_variable, fd);
      std::_Exit(2);
    }
    os::set_nonblocking(fd);
    ::fcntl(fd, F_SETFD, FD_CLOEXEC);
  }
  // A touch of a mapped page that its file does not have is SIGBUS.
  struct stat facts {};
  if (::fstat(worker_descriptors::gate, &facts) != 0 || !S_ISREG(facts.st_mode) ||
      facts.st_size < static_cast<off_t>(os::page_bytes)) {
    std::fprintf(stderr, "runhouse: descriptor %d is no memory file of a page, as a worker's start gate must be\n", worker_descriptors::gate);
    std::_Exit(2);
  }
  ::fcntl(worker_descriptors::gate, F_SETFD, FD_CLOEXEC);
  try {
    gate_ = os::shared_memory<wire::start_gate>::map(worker_descriptors::gate);
    if (facts.st_size >= static_cast<off_t>(os::shared_memory<wire::worker_memory>::size_bytes)) {
      outcomes_.use(os::shared_memory<wire::outbox>::map(worker_descriptors::gate, wire::worker_memory::outbox_offset));
    }
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s, for the start gate\n", e.what());
    std::_Exit(2);
  }
}

inline void worker::run() {
  take_descriptors();
  // A stopped worker must still see the end of its node. Not SIGKILL: that would spare the processes it has started.
  ::prctl(PR_SET_PDEATHSIG, SIGCONT);
  ::setvbuf(stdout, nullptr, _IOLBF, 0);

  os::start_thread([this] { watch(); });

  say_hello();
  for (;;) {
    const auto next = in_.next();
    if (next) {
      serve_frame(*next);
    } else if (next.code() != errc::truncated) {
      refuse(worker_descriptors::calls, next.code(), "what came on the calls socket is no frame");
    } else {
      outcomes_.flush();
      if (!receive_more()) end_worker();
    }
  }
}

inline void worker::say_hello() {
  wire::hello h;
  h.features = wire::feature::files;
  h.pid = static_cast<std::uint32_t>(::getpid());
  h.program = program_files();
  h.host = os::host_name();
  outcomes_.put_frame(wire::frame_type::hello, 0, encode(h));
}

inline bool worker::receive_more() {
  const auto room = in_.room();
  os::transferred got{os::transfer::would_block, 0};
  io::spin_until(waiting_, [&] {
    got = os::receive(worker_descriptors::calls, room, fds_);
    return got.how != os::transfer::would_block;
  });
  while (got.how == os::transfer::would_block) {
    pollfd readable{worker_descriptors::calls, POLLIN, 0};
    ::poll(&readable, 1, -1);
    got = os::receive(worker_descriptors::calls, room, fds_);
  }
  if (got.how == os::transfer::closed) return false;
  if (got.how == os::transfer::no_fds || fds_.size() > 2 * limits::memory_files) {
    refuse(worker_descriptors::calls, errc::protocol_error, "a worker has no room for so many descriptors; allow more, by ulimit -n");
  }
  in_.received(got.bytes);
  return true;
}

inline void worker::serve_frame(const wire::frame& in) {
  constexpr int socket = worker_descriptors::calls;
  if (!greeted_ && in.header.type != wire::frame_type::hello && in.header.type != wire::frame_type::bye) {
    refuse(socket, errc::protocol_error, "the first frame on the calls socket must be a hello");
  }
  switch (in.header.type) {
    case wire::frame_type::hello: {
      if (std::exchange(greeted_, true)) refuse(socket, errc::protocol_error, "a second hello");
      const auto h = wire::decode_hello(in.payload);
      if (!h) {
        refuse(socket, h.code(), "this worker speaks version " + std::to_string(wire::protocol_major) + " of the protocol, " +
                                     "with frames of at least " + std::to_string(limits::frame_bytes) + " bytes");
      }
      outcomes_.set_takes_files((h->features & wire::feature::files) != 0);
      return;
    }
    case wire::frame_type::call: return begin_call(in);
    case wire::frame_type::data: {
      if (!partial_ || partial_->first != in.header.stream) refuse(socket, errc::protocol_error, "data of no call");
      const auto whole = partial_->second.add(in.header, in.payload);
      if (!whole) refuse(socket, whole.code(), "a call's data is not of the length that its head announced");
      if (*whole) {
        auto call = std::move(partial_->second);
        partial_.reset();
        serve_call(call, in.header.stream);
      }
      return;
    }
    case wire::frame_type::describe: return serve_describe(in.header.stream);
    case wire::frame_type::bye: end_worker();
    default:
      if (static_cast<std::uint8_t>(in.header.type) < 0x80) {
        refuse(socket, errc::protocol_error, "a frame that does not belong on the calls socket");
      }
      return;  // a later minor version's
  }
}

inline void worker::begin_call(const wire::frame& in) {
  constexpr int socket = worker_descriptors::calls;
  if (partial_) refuse(socket, errc::protocol_error, "a call before the last one was whole");
  const auto number = static_cast<std::uint32_t>(in.header.stream);
  if (number != in.header.stream || (last_number_ && !wire::start_gate::is_after(number, *last_number_))) {
    refuse(socket, errc::protocol_error, "the number of a call is not after that of the last one");
  }
  last_number_ = number;
  try {
    wire::incoming_message<wire::call_head> call;
    const auto whole = call.begin(in.header, in.payload);
    if (!whole) refuse(socket, whole.code(), "the head of a call cannot be read, or its body is not of the announced length");
    if (!take_files(call.head())) refuse(socket, errc::protocol_error, "a value that is in no sealed memory file, or in too short a one");
    if (*whole) {
      serve_call(call, in.header.stream);
    } else {
      partial_.emplace(in.header.stream, std::move(call));
    }
  } catch (const std::bad_alloc&) {
    refuse(socket, errc::payload_too_large, "there is no memory for the arguments of a call");
  }
}

/// The files that came with a call.
inline bool worker::take_files(const wire::call_head& head) {
  files_.clear();
  for (const wire::payload_shape& shape : head.parameters) {
    if (shape.kind != wire::payload_kind::in_file) continue;
    if (fds_.empty()) return false;
    wire::payload_file& file = files_.emplace_back();
    file.file = os::memory_file::adopt(std::move(fds_.front()));
    fds_.pop_front();
    file.stream_bytes = shape.stream_bytes;
    file.segment_bytes = shape.segment_bytes;
    if (!file.file || file.file->size_bytes() < file.size_bytes()) return false;
  }
  if (file_segments_.size() < files_.size()) file_segments_.resize(files_.size());
  return true;
}

/// In as many frames as it takes: a program may have more functions than fit into one.
inline void worker::serve_describe(std::uint64_t stream) {
  const auto all = function_finder::rows();
  std::span<const wire::function_row> rows = all;
  do {
    const std::size_t n = wire::functions_frame_rows(rows);
    const auto payload = encode(rows.first(n));
    rows = rows.subspan(n);
    outcomes_.put_frame(wire::frame_type::functions, stream, payload, rows.empty() ? std::uint8_t{0} : wire::flag_more);
  } while (!rows.empty());
}

/// Sends what a generator gives.
class items_to final : public item_sink {
 public:
  items_to(outcome_writer& out, std::uint64_t stream, std::stop_token stop) noexcept
      : out_(out), stream_(stream), stop_(std::move(stop)) {}
  void put(wire::payload item) override {
    if (!stop_.stop_requested()) {
      call_result one;
      one.head.kind = wire::outcome_kind::item;
      one.head.result = wire::shape_of(item);
      one.value = std::move(item);
      out_.put_item(one, stream_, stop_);
    }
    if (stop_.stop_requested()) fail(errc::cancelled, "it was cancelled, and its generator is not asked for more");
  }

 private:
  outcome_writer& out_;
  const std::uint64_t stream_;
  const std::stop_token stop_;
};

inline void worker::serve_call(wire::incoming_message<wire::call_head>& call, std::uint64_t stream) {
  const auto files = std::exchange(files_, {});  // they are closed when the call has ended
  if (!gate_->claim(static_cast<std::uint32_t>(stream))) return;  // taken back: no answer is expected
  std::stop_token stop;
  {
    const lock locked(mutex_);
    running_ = stream;
    if (stop_.stop_requested()) stop_ = std::stop_source();
    if (std::exchange(cancelled_, no_call) == stream) stop_.request_stop();
    stop = stop_.get_token();
  }
  call_result result;
  try {
    if (view_arguments(call, files)) {
      items_to items(outcomes_, stream, stop);
      result = run_call(functions_, call.head(), arguments_, std::move(stop), items);
    } else {
      result.head.kind = wire::outcome_kind::missing;
    }
  } catch (const std::bad_alloc&) {
    result = worker_detail::refuse(errc::payload_too_large, "the worker has no memory to see its arguments");
  }
  result.head.output_waiting = marks_.end_of(stream);
  outcomes_.put(result, stream, in_.has_next());
  if (call.head().keeps_result && result.head.kind == wire::outcome_kind::value) {
    kept_.keep(static_cast<std::uint32_t>(stream), std::move(result.value));
  }
  const lock locked(mutex_);
  running_ = no_call;
}

/// False if one of them is a result that is not here.
inline bool worker::view_arguments(const wire::incoming_message<wire::call_head>& call, std::span<const wire::payload_file> files) {
  const auto& shapes = call.head().parameters;
  payloads_.resize(shapes.size());
  wire::view_payloads(shapes, call.body().bytes(), segments_, payloads_);
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    if (shapes[i].kind == wire::payload_kind::in_file) {
      payloads_[i] = wire::view(files.front(), file_segments_[files.size() - 1]);
      files = files.subspan(1);
    }
    if (shapes[i].kind != wire::payload_kind::result_of) continue;
    const wire::payload_view* kept = kept_.find(static_cast<std::uint32_t>(shapes[i].stream_bytes));
    if (kept == nullptr) return false;
    payloads_[i] = *kept;
  }
  arguments_.clear();
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    argument_view& argument = arguments_.emplace_back();
    argument.value = payloads_[i];
    argument.is_list = shapes[i].kind == wire::payload_kind::list;
    if (!argument.is_list) continue;
    const auto count = static_cast<std::size_t>(shapes[i].stream_bytes);
    argument.elements = std::span(payloads_).subspan(i + 1, count);
    i += count;
  }
  return true;
}

inline void worker::watch() {
  wire::frame_buffer in;
  for (;;) {
    const auto next = in.next();
    if (next) {
      watch_frame(*next);
      continue;
    }
    if (next.code() != errc::truncated) refuse(worker_descriptors::control, next.code(), "what came on the control socket is no frame");
    pollfd readable[] = {{worker_descriptors::control, POLLIN, 0}, {outcomes_.timer(), POLLIN, 0}};
    ::poll(readable, 2, -1);
    if (readable[1].revents != 0) outcomes_.expired();
    const auto got = os::receive(worker_descriptors::control, in.room(), os::blocking::no);
    if (got.how == os::transfer::closed) end_worker();
    if (got.how == os::transfer::some) in.received(got.bytes);
  }
}

inline void worker::watch_frame(const wire::frame& in) {
  switch (in.header.type) {
    case wire::frame_type::cancel: {
      std::stop_source stop;
      {
        const lock locked(mutex_);
        if (running_ != in.header.stream) {
          cancelled_ = in.header.stream;
          return;
        }
        stop = stop_;
      }
      stop.request_stop();  // runs the function's callbacks, so without the lock
      return;
    }
    case wire::frame_type::credit: {
      wire::byte_reader read(in.payload);
      const auto bytes = read.get<std::uint64_t>();
      if (!read.ok() || read.left() != 0) refuse(worker_descriptors::control, errc::protocol_error, "a credit that is not of 8 bytes");
      outcomes_.add_credit(in.header.stream, bytes);
      return;
    }
    case wire::frame_type::taken: {
      wire::byte_reader read(in.payload);
      const auto count = read.get<std::uint32_t>();
      if (!read.ok() || read.left() != 0) refuse(worker_descriptors::control, errc::protocol_error, "a taken that is not of 4 bytes");
      outcomes_.add_taken(in.header.stream, count);
      return;
    }
    case wire::frame_type::ping: {
      if (in.payload.size() > limits::ping_bytes) {
        refuse(worker_descriptors::control, errc::protocol_error, "a ping of over " + std::to_string(limits::ping_bytes) + " bytes");
      }
      std::vector<std::byte> pong;
      wire::append_frame(pong, {wire::frame_type::pong, 0, 0, in.header.stream}, in.payload);
      // Who lets some thousand pings lie unanswered does not wait for this one.
      static_cast<void>(os::send(worker_descriptors::control, pong, os::blocking::no));
      return;
    }
    case wire::frame_type::bye: end_worker();
    default:
      if (static_cast<std::uint8_t>(in.header.type) < 0x80) {
        refuse(worker_descriptors::control, errc::protocol_error, "a frame that does not belong on the control socket");
      }
      return;  // a later minor version's
  }
}

inline void worker::refuse(int socket, errc code, const std::string& why) {
  if (socket == worker_descriptors::calls) outcomes_.flush();
  std::vector<std::byte> frame;
  wire::append_frame(frame, {wire::frame_type::bye, 0, 0, 0}, encode(wire::bye{static_cast<std::uint32_t>(code), why}));
  // Without waiting: who does not read will not read this either.
  static_cast<void>(os::send(socket, frame, os::blocking::no));
  end_worker();
}

}  // namespace rh::detail
