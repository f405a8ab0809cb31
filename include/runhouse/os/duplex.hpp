// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/os/byte_ring.hpp>
#include <runhouse/os/socket.hpp>

#include <span>
#include <sys/stat.h>
#include <utility>

namespace rh::os {

/// A byte stream in both directions: a unix socket, which passes descriptors too; or two pipes or sockets, such as a
/// process has as its standard input and output; or what another thread reads from one, by way of a byte_ring. Non-blocking.
class duplex {
 public:
  duplex() noexcept = default;
  /// Errors: std::system_error.
  explicit duplex(unique_fd socket) : in_(std::move(socket)), in_is_socket_(is_socket(in_.get())), out_is_socket_(in_is_socket_) {
    set_nonblocking(in_.get());
  }
  /// With SIGPIPE ignored, where `out` is no socket.
  duplex(unique_fd in, unique_fd out)
      : in_(std::move(in)), out_(std::move(out)), in_is_socket_(is_socket(in_.get())), out_is_socket_(is_socket(out_.get())) {
    set_nonblocking(in_.get());
    set_nonblocking(out_.get());
  }
  duplex(byte_ring::reader in, unique_fd out) : out_(std::move(out)), ring_(std::move(in)), out_is_socket_(is_socket(out_.get())) {
    set_nonblocking(out_.get());
  }

  explicit operator bool() const noexcept { return in_ || ring_; }
  /// To wait for reading, and for writing: may be the same.
  int in() const noexcept { return ring_ ? ring_.descriptor() : in_.get(); }
  int out() const noexcept { return out_ ? out_.get() : in_.get(); }
  bool is_one() const noexcept { return !out_; }
  /// Takes the descriptor to read out of it, which leaves nothing. Precondition: it reads from no byte_ring.
  unique_fd take_in() noexcept { return std::move(in_); }

  transferred receive(std::span<std::byte> into, received_fds& fds) const {
    if (ring_) return ring_.read(into);
    return in_is_socket_ ? os::receive(in(), into, fds) : read_some(in(), into);
  }
  transferred send(std::span<const std::byte> from) const noexcept {
    return out_is_socket_ ? os::send(out(), from, blocking::no) : write_some(out(), from);
  }
  /// Precondition: it is a unix socket.
  transferred send(std::span<const std::byte> from, std::span<const int> fds) const noexcept { return os::send(out(), from, fds); }

 private:
  static bool is_socket(int fd) noexcept {
    struct stat facts {};
    return ::fstat(fd, &facts) == 0 && S_ISSOCK(facts.st_mode);
  }

  unique_fd in_;
  unique_fd out_;
  byte_ring::reader ring_;
  bool in_is_socket_ = false;
  bool out_is_socket_ = false;
};

}  // namespace rh::os
