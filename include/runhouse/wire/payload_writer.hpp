// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/limits.hpp>
#include <runhouse/wire/bytes.hpp>
#include <runhouse/wire/payload.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace rh::wire {

/// Writes the parts that values are encoded to. Source: wire/protocol.md, sections 9.2 and 9.3.
class payload_writer {
 public:
  /// The payload; the writer is empty afterwards.
  payload take() && { return std::move(out_); }

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
  payload out_;
  std::uint64_t segment_bytes_ = 0;
};

// ---- implementation

inline void payload_writer::write_raw(const void* from, std::size_t size_bytes, std::size_t alignment) {
  if (size_bytes == 0) return;
  const auto* bytes = static_cast<const std::byte*>(from);
  if (size_bytes >= limits::segment_bytes && out_.segments.size() < limits::segments) {
    out_.segments.emplace_back(std::span(bytes, size_bytes));
    segment_bytes_ += size_bytes;
    return;
  }
  const std::size_t misaligned = out_.stream.size() % alignment;
  if (misaligned != 0) out_.stream.resize(out_.stream.size() + alignment - misaligned);
  write(from, size_bytes);
}

}  // namespace rh::wire
