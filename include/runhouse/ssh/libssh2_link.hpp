// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/limits.hpp>
#include <runhouse/io/waiting.hpp>
#include <runhouse/os/byte_ring.hpp>
#include <runhouse/os/duplex.hpp>
#include <runhouse/os/process.hpp>
#include <runhouse/os/socket.hpp>
#include <runhouse/os/thread.hpp>
#include <runhouse/ssh/libssh2_login.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <poll.h>
#include <span>
#include <string>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace rh::detail {

/// A channel of a session, as its user sees it: a stream, what was said on stderr, and how it ended. Any thread.
class libssh2_channel {
 public:
  /// The near end. Once. When it is closed, so is the channel.
  os::duplex take_stream() noexcept { return std::move(stream_); }
  std::string said() const {
    const std::lock_guard lock(mutex_);
    return said_;
  }
  /// How the command ended; nothing if it has not after so long. It has ended too where the connection broke: then `why()`
  /// says so.
  std::optional<os::exit_status> wait(std::chrono::milliseconds longest) const {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, longest, [this] { return ended_.has_value(); });
    return ended_;
  }
  std::string why() const {
    const std::lock_guard lock(mutex_);
    return why_;
  }

 private:
  friend class libssh2_link;
  void end(os::exit_status how, std::string why) {
    {
      const std::lock_guard lock(mutex_);
      if (ended_) return;
      ended_ = how;
      why_ = std::move(why);
      changed_.notify_all();
    }
    if (when_ended_) when_ended_();
  }

  os::duplex stream_;
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::string said_;
  std::string why_;
  std::optional<os::exit_status> ended_;
  std::atomic<bool> is_unwanted_{false};
  std::function<void()> when_ended_;
};

/// A session that is logged in, and the thread that serves it until finish() was said and its last channel is closed or
/// given up: it moves bytes between the channels and their users' sockets.
///
/// libssh2 is one state machine: a call that could not send all of what it had to is made again, the same, before any
/// other.
class libssh2_link : public std::enable_shared_from_this<libssh2_link> {
 public:
  /// Errors: std::system_error.
  static std::shared_ptr<libssh2_link> start(libssh2_session session);
  /// A command that runs there, or a connection from there to a port of a host. Any thread. One that the host refuses ends
  /// at once. `when_ended` is called on the session's thread, or this one.
  /// `variables` are those that the host takes of them, each by a round trip.
  using variables = std::vector<std::pair<std::string, std::string>>;
  std::shared_ptr<libssh2_channel> run(const std::string& command, variables sent = {}, std::function<void()> when_ended = {}) {
    return add(command, 0, std::move(sent), std::move(when_ended));
  }
  std::shared_ptr<libssh2_channel> connect(const std::string& host, std::uint16_t port) { return add(host, port, {}, {}); }
  /// There will be no other channels: it ends with the last of those that there are. Any thread.
  void finish() {
    is_finished_.store(true);
    wake();
  }
  /// Closes a channel, whatever is in it. Any thread.
  void close(libssh2_channel& channel) {
    channel.is_unwanted_.store(true);
    wake();
  }

  libssh2_link(libssh2_session session, os::unique_fd waker) : it_(std::move(session)), waker_(std::move(waker)) {}

 private:
  using clock = std::chrono::steady_clock;
  static constexpr std::size_t buffer_bytes = 256 * 1024;
  static constexpr std::size_t down_bytes = 4 * buffer_bytes;  // so that one side goes on while the other does
  static constexpr std::size_t memory_bytes = 64 * 1024 * 1024;  // without what its channels may hold
  enum class step { open, set, start, write, end_writing, read, read_stderr, close, free };
  /// Bytes between a channel and its user.
  struct queue {
    explicit queue(std::size_t size) : bytes(size) {}
    std::vector<std::byte> bytes;
    std::size_t begin = 0;
    std::size_t end = 0;
    bool is_empty() const noexcept { return begin == end; }
    std::span<const std::byte> rest() const noexcept { return std::span(bytes).subspan(begin, end - begin); }
    void taken(std::size_t n) noexcept {
      begin += n;
      if (begin == end) begin = end = 0;
    }
    /// Room for as much as one call takes; none while there is less.
    std::span<std::byte> room() noexcept {
      if (bytes.size() - end < buffer_bytes && begin >= bytes.size() / 2) {
        std::memmove(bytes.data(), bytes.data() + begin, end - begin);
        end -= std::exchange(begin, 0);
      }
      return bytes.size() - end < buffer_bytes ? std::span<std::byte>() : std::span(bytes).subspan(end);
    }
  };
  struct carried {
    std::shared_ptr<libssh2_channel> user;
    os::unique_fd near;    // our end of its stream
    std::string command;   // or the host to connect to
    std::uint16_t port = 0;
    variables to_set;
    LIBSSH2_CHANNEL* channel = nullptr;
    step next = step::open;  // until it is open, and from its end on
    bool is_open = false;
    bool near_is_ready = true;    // it may have bytes
    bool near_has_ended = false;  // nothing more comes from its user
    bool end_was_sent = false;
    bool far_has_ended = false;
    bool far_end_was_told = false;
    queue up{buffer_bytes};
    // What comes from there, of a command: it is much. Of a connection, whose user needs a socket, it goes by that.
    std::shared_ptr<os::byte_ring> ring;
    queue down{0};
    bool has_no_room = false;  // for what comes from there, when that was last looked at: another thread makes some
    std::span<std::byte> down_room() { return ring ? ring->room() : down.room(); }
    void came(std::size_t n) noexcept {
      if (ring) return ring->written(n);
      down.end += n;
    }
    /// Its user sees that it has ended.
    void let_go() noexcept {
      near.reset();
      if (ring) ring->close();
    }
    carried() = default;
    carried(const carried&) = delete;
    carried& operator=(const carried&) = delete;
    ~carried() { let_go(); }
  };

  std::shared_ptr<libssh2_channel> add(const std::string& what, std::uint16_t port, variables sent, std::function<void()> when_ended);
  void wake() noexcept {
    const std::uint64_t one = 1;
    static_cast<void>(::write(waker_.get(), &one, sizeof one));
  }
  void serve() noexcept;
  bool is_wanted();
  bool take_turn();
  bool serve_channel(carried& c);
  bool try_step(carried& c, step s, bool is_again = false);
  long call(carried& c, step s);
  bool move_near(carried& c);
  void end(carried& c);
  void end_all(const std::string& why) noexcept;
  int time_to_wait();
  void wait_for_work();

  libssh2_session it_;
  const os::unique_fd waker_;
  std::atomic<bool> is_finished_{false};
  std::mutex mutex_;
  std::vector<std::unique_ptr<carried>> added_;  // by other threads
  bool has_ended_ = false;
  std::string why_;
  std::list<std::unique_ptr<carried>> channels_;
  bool is_full_ = false;      // nothing is sent before there is room
  carried* stuck_ = nullptr;  // whose call must be made again
  step stuck_at_{};
  carried* opening_ = nullptr;
  std::vector<pollfd> waits_;
  io::waiting_policy waiting_{limits::ssh_spin};
};

// ---- implementation

inline std::shared_ptr<libssh2_link> libssh2_link::start(libssh2_session session) {
  os::unique_fd waker = os::checked(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "making an eventfd");
  const auto link = std::make_shared<libssh2_link>(std::move(session), std::move(waker));
  link->it_.guard->set_memory(memory_bytes);
  libssh2().keepalive_config(link->it_.session.get(), 0, static_cast<unsigned>(limits::silence.count()));
  os::start_thread([link] { link->serve(); });
  return link;
}

inline std::shared_ptr<libssh2_channel> libssh2_link::add(const std::string& what, std::uint16_t port, variables sent, std::function<void()> when_ended) {
  auto [ours, theirs] = os::socket_pair();
  os::set_nonblocking(theirs.get());
  auto user = std::make_shared<libssh2_channel>();
  user->when_ended_ = std::move(when_ended);
  auto c = std::make_unique<carried>();
  c->user = user;
  c->near = std::move(theirs);
  c->command = what;
  c->port = port;
  c->to_set = std::move(sent);
  if (port == 0) {
    c->ring = std::make_shared<os::byte_ring>(down_bytes);
    user->stream_ = os::duplex(os::byte_ring::reader(c->ring), std::move(ours));
  } else {
    c->down = queue(down_bytes);
    user->stream_ = os::duplex(std::move(ours));
  }
  std::unique_lock lock(mutex_);
  if (!has_ended_) {
    added_.push_back(std::move(c));
    wake();
    return user;
  }
  lock.unlock();
  user->end({}, why_);
  return user;
}

inline void libssh2_link::serve() noexcept {
  const auto self = shared_from_this();
  try {
    while (is_wanted()) {
      if (!take_turn()) wait_for_work();
    }
    it_.guard->begin_call();
    if (stuck_ == nullptr && it_.guard->may_send()) libssh2().session_disconnect_ex(it_.session.get(), SSH_DISCONNECT_BY_APPLICATION, "done", "");
    end_all("it was given up");
  } catch (const std::exception& e) {
    end_all(e.what());
  }
  const libssh2_session ended = std::move(it_);
}

/// Takes over what others have added.
inline bool libssh2_link::is_wanted() {
  const std::lock_guard lock(mutex_);
  for (auto& c : added_) channels_.push_back(std::move(c));
  added_.clear();
  const bool wanted = !is_finished_.load() || std::ranges::any_of(channels_, [](const auto& c) { return !c->user->is_unwanted_.load(); });
  if (!wanted) {
    has_ended_ = true;
    why_ = "the session has ended";
  }
  return wanted;
}

/// True if something was done, so that there may be more to do.
inline bool libssh2_link::take_turn() {
  is_full_ = false;
  if (stuck_ != nullptr) {
    carried& c = *std::exchange(stuck_, nullptr);
    const bool went_on = try_step(c, stuck_at_, true);
    if (stuck_ != nullptr) return false;
    if (went_on && opening_ == &c) opening_ = nullptr;
  }
  it_.guard->set_memory(memory_bytes + 2 * std::size_t{it_.window_bytes} * channels_.size());
  bool any = false;
  for (auto c = channels_.begin(); c != channels_.end();) {
    any = serve_channel(**c) || any;
    if (stuck_ != nullptr) return false;
    c = (*c)->channel == nullptr && (*c)->next == step::free ? channels_.erase(c) : std::next(c);
  }
  return any;
}

inline bool libssh2_link::serve_channel(carried& c) {
  if (c.next == step::open) {  // one at a time
    if (opening_ != nullptr && opening_ != &c) return false;
    opening_ = &c;
    if (!try_step(c, step::open)) return false;
    opening_ = nullptr;
    return true;
  }
  if (c.user->is_unwanted_.load() && c.next != step::free && c.next != step::close) {
    // The far side closes it when what it runs has ended, which nobody waits for.
    c.user->end({}, "it was given up");
    c.let_go();
    c.is_open = false;
    c.next = c.channel != nullptr ? step::close : step::free;
  }
  if (!c.is_open) return try_step(c, c.next);
  bool any = move_near(c);
  if (!c.up.is_empty() && !c.end_was_sent) any = try_step(c, step::write) || any;
  if (stuck_ == nullptr && c.near_has_ended && c.up.is_empty() && !c.end_was_sent) any = try_step(c, step::end_writing) || any;
  if (stuck_ == nullptr) c.has_no_room = !c.far_has_ended && c.down_room().empty();
  if (stuck_ == nullptr && !c.far_has_ended && !c.has_no_room) any = try_step(c, step::read) || any;
  if (stuck_ == nullptr && c.port == 0) any = try_step(c, step::read_stderr) || any;
  if (stuck_ == nullptr && c.far_has_ended && c.down.is_empty()) {
    if (!std::exchange(c.far_end_was_told, true)) {
      if (c.ring) c.ring->close();
      ::shutdown(c.near.get(), SHUT_WR);
    }
    // A command has ended then, whoever still writes to it; a connection is closed by both sides.
    if (c.port == 0 || c.end_was_sent) {
      c.is_open = false;
      c.next = step::close;
      any = true;
    }
  }
  return any;
}

/// Bytes between us and the channel's user; true if there were some.
inline bool libssh2_link::move_near(carried& c) {
  bool any = false;
  if (c.up.is_empty() && !c.near_has_ended && c.near_is_ready) {
    const auto got = os::receive(c.near.get(), c.up.bytes, os::blocking::no);
    if (got.how == os::transfer::some) c.up.end = got.bytes;
    c.near_is_ready = got.how == os::transfer::some && got.bytes == c.up.bytes.size();
    c.near_has_ended = got.how == os::transfer::closed;
    any = got.how != os::transfer::would_block;
  }
  if (c.ring && c.ring->is_left() && !c.ring->is_empty()) c.user->is_unwanted_.store(true);
  if (!c.down.is_empty()) {
    const auto sent = os::send(c.near.get(), c.down.rest(), os::blocking::no);
    if (sent.how == os::transfer::some) c.down.taken(sent.bytes);
    if (sent.how == os::transfer::closed) c.user->is_unwanted_.store(true);
    any = any || sent.how != os::transfer::would_block;
  }
  return any;
}

/// True if it went on. Where it must be made again before anything else, stuck_ says so.
inline bool libssh2_link::try_step(carried& c, step s, bool is_again) {
  if (!is_again && !it_.guard->may_send()) {
    is_full_ = true;
    return false;
  }
  const long done = call(c, s);
  if (done == LIBSSH2_ERROR_EAGAIN) {
    if ((libssh2().session_block_directions(it_.session.get()) & LIBSSH2_SESSION_BLOCK_OUTBOUND) != 0) {
      stuck_ = &c;
      stuck_at_ = s;
    }
    return false;
  }
  if (done == LIBSSH2_ERROR_SOCKET_DISCONNECT || done == LIBSSH2_ERROR_SOCKET_RECV || done == LIBSSH2_ERROR_SOCKET_SEND ||
      done == LIBSSH2_ERROR_DECRYPT || done == LIBSSH2_ERROR_INVALID_MAC || done == LIBSSH2_ERROR_PROTO || done == LIBSSH2_ERROR_OUT_OF_BOUNDARY ||
      done == LIBSSH2_ERROR_ALLOC || done == LIBSSH2_ERROR_BAD_USE) {
    fail(errc::connection_lost, "the connection broke: " + it_.last_error());
  }
  switch (s) {
    case step::open:
      if (c.channel == nullptr) {
        c.user->end({}, "the host refused it: " + it_.last_error());
        c.next = step::free;
      } else if (c.port != 0) {
        c.is_open = true;
        c.next = step::write;  // and what else there is
      } else {
        c.next = c.to_set.empty() ? step::start : step::set;
      }
      return true;
    case step::set:  // it may refuse to
      c.to_set.pop_back();
      if (c.to_set.empty()) c.next = step::start;
      return true;
    case step::start:
      if (done == 0) {
        c.is_open = true;
      } else {
        c.user->end({}, "the host did not run the command: " + it_.last_error());
        c.next = step::close;
      }
      return true;
    case step::write:
      if (done > 0) c.up.taken(static_cast<std::size_t>(done));
      if (done < 0) c.up.taken(c.up.rest().size());  // the far side takes no more
      if (done < 0) c.end_was_sent = true;
      return done != 0;
    case step::end_writing: c.end_was_sent = true; return true;
    case step::read:
      if (done > 0) c.came(static_cast<std::size_t>(done));
      c.far_has_ended = done < 0 || (done == 0 && libssh2().channel_eof(c.channel) != 0);
      return done > 0 || c.far_has_ended;
    case step::read_stderr: return done > 0;
    case step::close:
      end(c);
      return true;
    case step::free: c.channel = nullptr; return true;
  }
  return false;
}

/// A call reads what there is of all channels, and looks for its own in that: so what one call does not take is not to pile up.
inline long libssh2_link::call(carried& c, step s) {
  it_.guard->begin_call(s == step::read_stderr ? 0 : buffer_bytes);
  LIBSSH2_SESSION* const session = it_.session.get();
  switch (s) {
    case step::open: {
      constexpr std::string_view type = "session";
      c.channel = c.port != 0 ? libssh2().channel_direct_tcpip_ex(session, c.command.c_str(), c.port, "127.0.0.1", 0)
                              : libssh2().channel_open_ex(session, type.data(), static_cast<unsigned>(type.size()), it_.window_bytes, LIBSSH2_CHANNEL_PACKET_DEFAULT, nullptr, 0);
      return c.channel != nullptr ? 0 : libssh2().session_last_errno(session);
    }
    case step::set: {
      const auto& [name, value] = c.to_set.back();
      return libssh2().channel_setenv_ex(c.channel, name.data(), static_cast<unsigned>(name.size()), value.data(), static_cast<unsigned>(value.size()));
    }
    case step::start: return libssh2().channel_process_startup(c.channel, "exec", 4, c.command.data(), static_cast<unsigned>(c.command.size()));
    case step::write: return libssh2().channel_write_ex(c.channel, 0, reinterpret_cast<const char*>(c.up.rest().data()), c.up.rest().size());
    case step::end_writing: return libssh2().channel_send_eof(c.channel);
    case step::read: {
      const auto room = c.down_room();
      return libssh2().channel_read_ex(c.channel, 0, reinterpret_cast<char*>(room.data()), std::min(room.size(), buffer_bytes));
    }
    case step::read_stderr: {
      std::array<char, 4096> text;
      const long got = libssh2().channel_read_ex(c.channel, SSH_EXTENDED_DATA_STDERR, text.data(), text.size());
      if (got > 0) {
        const std::lock_guard lock(c.user->mutex_);
        std::string& said = c.user->said_;
        said.append(text.data(), static_cast<std::size_t>(got));
        if (said.size() > limits::last_output_bytes) said.erase(0, said.size() - limits::last_output_bytes);
      }
      return got;
    }
    case step::close: return libssh2().channel_close(c.channel);
    case step::free: return c.channel != nullptr ? libssh2().channel_free(c.channel) : 0;
  }
  return 0;
}

/// It is closed: says how it ended.
inline void libssh2_link::end(carried& c) {
  os::exit_status how;
  if (c.channel != nullptr) {
    how.kind = os::exit_status::how::exited;
    how.number = libssh2().channel_get_exit_status(c.channel);
    char* signal = nullptr;
    libssh2().channel_get_exit_signal(c.channel, &signal, nullptr, nullptr, nullptr, nullptr, nullptr);
    if (signal != nullptr) {
      how.number = -1;  // its name says which, but names are not the same everywhere
      libssh2().free(it_.session.get(), signal);
    }
  }
  c.user->end(how, {});
  c.let_go();
  c.next = step::free;
}

/// The session frees its channels.
inline void libssh2_link::end_all(const std::string& why) noexcept {
  {
    const std::lock_guard lock(mutex_);
    if (!std::exchange(has_ended_, true)) why_ = why;
    for (auto& c : added_) channels_.push_back(std::move(c));
    added_.clear();
  }
  for (const auto& c : channels_) c->user->end({}, why);
  stuck_ = opening_ = nullptr;
  channels_.clear();
}

/// Milliseconds until a keepalive is due; sends one that is.
inline int libssh2_link::time_to_wait() {
  int seconds = static_cast<int>(limits::silence.count());
  it_.guard->begin_call();
  if (stuck_ == nullptr && it_.guard->may_send() && libssh2().keepalive_send(it_.session.get(), &seconds) == LIBSSH2_ERROR_SOCKET_SEND) {
    fail(errc::connection_lost, "the connection broke: " + it_.last_error());
  }
  return std::max(seconds, 1) * 1000;
}

inline void libssh2_link::wait_for_work() {
  const int longest = time_to_wait();
  waits_.clear();
  waits_.push_back({waker_.get(), POLLIN, 0});
  const bool must_write = stuck_ != nullptr || is_full_;
  // What nobody would take now stays in the socket, and the host waits.
  const bool may_read = channels_.empty() || std::ranges::any_of(channels_, [](const auto& c) { return !c->is_open || !c->has_no_room || !c->up.is_empty(); });
  const short socket_events = must_write ? POLLOUT : may_read ? POLLIN : short{0};
  waits_.push_back({socket_events != 0 ? it_.socket.get() : -1, socket_events, 0});
  for (const auto& c : channels_) {
    const bool is_waited_for = c->is_open && !must_write;
    const short events = static_cast<short>((c->up.is_empty() && !c->near_has_ended ? POLLIN : 0) | (!c->down.is_empty() ? POLLOUT : 0));
    waits_.push_back({is_waited_for && events != 0 ? c->near.get() : -1, events, 0});
  }
  for (const auto& c : channels_) {
    const bool is_full = c->is_open && !must_write && c->ring && c->has_no_room;
    waits_.push_back({is_full ? c->ring->room_descriptor() : -1, POLLIN, 0});
  }
  const auto look = [this](int milliseconds) { return ::poll(waits_.data(), static_cast<nfds_t>(waits_.size()), milliseconds) > 0; };
  if (!io::spin_until(waiting_, [&] { return look(0); })) look(longest);
  if (waits_[0].revents != 0) {
    std::uint64_t times = 0;
    static_cast<void>(::read(waker_.get(), &times, sizeof times));
  }
  if (waits_[1].revents != 0) it_.guard->socket_is_ready();
  auto wait = waits_.begin() + 2;
  for (const auto& c : channels_) c->near_is_ready = (wait++)->revents != 0 || c->near_is_ready;
}

}  // namespace rh::detail
