// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/core/limits.hpp>
#include <runhouse/wire/payload.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

namespace rh::wire {

/// Reads the parts that values are encoded to, from bytes that may be anything: no count is believed that the bytes
/// that are left could not hold.
///
/// Lifetime: the payload's memory outlives the reader, and what raw() returns.
/// Errors:
///   errc::bad_payload  every way in which the bytes can be wrong; the message says which
class payload_reader {
 public:
  explicit payload_reader(payload_view in) : in_(in) {
    for (const auto segment : in_.segments) segment_bytes_left_ += segment.size();
  }

  /// The next `size_bytes` bytes of the stream, copied.
  void read(void* to, std::size_t size_bytes) {
    const std::span<const std::byte> bytes = next(size_bytes);
    if (size_bytes != 0) std::memcpy(to, bytes.data(), size_bytes);
  }
  bool read_bool();
  /// The next count; not more than could follow if each element took `min_element_bytes`, which is not 0.
  std::size_t read_count(std::size_t min_element_bytes);
  /// The next raw block, seen in the payload's own memory.
  std::span<const std::byte> raw(std::size_t size_bytes, std::size_t alignment);
  /// A vector or string of raw elements: its count and its block, which is copied to `aligned` where its elements
  /// would not be aligned in place, as in a view that begins at an odd address.
  std::span<const std::byte> elements(std::size_t element_bytes, std::size_t alignment, buffer& aligned);
  /// Throws unless everything was read.
  void finish() const;

  /// What is left, in the stream and in segments.
  std::uint64_t bytes_left() const noexcept { return in_.stream.size() - at_ + segment_bytes_left_; }

 private:
  std::span<const std::byte> next(std::size_t size_bytes) {
    if (size_bytes > in_.stream.size() - at_) fail_short(size_bytes);
    at_ += size_bytes;
    return in_.stream.subspan(at_ - size_bytes, size_bytes);
  }
  [[noreturn]] void fail_short(std::size_t size_bytes) const;

  payload_view in_;
  std::size_t at_ = 0;
  std::size_t segment_ = 0;
  std::uint64_t segment_bytes_left_ = 0;
};

// ---- implementation

inline bool payload_reader::read_bool() {
  std::uint8_t byte = 0;
  read(&byte, 1);
  if (byte > 1) fail(errc::bad_payload, "a bool is neither 0 nor 1");
  return byte != 0;
}

inline std::span<const std::byte> payload_reader::elements(std::size_t element_bytes, std::size_t alignment, buffer& aligned) {
  const std::size_t count = read_count(element_bytes);
  const std::span<const std::byte> bytes = raw(count * element_bytes, alignment);
  if (reinterpret_cast<std::uintptr_t>(bytes.data()) % alignment == 0) return bytes;
  aligned = buffer(bytes);
  return aligned.bytes();
}

[[gnu::cold, gnu::noinline]] inline void payload_reader::fail_short(std::size_t size_bytes) const {
  fail(errc::bad_payload, "the stream ends at byte " + std::to_string(in_.stream.size()) + ", and " +
                              std::to_string(size_bytes) + " more were expected at byte " + std::to_string(at_));
}

inline std::size_t payload_reader::read_count(std::size_t min_element_bytes) {
  std::uint64_t count = 0;
  read(&count, sizeof count);
  if (count > bytes_left() / min_element_bytes) {
    fail(errc::bad_payload, "a count of " + std::to_string(count) + " is more than the " +
                                std::to_string(bytes_left()) + " bytes left can hold");
  }
  return count;
}

inline std::span<const std::byte> payload_reader::raw(std::size_t size_bytes, std::size_t alignment) {
  if (size_bytes == 0) return {};
  if (size_bytes >= limits::segment_bytes && segment_ < limits::segments) {
    if (segment_ == in_.segments.size()) fail(errc::bad_payload, "a segment is missing");
    const std::span<const std::byte> segment = in_.segments[segment_];
    if (segment.size() != size_bytes) {
      fail(errc::bad_payload, "a segment has " + std::to_string(segment.size()) + " bytes where " +
                                  std::to_string(size_bytes) + " were announced");
    }
    ++segment_;
    segment_bytes_left_ -= size_bytes;
    return segment;
  }
  const std::size_t misaligned = at_ % alignment;
  if (misaligned != 0) {
    for (const std::byte padding : next(alignment - misaligned)) {
      if (padding != std::byte{0}) fail(errc::bad_payload, "padding is not zero");
    }
  }
  return next(size_bytes);
}

inline void payload_reader::finish() const {
  if (at_ != in_.stream.size()) {
    fail(errc::bad_payload, std::to_string(in_.stream.size() - at_) + " bytes follow the value");
  }
  if (segment_ != in_.segments.size()) {
    fail(errc::bad_payload, std::to_string(in_.segments.size() - segment_) + " segments follow the value");
  }
}

}  // namespace rh::wire
