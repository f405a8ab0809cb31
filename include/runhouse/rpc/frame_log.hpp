// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/limits.hpp>
#include <runhouse/os/duplex.hpp>
#include <runhouse/wire/frame.hpp>
#include <runhouse/wire/payload.hpp>
#include <runhouse/wire/session_message.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace rh::detail {

/// The frames of one direction of a session, kept from when they are made until the other side has them, whatever
/// connections break meanwhile.
///
/// Counted frames are numbered from 1 (wire::is_counted). Others go with them, and may be sent twice.
class frame_log {
 public:
  using shared_file = std::shared_ptr<const wire::payload_file>;

  /// Where a frame's bytes are to be appended; added() when they are.
  std::vector<std::byte>& bytes() noexcept { return bytes_; }
  /// Precondition: one whole frame was appended. `files` are passed with its bytes.
  void added(wire::frame_type type, std::span<const shared_file> files = {}) {
    for (std::size_t i = 0; i < files.size(); ++i) files_.push_back({end_ + i / os::fds_per_send, files[i]});
    end_ = first_ + bytes_.size();
    if (wire::is_counted(type)) ends_.push_back(end_);
  }
  void add(wire::frame_header header, std::span<const std::byte> payload) {
    wire::append_frame(bytes_, header, payload);
    added(header.type);
  }

  /// Counted frames that the other side has.
  std::uint64_t acknowledged() const noexcept { return acknowledged_; }
  std::uint64_t unsent_bytes() const noexcept { return end_ - sent_; }
  /// Bytes that the other side is not known to have.
  std::uint64_t kept_bytes() const noexcept { return end_ - first_; }

  /// Sends what one system call takes.
  os::transferred send(const os::duplex& to) noexcept {
    const auto rest = [&](std::uint64_t end) {
      return std::span<const std::byte>(bytes_).subspan(static_cast<std::size_t>(sent_ - first_), static_cast<std::size_t>(end - sent_));
    };
    os::transferred done{};
    if (next_file_ == files_.size()) {
      done = to.send(rest(end_));
    } else if (files_[next_file_].at > sent_) {
      done = to.send(rest(files_[next_file_].at));
    } else {
      std::array<int, os::fds_per_send> fds;
      std::size_t count = 0;
      while (next_file_ + count < files_.size() && files_[next_file_ + count].at == sent_) {
        fds[count] = files_[next_file_ + count].file->file->descriptor();
        ++count;
      }
      const std::uint64_t end = next_file_ + count < files_.size() ? files_[next_file_ + count].at : end_;
      done = to.send(rest(end), std::span<const int>(fds.data(), count));
      if (done.how == os::transfer::some) next_file_ += count;
    }
    if (done.how == os::transfer::some) sent_ += done.bytes;
    return done;
  }

  /// The other side has so many counted frames. False if that cannot be.
  bool acknowledge(std::uint64_t count) {
    if (count < acknowledged_) return true;  // said before
    if (count - acknowledged_ > ends_.size()) return false;
    if (count == acknowledged_) return true;
    const std::uint64_t to = ends_[static_cast<std::size_t>(count - acknowledged_ - 1)];
    if (to > sent_) return false;
    ends_.erase(ends_.begin(), ends_.begin() + static_cast<std::ptrdiff_t>(count - acknowledged_));
    acknowledged_ = count;
    while (!files_.empty() && files_.front().at < to) {
      files_.pop_front();
      --next_file_;
    }
    done_ = to;
    // Seldom, so that what stays is not moved each time.
    if (2 * (done_ - first_) >= bytes_.size()) {
      bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(done_ - first_));
      first_ = done_;
      if (bytes_.empty() && bytes_.capacity() > limits::log_memory_bytes) bytes_ = {};
    }
    return true;
  }
  /// A new connection, on which the other side has so many: what follows is sent again. False if that cannot be.
  bool resume(std::uint64_t count) {
    const bool known = count >= acknowledged_ && count - acknowledged_ <= ends_.size();
    if (!known) return false;
    sent_ = end_;  // what it has was sent
    if (!acknowledge(count)) return false;
    sent_ = done_;
    next_file_ = 0;
    return true;
  }

 private:
  struct passed_file {
    std::uint64_t at;  // with the byte there
    shared_file file;
  };
  // Offsets count from the first byte of the session.
  std::vector<std::byte> bytes_;       // from first_ to end_
  std::uint64_t first_ = 0;
  std::uint64_t done_ = 0;             // the other side has what is before
  std::uint64_t sent_ = 0;
  std::uint64_t end_ = 0;
  std::uint64_t acknowledged_ = 0;
  std::deque<std::uint64_t> ends_;     // of the counted frames that are not acknowledged
  std::deque<passed_file> files_;
  std::size_t next_file_ = 0;          // of files_, to be sent
};

}  // namespace rh::detail
