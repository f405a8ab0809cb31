// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/wire/frame.hpp>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

namespace rh::wire {

struct frame {
  frame_header header;
  std::span<const std::byte> payload;  ///< valid until the next call of room()
};

/// Bytes as they come from a stream, cut into frames. Holds at most one frame and what came with it.
class frame_buffer {
 public:
  explicit frame_buffer(std::size_t largest = limits::frame_bytes) : largest_(largest), bytes_(64 * 1024) {}

  /// Where to put what is read next; never empty.
  std::span<std::byte> room() {
    if (begin_ == end_) begin_ = end_ = 0;
    if (end_ == bytes_.size()) {
      if (begin_ > 0) {
        std::memmove(bytes_.data(), bytes_.data() + begin_, end_ - begin_);
        end_ -= begin_;
        begin_ = 0;
      } else {
        bytes_.resize(bytes_.size() * 2);  // bounded: next() refuses frames over `largest_`
      }
    }
    return std::span(bytes_).subspan(end_);
  }
  void received(std::size_t n) noexcept { end_ += n; }
  /// The same with bytes that came another way.
  void add(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const auto into = room();
      const std::size_t n = std::min(into.size(), bytes.size());
      std::memcpy(into.data(), bytes.data(), n);
      received(n);
      bytes = bytes.subspan(n);
    }
  }

  /// True if next() will give a frame now.
  bool has_next() const noexcept {
    const std::span<const std::byte> in = std::span(bytes_).subspan(begin_, end_ - begin_);
    const auto header = decode_header(in, largest_);
    return header && in.size() - header_bytes >= header->payload_bytes;
  }
  /// The next whole frame. Errors: errc::truncated: read more; others as decode_header, after which nothing more can
  /// be read from this stream.
  result<frame> next() noexcept {
    const std::span<const std::byte> in = std::span(bytes_).subspan(begin_, end_ - begin_);
    const auto header = decode_header(in, largest_);
    if (!header) return header.code();
    if (in.size() - header_bytes < header->payload_bytes) return errc::truncated;
    begin_ += header_bytes + header->payload_bytes;
    return frame{*header, in.subspan(header_bytes, header->payload_bytes)};
  }

 private:
  std::size_t largest_;
  std::vector<std::byte> bytes_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace rh::wire
