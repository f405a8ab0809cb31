// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/os/fd.hpp>
#include <runhouse/os/socket.hpp>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <sys/eventfd.h>
#include <unistd.h>
#include <utility>

namespace rh::os {

/// Bytes from one thread of this process to another, which waits for them by descriptor as for those of a socket: each is
/// copied once, and the kernel is asked only where one waits for the other.
class byte_ring {
 public:
  class reader;

  /// Precondition: `capacity` > 0. Errors: std::system_error, std::bad_alloc.
  explicit byte_ring(std::size_t capacity)
      : bytes_(new std::byte[capacity]), capacity_(capacity), some_(checked(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "making an eventfd")),
        room_(checked(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "making an eventfd")) {}
  byte_ring(const byte_ring&) = delete;
  byte_ring& operator=(const byte_ring&) = delete;

  // Of the thread that writes:

  /// Where to write next; empty while there is no room.
  std::span<std::byte> room() noexcept {
    std::size_t free = free_bytes();
    if (free == 0) {
      clear(room_);
      writer_waits_.store(true);
      if (is_left_.load()) signal(room_);
      free = free_bytes();
    }
    const std::size_t at = tail_.load() % capacity_;
    return {bytes_.get() + at, std::min(free, capacity_ - at)};
  }
  /// So many bytes of room() were written.
  void written(std::size_t n) noexcept {
    if (n == 0) return;
    tail_.store(tail_.load() + n);
    signal_some();
  }
  /// No more come.
  void close() noexcept {
    is_closed_.store(true);
    signal_some();
  }
  bool is_empty() const noexcept { return tail_.load() == head_.load(); }
  /// Readable when there is room again, or nobody reads any more, after room() was empty.
  int room_descriptor() const noexcept { return room_.get(); }
  bool is_left() const noexcept { return is_left_.load(); }

 private:
  std::size_t free_bytes() const noexcept { return capacity_ - static_cast<std::size_t>(tail_.load() - head_.load()); }
  static void signal(const unique_fd& fd) noexcept {
    const std::uint64_t one = 1;
    static_cast<void>(::write(fd.get(), &one, sizeof one));
  }
  /// False where it was not signalled.
  static bool clear(const unique_fd& fd) noexcept {
    std::uint64_t times = 0;
    return ::read(fd.get(), &times, sizeof times) == sizeof times;
  }
  void signal_some() noexcept {
    if (!some_is_signalled_.exchange(true)) signal(some_);
  }
  /// As of a socket, the descriptor is readable only as long as there is something. Where the signal is still on its way, the
  /// next read() does this.
  void calm() noexcept {
    if (!some_is_signalled_.load() || !clear(some_)) return;
    some_is_signalled_.store(false);
    if (has_some()) signal_some();
  }
  bool has_some() const noexcept { return tail_.load() != head_.load() || is_closed_.load(); }

  transferred read(std::span<std::byte> into) noexcept {
    const std::uint64_t begin = head_.load();
    const auto there = static_cast<std::size_t>(tail_.load() - begin);
    if (there == 0) {
      if (is_closed_.load() && tail_.load() == begin) return {transfer::closed, 0};
      if (!has_some()) calm();
      return {transfer::would_block, 0};
    }
    const std::size_t n = std::min(there, into.size());
    const std::size_t at = begin % capacity_;
    const std::size_t first = std::min(n, capacity_ - at);
    std::memcpy(into.data(), bytes_.get() + at, first);
    if (n > first) std::memcpy(into.data() + first, bytes_.get(), n - first);
    head_.store(begin + n);
    // Not for each few bytes: who writes goes on as well as who reads.
    if (writer_waits_.load() && free_bytes() >= capacity_ / 4 && writer_waits_.exchange(false)) signal(room_);
    if (!has_some()) calm();
    return {transfer::some, n};
  }
  void leave() noexcept {
    is_left_.store(true);
    signal(room_);
  }

  const std::unique_ptr<std::byte[]> bytes_;
  const std::size_t capacity_;
  const unique_fd some_;  // readable: there are bytes, or it is closed
  const unique_fd room_;
  // How many bytes were written, and read, since the beginning.
  std::atomic<std::uint64_t> tail_{0};
  std::atomic<std::uint64_t> head_{0};
  std::atomic<bool> some_is_signalled_{false};
  std::atomic<bool> writer_waits_{false};
  std::atomic<bool> is_closed_{false};
  std::atomic<bool> is_left_{false};
};

/// The end that reads. The other one sees when it goes.
class byte_ring::reader {
 public:
  reader() noexcept = default;
  explicit reader(std::shared_ptr<byte_ring> of) noexcept : ring_(std::move(of)) {}
  reader(reader&&) noexcept = default;
  reader& operator=(reader&& other) noexcept {
    if (ring_) ring_->leave();
    ring_ = std::move(other.ring_);
    return *this;
  }
  ~reader() {
    if (ring_) ring_->leave();
  }
  explicit operator bool() const noexcept { return static_cast<bool>(ring_); }
  /// Never blocks. Precondition for both: it is one of a ring.
  transferred read(std::span<std::byte> into) const noexcept { return ring_->read(into); }
  /// Readable while there are bytes, or no more will come.
  int descriptor() const noexcept { return ring_->some_.get(); }

 private:
  std::shared_ptr<byte_ring> ring_;
};

}  // namespace rh::os
