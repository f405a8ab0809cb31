// SPDX-License-Identifier: Apache-2.0
#include <runhouse/os/memory_file.hpp>

#include <runhouse/os/socket.hpp>

#include "support/catch.hpp"

#include <chrono>
#include <cstddef>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace std::chrono_literals;
using rh::os::memory_file;

TEST_CASE("what is written is there when it is sealed, and can be changed by nobody", "[os][memory_file]") {
  const auto file = memory_file::try_make();
  REQUIRE(file);
  const std::vector<std::byte> bytes(5000, std::byte{7});
  file->write(bytes, 100);
  file->seal();
  CHECK(file->size_bytes() == 5100);
  CHECK(file->bytes()[99] == std::byte{0});
  CHECK(file->bytes()[5099] == std::byte{7});
  CHECK(::pwrite(file->descriptor(), bytes.data(), 1, 0) == -1);
  CHECK(::ftruncate(file->descriptor(), 0) == -1);
  CHECK(memory_file::adopt(rh::os::unique_fd(::dup(file->descriptor()))));
}

TEST_CASE("what is not sealed is not adopted", "[os][memory_file]") {
  const auto file = memory_file::try_make();
  REQUIRE(file);
  CHECK_FALSE(memory_file::adopt(rh::os::unique_fd(::dup(file->descriptor()))));
}

TEST_CASE("a page that somebody holds for a moment keeps a file from being sealed only so long", "[os][memory_file]") {
  constexpr std::size_t size = 64 * 1024;
  const auto file = memory_file::try_make();
  REQUIRE(file);
  file->write(std::vector<std::byte>(size, std::byte{1}), 0);
  // A pipe that its pages are in, not copies of them, as long as nobody has read them.
  void* mapped = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file->descriptor(), 0);
  REQUIRE(mapped != MAP_FAILED);
  auto [out, in] = rh::os::make_pipe();
  iovec part{mapped, size};
  const auto held = ::vmsplice(in.get(), &part, 1, 0);
  REQUIRE(held > 0);
  ::munmap(mapped, size);
  std::thread reader([&, from = out.get()] {
    std::this_thread::sleep_for(400ms);
    std::vector<std::byte> block(static_cast<std::size_t>(held));
    for (std::size_t got = 0; got < block.size();) {
      const auto n = ::read(from, block.data(), block.size());
      if (n <= 0) break;
      got += static_cast<std::size_t>(n);
    }
  });
  CHECK_NOTHROW(file->seal());
  reader.join();
  CHECK(memory_file::adopt(rh::os::unique_fd(::dup(file->descriptor()))));
}
