// SPDX-License-Identifier: Apache-2.0
#include <runhouse/function/program_objects.hpp>

#include "support/catch.hpp"

#include <cstdlib>
#include <string>

using namespace rh::detail;

static int in_this_program = 1;

TEST_CASE("the executable is the first of the program's objects, and the system's are none",
          "[function][program_objects]") {
  const auto objects = program_objects();
  REQUIRE_FALSE(objects.empty());
  CHECK(objects.front().path == "/proc/self/exe");
  for (const auto& object : objects)
    CHECK_FALSE((object.path.starts_with("/lib/") || object.path.starts_with("/usr/lib/")));
}

TEST_CASE("an address is located in the object that holds it", "[function][program_objects]") {
  const auto place = locate(&in_this_program);
  REQUIRE(place);
  CHECK(place->first == 0);
  CHECK(program_objects().front().base + place->second == reinterpret_cast<std::uintptr_t>(&in_this_program));
}

TEST_CASE("an address of the system's libraries, the heap or nowhere is not located", "[function][program_objects]") {
  CHECK_FALSE(locate(nullptr));
  const auto on_heap = std::make_unique<int>();
  CHECK_FALSE(locate(on_heap.get()));
  CHECK_FALSE(locate(reinterpret_cast<const void*>(&EVP_DigestInit_ex) == nullptr ? nullptr : EVP_sha256()));
}

TEST_CASE("a path is the system's by its folder, and no path is the kernel's", "[function][program_objects]") {
  CHECK(is_system_path("/lib/x86_64-linux-gnu/libc.so.6"));
  CHECK(is_system_path("/usr/lib/x86_64-linux-gnu/libcrypto.so.3"));
  CHECK(is_system_path("linux-vdso.so.1"));
  CHECK(is_system_path(""));
  CHECK_FALSE(is_system_path("/usr/local/lib/libown.so"));
  CHECK_FALSE(is_system_path("/home/me/libown.so"));
  const std::string copied = "/home/me/.runhouse/programs/" + std::string(64, 'a');
  CHECK(is_system_path(copied + "/system/libc.so.6"));
  CHECK_FALSE(is_system_path(copied + "/lib/libown.so"));
  CHECK_FALSE(is_system_path(copied + "x/system/libc.so.6"));
  CHECK_FALSE(is_system_path("/home/me/system/libc.so.6"));
  CHECK_FALSE(is_system_path("./libown.so"));  // by a relative LD_LIBRARY_PATH
}

TEST_CASE("the program's identity and files stay the same while it runs", "[function][program_objects]") {
  CHECK(program_identity() == program_identity());
  CHECK(program_files() == program_files());
  CHECK(program_identity() != program_files());
  CHECK(short_text(program_identity()).size() == 12);
}

TEST_CASE("SHA-256 is that of FIPS 180-4", "[function][program_objects]") {
  sha256 hash;
  hash.add("abc", 3);
  CHECK(short_text(hash.finish()) == "ba7816bf8f01");
}
