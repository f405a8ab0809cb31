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
#include <type_traits>
#include <utility>
#include <vector>

namespace rh::wire {

/// Owned bytes: what a segment or a received body lives in. Aligned to 64 and not initialised, unless taken over.
class buffer {
 public:
  static constexpr std::size_t alignment = 64;

  buffer() noexcept = default;
  /// Errors: std::bad_alloc.
  explicit buffer(std::size_t size_bytes) : size_(size_bytes) {
    if (size_bytes == 0) return;
    // Not aligned_alloc, which glibc serves from outside its caches, and by splitting a larger block.
    if (size_bytes > std::numeric_limits<std::size_t>::max() - slack) throw std::bad_alloc();
    void* const block = std::malloc(size_bytes + slack);
    if (block == nullptr) throw std::bad_alloc();
    owner_ = owner(block, std::free);
    const auto past = reinterpret_cast<std::uintptr_t>(block) % alignment;
    data_ = static_cast<std::byte*>(block) + (past == 0 ? 0 : alignment - past);
  }
  /// A copy of `bytes`.
  explicit buffer(std::span<const std::byte> bytes) : buffer(bytes.size()) {
    if (!bytes.empty()) std::memcpy(data(), bytes.data(), bytes.size());
  }
  /// What a vector or a string holds, where it is, aligned as its elements are.
  template <class Container>
  static buffer taken_from(Container&& from) {
    using container = std::remove_reference_t<Container>;
    auto held = std::make_unique<container>(std::move(from));
    buffer taken;
    taken.data_ = reinterpret_cast<std::byte*>(held->data());
    taken.size_ = held->size() * sizeof(typename container::value_type);
    taken.owner_ = owner(held.release(), [](void* what) { delete static_cast<container*>(what); });
    return taken;
  }

  std::byte* data() noexcept { return data_; }
  const std::byte* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  std::span<const std::byte> bytes() const noexcept { return {data(), size_}; }

 private:
  using owner = std::unique_ptr<void, void (*)(void*)>;
  static constexpr std::size_t slack = alignment - 1;

  owner owner_{nullptr, std::free};
  std::byte* data_ = nullptr;
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
