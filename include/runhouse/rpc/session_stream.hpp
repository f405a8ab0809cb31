// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/runtime.hpp>
#include <runhouse/core/limits.hpp>
#include <runhouse/os/duplex.hpp>
#include <runhouse/rpc/frame_log.hpp>
#include <runhouse/wire/frame_buffer.hpp>
#include <runhouse/wire/session_message.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace rh::detail {

/// A connection that is made, and has said who it is: frames may follow.
struct open_connection {
  os::duplex stream;
  os::unique_fd bridge;  ///< of a node: to who holds the stream's other copies, until this is closed
  wire::frame_buffer in;  ///< with what came behind the handshake
  os::received_fds files;
  std::uint64_t peer_received = 0;  ///< counted frames of ours that the other side has
};

/// The frames of a session, in both directions, over one connection after the other: each counted frame comes once and
/// in order, as long as both sides live. On the strand.
/// Source: wire/session.md, section 3.
class session_stream final : public poller, public flushable, public std::enable_shared_from_this<session_stream> {
 public:
  class owner {
   public:
    /// One of the frames that are not the stream's own; false if it is not allowed. `files` are those that came, from
    /// which it takes its own.
    virtual bool frame_came(const wire::frame& in, os::received_fds& files) = 0;
    /// Appends one frame that waits to be sent; false if none does.
    virtual bool append_next(frame_log& to) = 0;
    /// The connection is gone, of itself or because the other side said what is not allowed.
    virtual void connection_lost(std::string why) noexcept = 0;

   protected:
    ~owner() = default;
  };

  session_stream(runtime& r, owner& o) noexcept : runtime_(r), owner_(&o) {}
  session_stream(const session_stream&) = delete;
  session_stream& operator=(const session_stream&) = delete;

  /// Goes on over this connection. False if the two sides do not agree on what was said, which ends the session.
  /// Precondition: held by a shared_ptr; not is_connected().
  bool attach(open_connection connection);
  bool is_connected() const noexcept { return connected_.has_value(); }
  /// Closes the connection, without telling the owner.
  void detach() noexcept;
  /// The same for ever: the owner is gone.
  void close() noexcept {
    detach();
    runtime_.remove_poller(*this);
    owner_ = nullptr;
    runtime_.forget(*this);
  }
  /// Sends what it can at once, as for a last word.
  void flush_now() noexcept { flush(); }

  /// Appends a frame without waiting for room: for small ones that must get through.
  void add(wire::frame_type type, std::uint64_t stream, std::span<const std::byte> payload = {}) {
    out_.add({type, 0, 0, stream}, payload);
    flush_soon();
  }
  /// The owner has something for append_next().
  void flush_soon() {
    if (!std::exchange(dirty_, true)) runtime_.flush_later(*this);
  }
  /// Whether what need not get through may be added.
  bool has_room() const noexcept { return out_.kept_bytes() < limits::session_window_bytes; }
  /// Whether descriptors can be passed.
  bool passes_files() const noexcept { return passes_files_; }
  void pass_files() noexcept { passes_files_ = true; }
  /// Counted frames that have come in all.
  std::uint64_t received() const noexcept { return received_; }
  /// Grows with each counted frame that got through, in either direction.
  std::uint64_t progress() const noexcept { return received_ + out_.acknowledged(); }
  std::chrono::steady_clock::time_point last_heard() const noexcept { return last_heard_; }

  /// Ask it while spinning, as long as it is not closed.
  void spin() { runtime_.add_poller(*this); }
  inline bool poll() noexcept override;
  inline void flush() noexcept override;

 private:
  struct connected {
    connected(runtime& r, os::duplex s, os::unique_fd b) : stream(std::move(s)), bridge(std::move(b)), events(r.io(), stream.in()), out_events(r.io()) {
      if (stream.is_one()) return;
      try {
        out_events.assign(stream.out());
      } catch (...) {
        events.release();  // closed with the stream
        throw;
      }
    }
    ~connected() {
      if (events.is_open()) events.release();
      if (out_events.is_open()) out_events.release();
    }
    asio::posix::stream_descriptor& writable() noexcept { return stream.is_one() ? events : out_events; }
    os::duplex stream;
    os::unique_fd bridge;
    asio::posix::stream_descriptor events;
    asio::posix::stream_descriptor out_events;  // where that is another descriptor
  };

  bool read() noexcept;
  bool serve(const wire::frame& in);
  void watch_readable();
  void watch_writable();
  void lost(std::string why) noexcept;

  runtime& runtime_;
  owner* owner_;
  std::optional<connected> connected_;
  std::uint64_t connection_ = 0;  // which one, for handlers of earlier ones
  wire::frame_buffer in_;
  os::received_fds in_files_;
  frame_log out_;
  std::uint64_t received_ = 0;
  std::uint64_t acknowledged_ = 0;  // of received_, so many were said
  std::uint64_t unacknowledged_bytes_ = 0;
  std::chrono::steady_clock::time_point last_heard_{};
  bool passes_files_ = false;
  bool dirty_ = false;
  bool write_blocked_ = false;
  bool reading_ = false;
};

// ---- implementation

inline bool session_stream::attach(open_connection connection) {
  if (!out_.resume(connection.peer_received)) return false;
  connected_.emplace(runtime_, std::move(connection.stream), std::move(connection.bridge));
  ++connection_;
  in_ = std::move(connection.in);
  in_files_ = std::move(connection.files);
  acknowledged_ = received_;  // the handshake said it
  unacknowledged_bytes_ = 0;
  write_blocked_ = false;
  last_heard_ = std::chrono::steady_clock::now();
  watch_readable();
  // What came behind the handshake will not make the socket readable.
  asio::post(runtime_.io(), [self = shared_from_this(), connection = connection_] {
    if (self->connection_ == connection) self->read();
  });
  flush_soon();
  return true;
}

inline void session_stream::detach() noexcept {
  ++connection_;
  connected_.reset();
  in_ = wire::frame_buffer();
  in_files_.clear();
}

inline void session_stream::lost(std::string why) noexcept {
  if (!connected_) return;
  detach();
  if (owner_ != nullptr) owner_->connection_lost(std::move(why));
}

inline void session_stream::watch_readable() {
  connected_->events.async_wait(asio::posix::stream_descriptor::wait_read,
                             [self = shared_from_this(), connection = connection_](std::error_code error) {
                               if (error || self->connection_ != connection) return;
                               self->read();
                               if (self->connection_ == connection) self->watch_readable();
                             });
}

inline void session_stream::watch_writable() {
  write_blocked_ = true;
  connected_->writable().async_wait(asio::posix::stream_descriptor::wait_write,
                             [self = shared_from_this(), connection = connection_](std::error_code error) {
                               if (error || self->connection_ != connection) return;
                               self->write_blocked_ = false;
                               self->flush();
                             });
}

inline bool session_stream::poll() noexcept { return connected_ && read(); }

/// Reads and serves what is there; true if there was something.
inline bool session_stream::read() noexcept {
  if (std::exchange(reading_, true)) return false;
  const auto hold = shared_from_this();
  const std::uint64_t connection = connection_;
  bool any = false;
  bool is_empty = false;
  std::string why;
  try {
    while (connection_ == connection && why.empty()) {
      const auto next = in_.next();
      if (next) {
        any = true;
        if (!serve(*next)) why = "sent something that the protocol does not allow";
        continue;
      }
      if (next.code() != errc::truncated) {
        why = "sent what is no frame";
        break;
      }
      if (is_empty) break;
      const auto room = in_.room();
      const auto got = connected_->stream.receive(room, in_files_);
      if (got.how == os::transfer::would_block) break;
      if (got.how == os::transfer::closed) {
        why = "closed the connection";
      } else if (got.how == os::transfer::no_fds || in_files_.size() > limits::memory_files) {
        why = "sent a value for which this process has no descriptor left; allow it more, by ulimit -n";
      } else {
        any = true;
        in_.received(got.bytes);
        is_empty = got.bytes < room.size();
      }
    }
  } catch (const std::exception& e) {
    why = std::string("could not be served: ") + e.what();
  }
  reading_ = false;
  if (connection_ != connection) return true;
  if (any) last_heard_ = std::chrono::steady_clock::now();
  if (!why.empty()) lost(std::move(why));
  return any;
}

inline bool session_stream::serve(const wire::frame& in) {
  switch (in.header.type) {
    case wire::frame_type::ack: {
      wire::byte_reader read(in.payload);
      const auto count = read.get<std::uint64_t>();
      if (!read.ok() || !out_.acknowledge(count)) return false;
      flush_soon();  // there may be room for more
      return true;
    }
    case wire::frame_type::ping:
      if (in.payload.size() > limits::ping_bytes) return false;
      add(wire::frame_type::pong, in.header.stream, in.payload);
      return true;
    case wire::frame_type::pong: return true;
    default: break;
  }
  const bool counts = wire::is_counted(in.header.type);
  const bool has_files = !in_files_.empty();
  if (static_cast<std::uint8_t>(in.header.type) < 0x80 && !owner_->frame_came(in, in_files_)) return false;
  if (!counts) return true;
  ++received_;
  unacknowledged_bytes_ += in.payload.size();
  // Seldom, and at once where the other side keeps much for it.
  if (received_ - acknowledged_ >= limits::frames_per_ack || unacknowledged_bytes_ >= limits::bytes_per_ack || has_files) {
    acknowledged_ = received_;
    unacknowledged_bytes_ = 0;
    std::vector<std::byte> count;
    wire::byte_writer(count).put(received_);
    add(wire::frame_type::ack, 0, count);
  }
  return true;
}

inline void session_stream::flush() noexcept {
  dirty_ = false;
  try {
    while (connected_ && !write_blocked_ && owner_ != nullptr) {
      while (out_.unsent_bytes() < 2 * limits::chunk_bytes && out_.kept_bytes() < limits::session_window_bytes && owner_->append_next(out_)) {
      }
      if (out_.unsent_bytes() == 0) return;
      const auto sent = out_.send(connected_->stream);
      if (sent.how == os::transfer::would_block) return watch_writable();
      if (sent.how == os::transfer::closed) return lost("closed the connection");
    }
  } catch (const std::exception& e) {
    lost(std::string("could not be written to: ") + e.what());
  }
}

}  // namespace rh::detail
