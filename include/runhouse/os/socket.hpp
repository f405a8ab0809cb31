// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/os/fd.hpp>

#include <cerrno>
#include <cstddef>
#include <fcntl.h>
#include <poll.h>
#include <span>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace rh::os {

/// Two connected unix stream sockets, closed on exec.
inline std::pair<unique_fd, unique_fd> socket_pair() {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) fail_errno("making a socket pair");
  return {unique_fd(ends[0]), unique_fd(ends[1])};
}

/// {read end, write end}, closed on exec.
inline std::pair<unique_fd, unique_fd> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) fail_errno("making a pipe");
  return {unique_fd(ends[0]), unique_fd(ends[1])};
}

inline void set_nonblocking(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) fail_errno("making a descriptor non-blocking");
}

/// How one read or write ended.
enum class transfer { some, would_block, closed };

struct transferred {
  transfer how;
  std::size_t bytes;
};

enum class blocking { no, yes };

/// Reads what is there. A peer that is gone, for whatever reason, is `closed`.
inline transferred receive(int socket, std::span<std::byte> into, blocking mode) noexcept {
  for (;;) {
    const ssize_t n = ::recv(socket, into.data(), into.size(), mode == blocking::yes ? 0 : MSG_DONTWAIT);
    if (n > 0) return {transfer::some, static_cast<std::size_t>(n)};
    if (n == 0) return {transfer::closed, 0};
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return {transfer::would_block, 0};
    return {transfer::closed, 0};
  }
}

inline transferred send(int socket, std::span<const std::byte> from, blocking mode) noexcept {
  for (;;) {
    const int flags = MSG_NOSIGNAL | (mode == blocking::yes ? 0 : MSG_DONTWAIT);
    const ssize_t n = ::send(socket, from.data(), from.size(), flags);
    if (n >= 0) return {transfer::some, static_cast<std::size_t>(n)};
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return {transfer::would_block, 0};
    return {transfer::closed, 0};
  }
}

/// The same of a pipe or file that is non-blocking.
inline transferred read_some(int fd, std::span<std::byte> into) noexcept {
  for (;;) {
    const ssize_t n = ::read(fd, into.data(), into.size());
    if (n > 0) return {transfer::some, static_cast<std::size_t>(n)};
    if (n == 0) return {transfer::closed, 0};
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return {transfer::would_block, 0};
    return {transfer::closed, 0};
  }
}

/// True if one of two descriptors has something to read now.
inline bool either_readable(int a, int b) noexcept {
  pollfd both[2] = {{a, POLLIN, 0}, {b, POLLIN, 0}};
  return ::poll(both, 2, 0) > 0;
}

}  // namespace rh::os
