// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/limits.hpp>
#include <runhouse/os/duplex.hpp>
#include <runhouse/wire/frame.hpp>
#include <runhouse/wire/payload.hpp>
#include <runhouse/wire/session_message.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <iterator>
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

  /// Where a frame's bytes are to be appended; added() when they are. Errors: std::bad_alloc.
  std::vector<std::byte>& bytes() {
    if (blocks_.empty() || blocks_.back().bytes.size() >= block_bytes) {
      blocks_.push_back({end_, std::exchange(spare_, {})});
    }
    return blocks_.back().bytes;
  }
  /// Precondition: one whole frame was appended. `files` are passed with its bytes.
  void added(wire::frame_type type, std::span<const shared_file> files = {}) {
    for (std::size_t i = 0; i < files.size(); ++i) files_.push_back({end_ + i / os::fds_per_send, files[i]});
    end_ = blocks_.back().end();
    if (wire::is_counted(type)) ends_.push_back(end_);
  }
  void add(wire::frame_header header, std::span<const std::byte> payload) {
    wire::append_frame(bytes(), header, payload);
    added(header.type);
  }

  /// Counted frames that the other side has.
  std::uint64_t acknowledged() const noexcept { return acknowledged_; }
  std::uint64_t unsent_bytes() const noexcept { return end_ - sent_; }
  /// Bytes that the other side is not known to have.
  std::uint64_t kept_bytes() const noexcept { return end_ - done_; }

  /// Sends what one system call takes. Precondition: unsent_bytes() > 0.
  os::transferred send(const os::duplex& to) noexcept {
    const block& in = *std::prev(std::upper_bound(blocks_.begin(), blocks_.end(), sent_, [](std::uint64_t at, const block& b) { return at < b.first; }));
    const auto rest = [&](std::uint64_t end) {
      return std::span(in.bytes).subspan(static_cast<std::size_t>(sent_ - in.first), static_cast<std::size_t>(std::min(end, in.end()) - sent_));
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
    while (!blocks_.empty() && blocks_.front().end() <= done_) {
      block& front = blocks_.front();
      front.bytes.clear();
      if (front.bytes.capacity() <= limits::log_memory_bytes) spare_ = std::move(front.bytes);
      blocks_.pop_front();
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
  /// Some frames, so that those behind them need not be moved when they are not kept any more.
  struct block {
    std::uint64_t first;
    std::vector<std::byte> bytes;
    std::uint64_t end() const noexcept { return first + bytes.size(); }
  };
  static constexpr std::size_t block_bytes = 256 * 1024;  // one that has these takes no more frames
  // Offsets count from the first byte of the session.
  std::deque<block> blocks_;           // up to end_
  std::vector<std::byte> spare_;
  std::uint64_t done_ = 0;             // the other side has what is before
  std::uint64_t sent_ = 0;
  std::uint64_t end_ = 0;
  std::uint64_t acknowledged_ = 0;
  std::deque<std::uint64_t> ends_;     // of the counted frames that are not acknowledged
  std::deque<passed_file> files_;
  std::size_t next_file_ = 0;          // of files_, to be sent
};

}  // namespace rh::detail
