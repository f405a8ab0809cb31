// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/config.hpp>

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

/// One encoded value, owned: the archive's stream, and the raw arrays that stand outside it.
struct payload {
  std::vector<std::byte> stream;
  std::vector<buffer> segments;

  /// Bytes of stream and segments together, without the padding between them.
  std::uint64_t size_bytes() const noexcept {
    std::uint64_t sum = stream.size();
    for (const buffer& segment : segments) sum += segment.size();
    return sum;
  }
};

using shared_payload = std::shared_ptr<const payload>;

/// One encoded value, seen in somebody else's memory. `stream` begins at a multiple of 16 bytes, each segment at one
/// of 64, so that what is decoded can be viewed in place.
struct payload_view {
  std::span<const std::byte> stream;
  std::span<const std::span<const std::byte>> segments;
};

/// A payload as a view: `segments` is filled to hold the spans, and must outlive the view, as must `p`.
inline payload_view view(const payload& p, std::vector<std::span<const std::byte>>& segments) {
  segments.clear();
  for (const buffer& segment : p.segments) segments.push_back(segment.bytes());
  return {p.stream, segments};
}

}  // namespace rh::wire
