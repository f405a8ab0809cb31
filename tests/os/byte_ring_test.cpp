// SPDX-License-Identifier: Apache-2.0
#include <runhouse/os/byte_ring.hpp>
#include <runhouse/os/duplex.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <poll.h>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <vector>

namespace {

using rh::os::byte_ring;
using rh::os::transfer;

bool is_readable(int fd, int milliseconds = 0) {
  pollfd p{fd, POLLIN, 0};
  return ::poll(&p, 1, milliseconds) == 1;
}

/// As much as there is room for, in one piece.
std::size_t put(byte_ring& ring, std::string_view text) {
  const auto room = ring.room();
  const std::size_t n = std::min(room.size(), text.size());
  std::transform(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(n), room.begin(), [](char c) { return static_cast<std::byte>(c); });
  ring.written(n);
  return n;
}

std::string take(const byte_ring::reader& from, std::size_t most = 100) {
  std::string text(most, ' ');
  const auto got = from.read(std::as_writable_bytes(std::span(text)));
  text.resize(got.bytes);
  if (got.how == transfer::would_block) return "(none)";
  return got.how == transfer::closed ? "(closed)" : text;
}

}  // namespace

TEST_CASE("a ring is readable as long as there is something", "[os][byte_ring]") {
  const auto ring = std::make_shared<byte_ring>(8);
  const byte_ring::reader reader(ring);
  CHECK_FALSE(is_readable(reader.descriptor()));
  CHECK(take(reader) == "(none)");
  CHECK(put(*ring, "abc") == 3);
  CHECK(is_readable(reader.descriptor()));
  CHECK(take(reader, 2) == "ab");
  CHECK(is_readable(reader.descriptor()));
  CHECK(take(reader) == "c");
  CHECK_FALSE(is_readable(reader.descriptor()));
  CHECK(put(*ring, "defghijkl") == 5);  // to the end of its memory
  CHECK(put(*ring, "ijkl") == 3);
  CHECK(put(*ring, "l") == 0);
  CHECK(take(reader) == "defghijk");
  CHECK(put(*ring, "l") == 1);
  ring->close();
  CHECK(take(reader) == "l");
  CHECK(is_readable(reader.descriptor()));
  CHECK(take(reader) == "(closed)");
  CHECK(is_readable(reader.descriptor()));
}

TEST_CASE("who writes to a full ring learns that there is room, or that nobody reads", "[os][byte_ring]") {
  const auto ring = std::make_shared<byte_ring>(8);
  std::optional<byte_ring::reader> reader(ring);
  CHECK(put(*ring, "abcdefgh") == 8);
  CHECK(ring->room().empty());
  CHECK_FALSE(is_readable(ring->room_descriptor()));
  CHECK(take(*reader, 1) == "a");  // of little it is not told
  CHECK_FALSE(is_readable(ring->room_descriptor()));
  CHECK(take(*reader, 1) == "b");
  CHECK(is_readable(ring->room_descriptor()));
  CHECK(put(*ring, "ij") == 2);
  CHECK(ring->room().empty());
  CHECK_FALSE(is_readable(ring->room_descriptor()));
  CHECK_FALSE(ring->is_left());
  reader.reset();
  CHECK(ring->is_left());
  CHECK(is_readable(ring->room_descriptor()));
}

TEST_CASE("all that is written to a ring is read, in order, and nobody waits in vain", "[os][byte_ring]") {
  constexpr std::uint64_t total = 20'000'000;
  for (const std::size_t capacity : {std::size_t{1}, std::size_t{7}, std::size_t{4096}, std::size_t{1} << 20}) {
    const std::uint64_t count = capacity < 100 ? 50'000 : total;
    const auto ring = std::make_shared<byte_ring>(capacity);
    std::uint64_t waited = 0;
    std::thread writer([&] {
      std::minstd_rand random(1);
      for (std::uint64_t at = 0; at < count;) {
        const auto room = ring->room();
        if (room.empty()) {
          waited += !is_readable(ring->room_descriptor(), 10'000);
          continue;
        }
        const auto n = static_cast<std::size_t>(std::min<std::uint64_t>({room.size(), 1 + random() % 50'000, count - at}));
        for (std::size_t i = 0; i < n; ++i) room[i] = static_cast<std::byte>((at + i) * 31 >> 3);
        ring->written(n);
        at += n;
      }
      ring->close();
    });
    rh::os::received_fds none;
    const rh::os::duplex stream(byte_ring::reader(ring), rh::os::socket_pair().first);
    CHECK_FALSE(stream.is_one());
    std::vector<std::byte> block(60'000);
    std::minstd_rand random(2);
    std::uint64_t at = 0, wrong = 0, waited_here = 0;
    for (;;) {
      const auto got = stream.receive(std::span(block).first(1 + random() % block.size()), none);
      if (got.how == transfer::closed) break;
      if (got.how == transfer::would_block) {
        waited_here += !is_readable(stream.in(), 10'000);
        continue;
      }
      for (std::size_t i = 0; i < got.bytes; ++i) wrong += block[i] != static_cast<std::byte>((at + i) * 31 >> 3);
      at += got.bytes;
    }
    writer.join();
    CHECK(at == count);
    CHECK(wrong == 0);
    CHECK(waited == 0);
    CHECK(waited_here == 0);
  }
}
