// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/limits.hpp>
#include <runhouse/wire/bytes.hpp>
#include <runhouse/wire/payload.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

namespace rh::wire {

/// Writes the parts that values are encoded to; what is large straight into a memory file, so that it is copied once.
/// Source: wire/protocol.md, sections 9.2 and 9.3.
class payload_writer {
 public:
  /// The payload; the writer is of no more use. Errors: std::bad_alloc.
  payload take() && {
    if (file_ != nullptr || (position() >= limits::memory_file_bytes && begin_file())) end_file();
    return std::move(out_);
  }

  /// `size_bytes` bytes into the stream.
  void write(const void* from, std::size_t size_bytes) {
    append(out_.stream, {static_cast<const std::byte*>(from), size_bytes});
  }
  void write_count(std::uint64_t count) { write(&count, sizeof count); }
  /// A raw block; `alignment` is 1, 2, 4, 8 or 16.
  void write_raw(const void* from, std::size_t size_bytes, std::size_t alignment);
  /// A vector or string of raw elements: their count, and the block.
  void write_elements(const void* from, std::size_t count, std::size_t element_bytes, std::size_t alignment) {
    write_count(count);
    write_raw(from, count * element_bytes, alignment);
  }

  /// Bytes written so far, in the stream and in segments.
  std::uint64_t position() const noexcept { return out_.stream.size() + segment_bytes_; }

 private:
  bool begin_file();
  void end_file();
  void write_segment(std::span<const std::byte> bytes);
  std::size_t segment_count() const noexcept { return out_.segments.size() + filed_.segment_bytes.size(); }

  payload out_;
  std::shared_ptr<os::memory_file> file_;
  payload_file filed_;
  std::uint64_t filed_bytes_ = 0;
  std::uint64_t segment_bytes_ = 0;
};

// ---- implementation

inline void payload_writer::write_raw(const void* from, std::size_t size_bytes, std::size_t alignment) {
  if (size_bytes == 0) return;
  const auto* bytes = static_cast<const std::byte*>(from);
  if (size_bytes >= limits::segment_bytes && segment_count() < limits::segments) {
    if (file_ == nullptr && size_bytes >= limits::memory_file_bytes) begin_file();
    if (file_ != nullptr) {
      write_segment(std::span(bytes, size_bytes));
    } else {
      out_.segments.emplace_back(std::span(bytes, size_bytes));
    }
    segment_bytes_ += size_bytes;
    return;
  }
  const std::size_t misaligned = out_.stream.size() % alignment;
  if (misaligned != 0) out_.stream.resize(out_.stream.size() + alignment - misaligned);
  write(from, size_bytes);
}

inline bool payload_writer::begin_file() {
  file_ = os::memory_file::try_make();
  if (file_ == nullptr) return false;
  for (const buffer& segment : std::exchange(out_.segments, {})) write_segment(segment.bytes());
  return true;
}

inline void payload_writer::write_segment(std::span<const std::byte> bytes) {
  const std::uint64_t at = (filed_bytes_ + 63) / 64 * 64;
  file_->write(bytes, at);
  filed_bytes_ = at + bytes.size();
  filed_.segment_bytes.push_back(bytes.size());
}

inline void payload_writer::end_file() {
  filed_.stream_bytes = out_.stream.size();
  file_->write(out_.stream, filed_.size_bytes() - filed_.stream_bytes);
  file_->seal();
  filed_.file = std::move(file_);
  out_.stream = {};
  out_.file = std::make_shared<const payload_file>(std::move(filed_));
}

}  // namespace rh::wire
