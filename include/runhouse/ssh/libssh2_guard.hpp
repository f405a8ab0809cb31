// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/limits.hpp>
#include <runhouse/ssh/libssh2_api.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <malloc.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/types.h>

namespace rh::detail {

/// What a host can make one session of libssh2 take: so much memory, so many bytes of the host while one is not logged in,
/// and so many in one call, since a call goes on for as long as there is something to read. It is what libssh2 hands to all
/// of its callbacks, so it stays where it is.
class libssh2_guard {
 public:
  libssh2_guard() = default;
  libssh2_guard(const libssh2_guard&) = delete;
  libssh2_guard& operator=(const libssh2_guard&) = delete;

  /// Over a connection to the host; -1: for an agent alone. Null without memory.
  LIBSSH2_SESSION* make_session(int socket) {
    socket_ = socket;
    LIBSSH2_SESSION* const made = libssh2().session_init_ex(&allocate, &release, &reallocate, this);
    if (made == nullptr) return nullptr;
    libssh2().session_callback_set(made, LIBSSH2_CALLBACK_RECV, reinterpret_cast<void*>(&receive));
    libssh2().session_callback_set(made, LIBSSH2_CALLBACK_SEND, reinterpret_cast<void*>(&send));
    return made;
  }
  static libssh2_guard& of(void** abstract) noexcept { return *static_cast<libssh2_guard*>(*abstract); }

  /// Before each call: how many bytes of the host it may read before it must say that it would block. 0: only what has been
  /// read before.
  void begin_call(std::size_t bytes = bytes_of_call) noexcept { readable_ = bytes; }
  /// The socket may have bytes: poll() says so. Until then nothing is tried behind a read that found less than it could take.
  void socket_is_ready() noexcept { is_drained_ = false; }
  /// How many bytes it may hold from now on.
  void set_memory(std::size_t bytes) noexcept { most_memory_ = bytes; }
  /// Whether a small packet can be sent whole. libssh2 makes some on its stack, and cannot go on with the rest of one.
  bool may_send() noexcept {
    if (!has_sent_) return true;
    pollfd room{socket_, POLLOUT, 0};
    has_sent_ = ::poll(&room, 1, 0) != 1;
    return !has_sent_;
  }
  /// How long an agent may take to answer.
  void set_agent_wait(std::chrono::milliseconds longest) noexcept { agent_wait_ = longest; }
  /// The host is trusted with as many bytes as it likes.
  void logged_in() noexcept { left_ = std::numeric_limits<std::uint64_t>::max(); }
  /// It has sent all that it may before one is logged in.
  bool has_flooded() const noexcept { return has_flooded_; }
  /// Nothing more comes. What libssh2 says of that depends on what it was doing.
  bool has_ended() const noexcept { return has_ended_; }

  void* asker = nullptr;  ///< who answers a question of the host

  static void* allocate(std::size_t bytes, void** abstract) noexcept {
    libssh2_guard& self = of(abstract);
    if (bytes > self.most_memory_ - std::min(self.memory_, self.most_memory_)) return nullptr;
    void* const made = std::malloc(bytes);
    self.memory_ += ::malloc_usable_size(made);
    return made;
  }

 private:
  static constexpr std::size_t bytes_of_call = 256 * 1024;
  static constexpr std::uint64_t bytes_of_login = 1024 * 1024;

  static void release(void* memory, void** abstract) noexcept {
    of(abstract).memory_ -= ::malloc_usable_size(memory);
    std::free(memory);
  }
  static void* reallocate(void* memory, std::size_t bytes, void** abstract) noexcept {
    libssh2_guard& self = of(abstract);
    const std::size_t before = ::malloc_usable_size(memory);
    if (bytes > before && bytes - before > self.most_memory_ - std::min(self.memory_, self.most_memory_)) return nullptr;
    void* const made = std::realloc(memory, bytes);
    if (made != nullptr) self.memory_ += ::malloc_usable_size(made) - before;
    return made;
  }
  /// As libssh2 wants it: minus errno.
  static ssize_t receive(libssh2_socket_t socket, void* into, std::size_t bytes, int flags, void** abstract) noexcept {
    libssh2_guard& self = of(abstract);
    if (socket != self.socket_) {  // an agent's, which is waited for: libssh2 reads on until there is an error
      pollfd p{socket, POLLIN, 0};
      if (::poll(&p, 1, static_cast<int>(self.agent_wait_.count())) != 1) return -ETIMEDOUT;
      const ssize_t said = ::recv(socket, into, bytes, flags | MSG_DONTWAIT);
      return said < 0 ? -errno : said == 0 ? -ECONNRESET : said;
    }
    self.has_flooded_ = self.left_ == 0;
    if (self.has_flooded_) return -ECONNABORTED;
    if (self.readable_ == 0 || self.is_drained_) return -EAGAIN;
    const auto most = std::min<std::uint64_t>({bytes, self.readable_, self.left_});
    const ssize_t got = ::recv(socket, into, most, flags);
    self.is_drained_ = got != 0 && (got < 0 ? errno == EAGAIN : static_cast<std::uint64_t>(got) < most);
    self.has_ended_ = got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN);
    if (got < 0) return errno == EINTR ? -EAGAIN : -errno;
    self.readable_ -= static_cast<std::size_t>(got);
    if (self.left_ != std::numeric_limits<std::uint64_t>::max()) self.left_ -= static_cast<std::uint64_t>(got);
    return got;
  }

  static ssize_t send(libssh2_socket_t socket, const void* from, std::size_t bytes, int flags, void** abstract) noexcept {
    libssh2_guard& self = of(abstract);
    self.has_sent_ = self.has_sent_ || socket == self.socket_;
    const ssize_t sent = ::send(socket, from, bytes, flags | MSG_NOSIGNAL);
    return sent < 0 ? (errno == EINTR ? -EAGAIN : -errno) : sent;
  }

  int socket_ = -1;
  std::chrono::milliseconds agent_wait_ = limits::connect / 2;
  bool has_sent_ = false;  // since there was room
  std::size_t memory_ = 0;
  std::size_t most_memory_ = 16 * 1024 * 1024;
  std::size_t readable_ = bytes_of_call;
  std::uint64_t left_ = bytes_of_login;
  bool is_drained_ = false;
  bool has_flooded_ = false;
  bool has_ended_ = false;
};

}  // namespace rh::detail
