// SPDX-License-Identifier: Apache-2.0
#include <runhouse/rpc/frame_log.hpp>

#include <runhouse/wire/frame_buffer.hpp>

#include "support/catch.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

using rh::detail::frame_log;
using rh::wire::frame_type;

namespace {

/// The far end of a connection: what came, as the streams of its frames.
struct reader {
  std::vector<std::uint64_t> streams() {
    std::vector<std::uint64_t> found;
    for (;;) {
      const auto got = rh::os::receive(socket.get(), in.room(), rh::os::blocking::no);
      if (got.how != rh::os::transfer::some) break;
      in.received(got.bytes);
      while (const auto next = in.next()) found.push_back(next->header.stream);
    }
    return found;
  }
  rh::os::unique_fd socket;
  rh::wire::frame_buffer in;
};

std::pair<rh::os::duplex, reader> connection() {
  auto [ours, theirs] = rh::os::socket_pair();
  return {rh::os::duplex(std::move(ours)), reader{std::move(theirs), rh::wire::frame_buffer()}};
}

void add(frame_log& log, std::uint64_t stream, frame_type type = frame_type::cancel, std::size_t bytes = 8) {
  log.add({type, 0, 0, stream}, std::vector<std::byte>(bytes));
}

void send_all(frame_log& log, const rh::os::duplex& to) {
  while (log.unsent_bytes() > 0) REQUIRE(log.send(to).how == rh::os::transfer::some);
}

using streams = std::vector<std::uint64_t>;

}  // namespace

TEST_CASE("a frame that the other side has not got is sent again on the next connection", "[rpc][frame_log]") {
  frame_log log;
  auto [first, first_reader] = connection();
  for (std::uint64_t i = 1; i <= 4; ++i) add(log, i);
  send_all(log, first);
  CHECK(first_reader.streams() == streams{1, 2, 3, 4});

  auto [second, second_reader] = connection();
  REQUIRE(log.resume(2));
  add(log, 5);
  send_all(log, second);
  CHECK(second_reader.streams() == streams{3, 4, 5});
}

TEST_CASE("what was acknowledged is not kept", "[rpc][frame_log]") {
  frame_log log;
  auto [socket, far] = connection();
  for (std::uint64_t i = 1; i <= 3; ++i) add(log, i);
  send_all(log, socket);
  const std::uint64_t kept = log.kept_bytes();
  REQUIRE(log.acknowledge(3));
  CHECK(kept > 0);
  CHECK(log.kept_bytes() == 0);
  CHECK(log.acknowledge(2));  // an old one that came twice
  CHECK(log.resume(3));
  CHECK(log.unsent_bytes() == 0);
}

TEST_CASE("frames that do not count may be sent again, and are not waited for", "[rpc][frame_log]") {
  frame_log log;
  auto [socket, far] = connection();
  add(log, 1);
  add(log, 100, frame_type::ping);
  add(log, 2);
  send_all(log, socket);
  CHECK(far.streams() == streams{1, 100, 2});
  CHECK_FALSE(log.acknowledge(3));
  auto [second, second_reader] = connection();
  REQUIRE(log.resume(1));
  send_all(log, second);
  CHECK(second_reader.streams() == streams{100, 2});
}

TEST_CASE("what the other side cannot have got is refused", "[rpc][frame_log]") {
  frame_log log;
  add(log, 1);
  CHECK_FALSE(log.acknowledge(1));  // nothing was sent
  CHECK_FALSE(log.resume(2));
  auto [socket, far] = connection();
  send_all(log, socket);
  REQUIRE(log.acknowledge(1));
  CHECK_FALSE(log.resume(0));  // it had said that it has it
}

TEST_CASE("files go with their frame, again too", "[rpc][frame_log]") {
  frame_log log;
  auto file = rh::os::memory_file::try_make();
  REQUIRE(file);
  const std::array<std::byte, 4> content{};
  file->write(content, 0);
  file->seal();
  const auto shared = std::make_shared<const rh::wire::payload_file>(rh::wire::payload_file{file, 4, {}});
  add(log, 1);
  rh::wire::append_frame(log.bytes(), {frame_type::call, 0, 0, 2}, {});
  log.added(frame_type::call, std::vector<frame_log::shared_file>(300, shared));  // more than one system call passes
  add(log, 3);
  for (int connections = 0; connections < 2; ++connections) {
    auto [our_socket, theirs] = rh::os::socket_pair();
    const rh::os::duplex ours(std::move(our_socket));
    rh::os::received_fds files;
    std::vector<std::byte> block(4096);
    std::size_t bytes = 0;
    while (log.unsent_bytes() > 0) {
      REQUIRE(log.send(ours).how == rh::os::transfer::some);
      for (;;) {
        const auto got = rh::os::receive(theirs.get(), block, files);
        if (got.how != rh::os::transfer::some) break;
        bytes += got.bytes;
      }
    }
    CHECK(files.size() == 300);
    CHECK(bytes == 3 * 16 + 2 * 8);
    REQUIRE(log.resume(0));
  }
}

TEST_CASE("over any connections that break anywhere each frame comes once and in order", "[rpc][frame_log]") {
  std::minstd_rand random(7);
  for (int round = 0; round < 200; ++round) {
    frame_log log;
    std::uint64_t made = 0;
    streams got;
    while (made < 60 || log.unsent_bytes() > 0) {
      auto [socket, far] = connection();
      REQUIRE(log.resume(got.size()));
      for (int steps = static_cast<int>(random() % 30); steps >= 0; --steps) {
        if (made < 60 && random() % 2 == 0) add(log, ++made, frame_type::cancel, random() % 5000);
        if (log.unsent_bytes() > 0) log.send(socket);
        if (random() % 4 == 0) {
          const auto came = far.streams();
          got.insert(got.end(), came.begin(), came.end());
          if (random() % 2 == 0) REQUIRE(log.acknowledge(got.size()));
        }
      }
    }
    // What was sent on the last connection is lost with it, unless it was read.
    auto [socket, far] = connection();
    REQUIRE(log.resume(got.size()));
    while (log.unsent_bytes() > 0) {
      log.send(socket);
      const auto came = far.streams();
      got.insert(got.end(), came.begin(), came.end());
    }
    REQUIRE(got.size() == 60);
    for (std::size_t i = 0; i < got.size(); ++i) REQUIRE(got[i] == i + 1);
  }
}
