// SPDX-License-Identifier: Apache-2.0
#include <runhouse/wire/frame.hpp>

#include <runhouse/wire/frame_buffer.hpp>

#include "support/catch.hpp"
#include "wire/wire_bytes.hpp"

#include <algorithm>
#include <random>
#include <vector>

using namespace rh::wire;
using rh::errc;
using wire_bytes::hex;

namespace {

std::vector<std::byte> header_of(std::uint8_t type, std::uint8_t flags = 0, std::uint32_t payload_bytes = 0) {
  auto bytes = hex("52 48 00 00 00 00 00 00  01 00 00 00 00 00 00 00");
  bytes[2] = std::byte{type};
  bytes[3] = std::byte{flags};
  for (std::size_t i = 0; i < 4; ++i) bytes[4 + i] = static_cast<std::byte>(payload_bytes >> (8 * i));
  return bytes;
}

bool is_known(unsigned type) {
  return type == 1 || type == 2 || (type >= 0x10 && type <= 0x12) || (type >= 0x20 && type <= 0x26) ||
         (type >= 0x30 && type <= 0x3c);
}

}  // namespace

TEST_CASE("a header is the 16 bytes of the protocol", "[wire][frame]") {
  const frame_header header{frame_type::outcome, flag_more, 0x00031234, 0x0102030405060708};
  const auto expected = hex("52 48 11 01  34 12 03 00  08 07 06 05 04 03 02 01");
  const auto bytes = encode(header);
  CHECK(std::equal(bytes.begin(), bytes.end(), expected.begin(), expected.end()));
  const auto back = decode_header(expected);
  REQUIRE(back);
  CHECK(back->type == frame_type::outcome);
  CHECK(back->flags == flag_more);
  CHECK(back->payload_bytes == 0x00031234);
  CHECK(back->stream == 0x0102030405060708);
}

TEST_CASE("a header is truncated until its last byte has come", "[wire][frame]") {
  const auto bytes = header_of(0x10);
  for (std::size_t n = 0; n < header_bytes; ++n) {
    const auto got = decode_header(std::span(bytes).first(n));
    REQUIRE(!got);
    CHECK(got.code() == errc::truncated);
  }
  CHECK(decode_header(bytes));
}

TEST_CASE("a type below 0x80 that is not known ends the connection, one from 0x80 on does not", "[wire][frame]") {
  for (unsigned type = 0; type < 256; ++type) {
    INFO(type);
    const auto got = decode_header(header_of(static_cast<std::uint8_t>(type)));
    const bool accepted = is_known(type) || type >= 0x80;
    REQUIRE(static_cast<bool>(got) == accepted);
    if (!got) CHECK(got.code() == errc::protocol_error);
  }
}

TEST_CASE("a flag is refused where the type does not have it", "[wire][frame]") {
  for (unsigned type = 0; type < 256; ++type) {
    for (unsigned flags = 1; flags < 256; ++flags) {
      const bool continues = (type >= 0x10 && type <= 0x12) || type == 0x25 || type == 0x35;
      const bool accepted = type >= 0x80 || (is_known(type) && continues && flags == flag_more);
      const bool got = static_cast<bool>(
          decode_header(header_of(static_cast<std::uint8_t>(type), static_cast<std::uint8_t>(flags))));
      if (got != accepted) FAIL("type " << type << ", flags " << flags);
    }
  }
}

TEST_CASE("a frame over the largest size is refused by its header", "[wire][frame]") {
  CHECK(decode_header(header_of(0x12, 0, rh::limits::frame_bytes)));
  for (const std::uint32_t size :
       {std::uint32_t{rh::limits::frame_bytes + 1}, std::uint32_t{0x80000000}, std::uint32_t{0xffffffff}}) {
    const auto got = decode_header(header_of(0x12, 0, size));
    REQUIRE(!got);
    CHECK(got.code() == errc::frame_too_large);
    CHECK(!decode_header(header_of(0x90, 0, size)));
  }
  CHECK(!decode_header(header_of(0x12, 0, 101), 100));
}

TEST_CASE("any other magic is refused", "[wire][frame]") {
  for (std::size_t bit = 0; bit < 16; ++bit) {
    auto bytes = header_of(0x10);
    bytes[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
    const auto got = decode_header(bytes);
    REQUIRE(!got);
    CHECK(got.code() == errc::protocol_error);
  }
}

TEST_CASE("a stream in any pieces gives the same frames", "[wire][frame_buffer]") {
  std::mt19937 chance(1);
  std::vector<std::byte> stream;
  std::vector<std::vector<std::byte>> payloads;
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{65520}, std::size_t{65521},
                                 std::size_t{200000}, rh::limits::frame_bytes, std::size_t{3}}) {
    payloads.emplace_back(size, static_cast<std::byte>(size % 251));
    append_frame(stream, {frame_type::data, 0, 0, size}, payloads.back());
  }
  for (const std::size_t largest_piece : {std::size_t{1000}, std::size_t{65536}, std::size_t{1} << 22}) {
    frame_buffer in;
    std::size_t sent = 0;
    std::size_t got = 0;
    while (got < payloads.size()) {
      const auto next = in.next();
      if (next) {
        REQUIRE(next->header.stream == payloads[got].size());
        REQUIRE(std::equal(next->payload.begin(), next->payload.end(), payloads[got].begin(), payloads[got].end()));
        ++got;
        continue;
      }
      REQUIRE(next.code() == errc::truncated);
      REQUIRE(sent < stream.size());
      const auto room = in.room();
      REQUIRE(!room.empty());
      CHECK(room.size() <= 2 * rh::limits::frame_bytes + 65536);
      const std::size_t n = std::min({room.size(), stream.size() - sent, std::size_t{1} + chance() % largest_piece});
      std::copy_n(stream.begin() + static_cast<std::ptrdiff_t>(sent), n, room.begin());
      in.received(n);
      sent += n;
    }
    CHECK(sent == stream.size());
    CHECK(in.next().code() == errc::truncated);
  }
}

TEST_CASE("a stream that is no frames stays refused", "[wire][frame_buffer]") {
  frame_buffer in;
  const auto bytes = header_of(0x7f);
  std::copy(bytes.begin(), bytes.end(), in.room().begin());
  in.received(bytes.size());
  CHECK(in.next().code() == errc::protocol_error);
  CHECK(in.next().code() == errc::protocol_error);
}
