// SPDX-License-Identifier: Apache-2.0
#include <runhouse/wire/outbox.hpp>

#include "support/catch.hpp"

#include <cstring>
#include <memory>
#include <vector>

using rh::wire::outbox;

TEST_CASE("an outbox holds whole frames, and refuses one that does not fit", "[wire][outbox]") {
  const auto box = std::make_unique<outbox>();
  CHECK(box->frames().empty());
  const std::vector<std::byte> frame(1000, std::byte{7});
  for (std::size_t n = 1; n <= outbox::capacity_bytes / frame.size(); ++n) {
    CHECK(box->append(frame));
    CHECK(box->frames().size() == n * frame.size());
  }
  const std::size_t full = box->frames().size();
  CHECK(!box->append(frame));
  CHECK(box->frames().size() == full);
  CHECK(box->append(std::vector<std::byte>(outbox::capacity_bytes - full, std::byte{8})));
  CHECK(box->frames().back() == std::byte{8});
  box->clear();
  CHECK(box->frames().empty());
}

TEST_CASE("an outbox is where the protocol says, and never longer than its memory", "[wire][outbox]") {
  static_assert(sizeof(rh::wire::worker_memory) == 20480);
  const auto memory = std::make_unique<rh::wire::worker_memory>();
  auto* bytes = reinterpret_cast<std::byte*>(memory.get());
  CHECK(memory->out.append(std::vector<std::byte>(3, std::byte{9})));
  CHECK(bytes[4096] == std::byte{3});
  CHECK(bytes[4160] == std::byte{9});
  const std::uint32_t lie = 0xffffffff;
  std::memcpy(bytes + 4096, &lie, sizeof lie);
  CHECK(memory->out.frames().size() == outbox::capacity_bytes);
}
