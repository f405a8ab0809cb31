// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/limits.hpp>
#include <runhouse/core/result.hpp>
#include <runhouse/wire/bytes.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

namespace rh::wire {

inline constexpr std::size_t header_bytes = 16;
inline constexpr std::uint16_t frame_magic = 0x4852;  // "RH"

/// What a frame says. Below 0x80 a type that is not known ends the connection; others are skipped.
enum class frame_type : std::uint8_t {
  hello = 0x01,
  bye = 0x02,
  call = 0x10,
  outcome = 0x11,
  data = 0x12,
  cancel = 0x20,
  credit = 0x21,
  ping = 0x22,
  pong = 0x23,
  describe = 0x24,
  functions = 0x25,
  taken = 0x26,
  // between a program and a node only
  open = 0x30,
  opened = 0x31,
  ack = 0x32,
  function = 0x33,
  needs = 0x34,
  put = 0x35,
  fetch = 0x36,
  release = 0x37,
  detach = 0x38,
  output = 0x39,
  ask = 0x3a,
  close = 0x3b,
  bridge = 0x3c,
};

/// More of this message follows: of a call, outcome or data frame in data frames of the same stream, of functions in
/// functions frames. No other frame has it.
inline constexpr std::uint8_t flag_more = 0x01;

struct frame_header {
  frame_type type{};
  std::uint8_t flags = 0;
  std::uint32_t payload_bytes = 0;
  std::uint64_t stream = 0;

  bool operator==(const frame_header&) const = default;
};

/// Decodes the first header_bytes of `in`; reads no further, never throws or allocates.
///
///     offset  bytes  field
///     0       2      magic, 0x52 0x48 ("RH")
///     2       1      type
///     3       1      flags
///     4       4      payload_bytes
///     8       8      stream
/// Errors:
///   errc::truncated        fewer than header_bytes in `in`: read more and call again
///   errc::protocol_error   no magic, an unknown type below 0x80, or a flag that its type does not have: close the
///                          connection
///   errc::frame_too_large  payload_bytes is over `largest`: close the connection
/// Source: wire/protocol.md, section 2.
[[nodiscard]] inline result<frame_header> decode_header(std::span<const std::byte> in,
                                                 std::size_t largest = limits::frame_bytes) noexcept;

/// The header as bytes.
inline std::array<std::byte, header_bytes> encode(const frame_header& header) noexcept;

/// Appends a whole frame to `out`.
inline void append_frame(std::vector<std::byte>& out, frame_header header, std::span<const std::byte> payload);

// ---- implementation

inline result<frame_header> decode_header(std::span<const std::byte> in, std::size_t largest) noexcept {
  if (in.size() < header_bytes) return errc::truncated;
  byte_reader read(in.first(header_bytes));
  const auto magic = read.get<std::uint16_t>();
  const auto type = read.get<std::uint8_t>();
  const auto flags = read.get<std::uint8_t>();
  const auto payload_bytes = read.get<std::uint32_t>();
  const auto stream = read.get<std::uint64_t>();
  if (magic != frame_magic) return errc::protocol_error;
  const bool known = (type >= 0x01 && type <= 0x02) || (type >= 0x10 && type <= 0x12) || (type >= 0x20 && type <= 0x26) ||
                     (type >= 0x30 && type <= 0x3c);
  if (!known && type < 0x80) return errc::protocol_error;
  const bool may_continue = (type >= 0x10 && type <= 0x12) || type == 0x25 || type == 0x35;
  if (known && (flags & ~(may_continue ? flag_more : 0)) != 0) return errc::protocol_error;
  if (payload_bytes > largest) return errc::frame_too_large;
  return frame_header{static_cast<frame_type>(type), flags, payload_bytes, stream};
}

inline std::array<std::byte, header_bytes> encode(const frame_header& header) noexcept {
  std::array<std::byte, header_bytes> bytes;
  std::memcpy(bytes.data(), &frame_magic, 2);
  bytes[2] = static_cast<std::byte>(header.type);
  bytes[3] = static_cast<std::byte>(header.flags);
  std::memcpy(bytes.data() + 4, &header.payload_bytes, 4);
  std::memcpy(bytes.data() + 8, &header.stream, 8);
  return bytes;
}

inline void append_frame(std::vector<std::byte>& out, frame_header header, std::span<const std::byte> payload) {
  header.payload_bytes = static_cast<std::uint32_t>(payload.size());
  const auto bytes = encode(header);
  append(out, bytes);
  append(out, payload);
}

}  // namespace rh::wire
