// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/os/shared_memory.hpp>
#include <runhouse/os/socket.hpp>
#include <runhouse/os/timer_fd.hpp>
#include <runhouse/wire/message_stream.hpp>
#include <runhouse/wire/outbox.hpp>
#include <runhouse/worker/end_worker.hpp>
#include <runhouse/worker/run_call.hpp>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <poll.h>
#include <span>
#include <stop_token>
#include <utility>
#include <vector>

namespace rh::detail {

/// No call's stream: a call's is its number, of 32 bits.
inline constexpr std::uint64_t no_call = ~std::uint64_t{0};

/// What a worker writes to its calls socket. Outcomes of short calls are gathered in the outbox while the next call is
/// at hand, and leave in one write: after limits::gather at the latest, or where a call takes longer, when the watcher
/// sees limits::flush_delay pass. If there is no outbox, each leaves at once.
///
/// Two threads: the one that runs calls puts; the watcher tells of credit, and of the timer.
class outcome_writer {
 public:
  explicit outcome_writer(int socket) noexcept : socket_(socket) {}
  /// Whether the node takes results in memory files.
  void set_takes_files(bool takes) noexcept { takes_files_ = takes; }
  void use(os::shared_memory<wire::outbox> box) noexcept { box_ = std::move(box); }

  /// Sends the outcome of call `stream`, or gathers it if another call is `at_hand`.
  void put(const call_result& result, std::uint64_t stream, bool at_hand);
  /// Sends a frame of any other type.
  void put_frame(wire::frame_type type, std::uint64_t stream, std::span<const std::byte> payload, std::uint8_t flags = 0);
  /// Sends, or gathers, one item of call `stream`; then waits while too many have not been taken, or until `stop`.
  void put_item(const call_result& item, std::uint64_t stream, const std::stop_token& stop);
  /// Sends what was gathered.
  void flush();

  /// Watcher: readable when expired() is to be called.
  int timer() const noexcept { return timer_.get(); }
  void expired() noexcept;
  /// Watcher: the node has room for so many more bytes of the body of call `stream`.
  void add_credit(std::uint64_t stream, std::uint64_t bytes);
  /// Watcher: the consumer of call `stream` has so many more of its items.
  void add_taken(std::uint64_t stream, std::uint32_t count);

 private:
  using clock = std::chrono::steady_clock;
  using lock = std::unique_lock<std::mutex>;

  bool gather(bool at_hand);
  bool send_gathered() noexcept;
  void send_with_file(const call_result& result, std::uint64_t stream);
  void send_in_parts(const wire::outcome_head& head, std::uint64_t stream, std::span<const wire::payload_view> body);
  void send_all(std::span<const std::byte> bytes);
  void wait_writable() noexcept;

  const int socket_;
  bool takes_files_ = false;
  os::timer_fd timer_;
  std::vector<std::byte> out_;
  std::vector<std::span<const std::byte>> segments_;

  // Shared with the watcher.
  std::mutex mutex_;
  os::shared_memory<wire::outbox> box_;
  std::size_t sent_ = 0;  // of the outbox
  bool timer_started_ = false;
  clock::time_point gathered_since_{};
  std::condition_variable credit_came_;
  std::uint64_t crediting_ = no_call;
  std::uint64_t credit_ = 0;
  std::condition_variable taken_came_;
  std::uint64_t items_of_ = no_call;
  std::deque<std::uint64_t> ahead_;  // sizes of the items that were not taken
  std::uint64_t ahead_bytes_ = 0;
};

// ---- implementation

inline void outcome_writer::put(const call_result& result, std::uint64_t stream, bool at_hand) {
  if (result.value.file && takes_files_) return send_with_file(result, stream);
  out_.clear();
  const wire::payload_view value = wire::view(result.value, segments_);
  if (result.value.file) {
    wire::outcome_head head = result.head;
    head.result = wire::shape_of(value);
    return send_in_parts(head, stream, {&value, 1});
  }
  const std::span<const wire::payload_view> body(&value, wire::has_payload(result.head.kind) ? 1 : 0);
  if (!wire::append_whole(out_, result.head, stream, body)) return send_in_parts(result.head, stream, body);
  if (!box_) return send_all(out_);
  if (gather(at_hand)) return;
  flush();
  if (!out_.empty()) send_all(out_);
}

/// Takes out_ into the outbox, or leaves it if there is no room; true if it may stay there for a while.
inline bool outcome_writer::gather(bool at_hand) {
  const lock locked(mutex_);
  const bool is_first = box_->frames().empty();
  if (!box_->append(out_)) return false;
  out_.clear();
  if (!at_hand) return false;
  const auto now = clock::now();
  if (!is_first) return now - gathered_since_ < limits::gather;
  gathered_since_ = now;
  if (!std::exchange(timer_started_, true)) timer_.start(limits::flush_delay);
  return true;
}

/// Under the lock. False if the socket has no room for all of it now.
inline bool outcome_writer::send_gathered() noexcept {
  const auto frames = box_->frames();
  while (sent_ < frames.size()) {
    const auto sent = os::send(socket_, frames.subspan(sent_), os::blocking::no);
    if (sent.how == os::transfer::closed) end_worker();
    if (sent.how == os::transfer::would_block) return false;
    sent_ += sent.bytes;
  }
  sent_ = 0;
  box_->clear();
  return true;
}

inline void outcome_writer::flush() {
  if (!box_ || box_->frames().empty()) return;
  for (;;) {
    {
      const lock locked(mutex_);
      if (send_gathered()) return;
    }
    wait_writable();
  }
}

inline void outcome_writer::expired() noexcept {
  const lock locked(mutex_);
  timer_.clear();
  timer_started_ = false;
  if (!send_gathered() && !std::exchange(timer_started_, true)) timer_.start(limits::flush_delay);
}

inline void outcome_writer::send_with_file(const call_result& result, std::uint64_t stream) {
  flush();
  out_.clear();
  wire::outgoing_message(result.head, stream, {}).append_next(out_);
  const int fd = result.value.file->file->descriptor();
  for (;;) {
    const auto sent = os::send(socket_, out_, std::span(&fd, 1));
    if (sent.how == os::transfer::closed) end_worker();
    if (sent.how == os::transfer::some) return send_all(std::span(out_).subspan(sent.bytes));
    wait_writable();
  }
}

inline void outcome_writer::send_in_parts(const wire::outcome_head& head, std::uint64_t stream,
                                          std::span<const wire::payload_view> body) {
  flush();
  {
    const lock locked(mutex_);
    crediting_ = stream;
    credit_ = limits::stream_credit_bytes;
  }
  std::optional<wire::outgoing_message> encoded;
  try {
    encoded.emplace(head, stream, body);
  } catch (const error& e) {
    wire::outcome_head refused = worker_detail::refuse(e.kind(), e.what()).head;
    refused.ran = true;
    encoded.emplace(refused, stream, std::span<const wire::payload_view>());
  }
  wire::outgoing_message& message = *encoded;
  while (!message.done()) {
    std::size_t room = limits::chunk_bytes;
    if (message.body_left() > 0) {
      lock locked(mutex_);
      credit_came_.wait(locked, [&] { return credit_ > 0; });
      room = static_cast<std::size_t>(std::min<std::uint64_t>(room, credit_));
    }
    out_.clear();
    const std::size_t took = message.append_next(out_, room);
    {
      const lock locked(mutex_);
      credit_ -= took;
    }
    send_all(out_);
  }
  const lock locked(mutex_);
  crediting_ = no_call;
}

inline void outcome_writer::add_credit(std::uint64_t stream, std::uint64_t bytes) {
  {
    const lock locked(mutex_);
    if (crediting_ != stream) return;
    credit_ += std::min(bytes, limits::body_bytes - std::min(credit_, limits::body_bytes));
  }
  credit_came_.notify_one();
}

inline void outcome_writer::put_item(const call_result& item, std::uint64_t stream, const std::stop_token& stop) {
  const auto is_too_far = [&] { return ahead_bytes_ >= limits::items_ahead_bytes || ahead_.size() >= limits::items_ahead; };
  bool waits = false;
  {
    const lock locked(mutex_);
    if (std::exchange(items_of_, stream) != stream) {
      ahead_.clear();
      ahead_bytes_ = 0;
    }
    ahead_.push_back(item.value.size_bytes());
    ahead_bytes_ += ahead_.back();
    waits = is_too_far();
  }
  put(item, stream, !waits);
  if (!waits) return;
  flush();
  const std::stop_callback wake(stop, [this] {
    { const lock locked(mutex_); }
    taken_came_.notify_one();
  });
  lock locked(mutex_);
  taken_came_.wait(locked, [&] { return !is_too_far() || stop.stop_requested(); });
}

inline void outcome_writer::add_taken(std::uint64_t stream, std::uint32_t count) {
  {
    const lock locked(mutex_);
    if (items_of_ != stream) return;
    for (; count > 0 && !ahead_.empty(); --count) {
      ahead_bytes_ -= ahead_.front();
      ahead_.pop_front();
    }
  }
  taken_came_.notify_one();
}

inline void outcome_writer::put_frame(wire::frame_type type, std::uint64_t stream, std::span<const std::byte> payload,
                                      std::uint8_t flags) {
  flush();
  out_.clear();
  wire::append_frame(out_, {type, flags, 0, stream}, payload);
  send_all(out_);
}

inline void outcome_writer::send_all(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const auto sent = os::send(socket_, bytes, os::blocking::no);
    if (sent.how == os::transfer::closed) end_worker();
    if (sent.how == os::transfer::would_block) {
      wait_writable();
      continue;
    }
    bytes = bytes.subspan(sent.bytes);
  }
}

inline void outcome_writer::wait_writable() noexcept {
  pollfd writable{socket_, POLLOUT, 0};
  ::poll(&writable, 1, -1);
}

}  // namespace rh::detail
