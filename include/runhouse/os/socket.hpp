// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/os/fd.hpp>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <deque>
#include <fcntl.h>
#include <poll.h>
#include <span>
#include <sys/socket.h>
#include <sys/uio.h>
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
enum class transfer {
  some,
  would_block,
  closed,
  no_fds,  ///< descriptors came for which this process has no room, and are lost
};

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

/// Descriptors that came through a socket, in their order.
using received_fds = std::deque<unique_fd>;

/// How many descriptors one send takes: the kernel's limit.
inline constexpr std::size_t fds_per_send = 253;

/// As receive, with descriptors, which go to the end of `fds`; they are there when the bytes are that they were sent
/// with. Never blocks.
inline transferred receive(int socket, std::span<std::byte> into, received_fds& fds) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * fds_per_send)];
  iovec part{into.data(), into.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t n = 0;
  do n = ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  while (n < 0 && errno == EINTR);
  if (n < 0) return {errno == EAGAIN || errno == EWOULDBLOCK ? transfer::would_block : transfer::closed, 0};
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    for (std::size_t at = 0; at + CMSG_LEN(sizeof(int)) <= c->cmsg_len; at += sizeof(int)) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + at, sizeof fd);
      fds.emplace_back(fd);
    }
  }
  if (n == 0) return {transfer::closed, 0};
  if ((message.msg_flags & MSG_CTRUNC) != 0) return {transfer::no_fds, 0};
  return {transfer::some, static_cast<std::size_t>(n)};
}

/// As send, with descriptors, at most fds_per_send: they go with the first byte. Precondition: there is one.
inline transferred send(int socket, std::span<const std::byte> from, std::span<const int> fds) noexcept {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * fds_per_send)] = {};
  iovec part{const_cast<std::byte*>(from.data()), from.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = CMSG_SPACE(fds.size_bytes());
  cmsghdr* c = CMSG_FIRSTHDR(&message);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(fds.size_bytes());
  std::memcpy(CMSG_DATA(c), fds.data(), fds.size_bytes());
  for (;;) {
    const ssize_t n = ::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) return {transfer::some, static_cast<std::size_t>(n)};
    if (errno == EINTR) continue;
    return {errno == EAGAIN || errno == EWOULDBLOCK ? transfer::would_block : transfer::closed, 0};
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

/// Writes to a pipe or file that is non-blocking what it takes.
inline transferred write_some(int fd, std::span<const std::byte> from) noexcept {
  for (;;) {
    const ssize_t n = ::write(fd, from.data(), from.size());
    if (n >= 0) return {transfer::some, static_cast<std::size_t>(n)};
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
