// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/config.hpp>
#include <runhouse/os/memory_file.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <span>
#include <utility>
#include <vector>

namespace rh::wire {

/// Owned bytes, aligned to 64 and not initialised: what a segment or a received body lives in.
class buffer {
 public:
  static constexpr std::size_t alignment = 64;

  buffer() noexcept = default;
  /// Errors: std::bad_alloc.
  explicit buffer(std::size_t size_bytes) : size_(size_bytes) {
    if (size_bytes == 0) return;
    // Not aligned_alloc, which glibc serves from outside its caches, and by splitting a larger block.
    if (size_bytes > std::numeric_limits<std::size_t>::max() - slack) throw std::bad_alloc();
    block_.reset(static_cast<std::byte*>(std::malloc(size_bytes + slack)));
    if (!block_) throw std::bad_alloc();
  }
  /// A copy of `bytes`.
  explicit buffer(std::span<const std::byte> bytes) : buffer(bytes.size()) {
    if (!bytes.empty()) std::memcpy(data(), bytes.data(), bytes.size());
  }

  std::byte* data() noexcept { return first_aligned(); }
  const std::byte* data() const noexcept { return first_aligned(); }
  std::size_t size() const noexcept { return size_; }
  std::span<const std::byte> bytes() const noexcept { return {data(), size_}; }

 private:
  struct free_bytes {
    void operator()(std::byte* p) const noexcept { std::free(p); }
  };
  static constexpr std::size_t slack = alignment - 1;
  /// Null stays null.
  std::byte* first_aligned() const noexcept {
    const auto past = reinterpret_cast<std::uintptr_t>(block_.get()) % alignment;
    return block_.get() + (past == 0 ? 0 : alignment - past);
  }
  std::unique_ptr<std::byte, free_bytes> block_;
  std::size_t size_ = 0;
};

/// One encoded value in a memory file: the segments, each at the next multiple of 64, then the stream at one of 16.
struct payload_file {
  std::shared_ptr<const os::memory_file> file;
  std::uint64_t stream_bytes = 0;
  std::vector<std::uint64_t> segment_bytes;

  /// How long the file must be.
  std::uint64_t size_bytes() const noexcept {
    std::uint64_t at = 0;
    for (const std::uint64_t size : segment_bytes) at = (at + 63) / 64 * 64 + size;
    return (at + 15) / 16 * 16 + stream_bytes;
  }
};

/// One encoded value, owned: the archive's stream, and the raw arrays that stand outside it; or a large one in a file.
struct payload {
  std::vector<std::byte> stream;
  std::vector<buffer> segments;
  std::shared_ptr<const payload_file> file;  ///< if not null, the others are empty

  /// Bytes of stream and segments together, without the padding between them.
  std::uint64_t size_bytes() const noexcept {
    std::uint64_t sum = stream.size();
    for (const buffer& segment : segments) sum += segment.size();
    return file ? file->size_bytes() : sum;
  }
};

using shared_payload = std::shared_ptr<const payload>;

/// One encoded value, seen in somebody else's memory. `stream` begins at a multiple of 16 bytes, each segment at one
/// of 64, so that what is decoded can be viewed in place.
struct payload_view {
  std::span<const std::byte> stream;
  std::span<const std::span<const std::byte>> segments;
};

/// A payload in a file as a view: `segments` is filled to hold the spans, and must outlive the view, as must the file.
/// Precondition: the file is as long as it must be. Errors: std::bad_alloc.
inline payload_view view(const payload_file& p, std::vector<std::span<const std::byte>>& segments) {
  const std::span<const std::byte> bytes = p.file->bytes();
  segments.clear();
  std::size_t at = 0;
  for (const std::uint64_t size : p.segment_bytes) {
    at = (at + 63) / 64 * 64;
    segments.push_back(bytes.subspan(at, static_cast<std::size_t>(size)));
    at += static_cast<std::size_t>(size);
  }
  return {bytes.subspan((at + 15) / 16 * 16, static_cast<std::size_t>(p.stream_bytes)), segments};
}

/// A payload as a view, in the same way.
inline payload_view view(const payload& p, std::vector<std::span<const std::byte>>& segments) {
  if (p.file) return view(*p.file, segments);
  segments.clear();
  for (const buffer& segment : p.segments) segments.push_back(segment.bytes());
  return {p.stream, segments};
}

}  // namespace rh::wire
