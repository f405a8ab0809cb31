// SPDX-License-Identifier: Apache-2.0
#include <runhouse/host/program_image.hpp>

#include "support/catch.hpp"
#include "support/temporary_file.hpp"

#include <algorithm>
#include <cstring>
#include <elf.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

using rh::detail::program_image;
using files = std::vector<program_image::source>;

namespace {

std::vector<std::byte> read_all(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  std::vector<std::byte> bytes(text.size());
  std::memcpy(bytes.data(), text.data(), text.size());
  return bytes;
}

void write_all(const std::string& path, const std::vector<std::byte>& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

std::vector<std::byte> travelling(const std::string& path) {
  const program_image image(files{{"program", path}});
  const auto bytes = image.files().front().bytes;
  return {bytes.begin(), bytes.end()};
}

}  // namespace

TEST_CASE("a program travels without what only debuggers read, and still runs", "[host][program_image]") {
  const rh::test::temporary_file file;
  const std::vector<std::byte> whole = read_all("/proc/self/exe");
  const program_image image(files{{"program", "/proc/self/exe"}});
  REQUIRE(image.files().size() == 1);
  CHECK(image.size() < whole.size());
  CHECK(image.size() == image.files().front().size());
  utsname system{};
  REQUIRE(::uname(&system) == 0);
  CHECK(image.machine() == system.machine);

  const auto shipped = travelling("/proc/self/exe");
  Elf64_Ehdr header;
  std::memcpy(&header, shipped.data(), sizeof header);
  CHECK((header.e_shoff == 0 && header.e_shnum == 0 && header.e_shstrndx == 0));
  CHECK(std::equal(shipped.begin() + sizeof header, shipped.end(), whole.begin() + sizeof header));
  // Our own file is as it was.
  CHECK(read_all("/proc/self/exe") == whole);

  write_all(file.path(), shipped);
  std::filesystem::permissions(file.path(), std::filesystem::perms::owner_all);
  const int status = std::system((file.path() + " --list-tags > /dev/null").c_str());
  CHECK((WIFEXITED(status) && WEXITSTATUS(status) < 126));
}

TEST_CASE("a whole image runs with the loader that it brings", "[host][program_image]") {
  const auto* const whole = program_image::whole_of_this_program();
  REQUIRE(whole != nullptr);
  const auto& program = whole->files().front();
  const auto loader = std::ranges::find(whole->files(), "system/loader", &program_image::file::name);
  REQUIRE(loader != whole->files().end());
  CHECK(std::ranges::find(whole->files(), "system/libc.so.6", &program_image::file::name) != whole->files().end());
  CHECK(whole->identity() != program_image::of_this_program().identity());
  const rh::test::temporary_file file, its_loader;
  write_all(its_loader.path(), {loader->bytes.begin(), loader->bytes.end()});
  std::vector<std::byte> bytes(program.bytes.begin(), program.bytes.end());
  const auto end = bytes.end() - program_image::loader_name_bytes;
  CHECK(std::all_of(end, bytes.end(), [](std::byte b) { return b == std::byte{0}; }));
  std::memcpy(&*end, its_loader.path().data(), its_loader.path().size());
  write_all(file.path(), bytes);
  for (const auto* f : {&file, &its_loader}) std::filesystem::permissions(f->path(), std::filesystem::perms::owner_all);
  const auto runs = [&] { return std::system((file.path() + " --list-tags > /dev/null 2>&1").c_str()); };
  const int status = runs();
  CHECK((WIFEXITED(status) && WEXITSTATUS(status) < 126));
  std::filesystem::remove(its_loader.path());  // it is that one
  CHECK(WEXITSTATUS(runs()) >= 126);
}

TEST_CASE("what has no loader cannot bring one", "[host][program_image]") {
  const auto system = rh::detail::system_files();
  const auto loader = std::ranges::find(system, "system/loader", &program_image::source::name);
  REQUIRE(loader != system.end());
  CHECK_THROWS_AS(program_image(files{{"program", loader->path}}, true), rh::error);
}

TEST_CASE("what is no plain ELF file travels as it is", "[host][program_image]") {
  const rh::test::temporary_file file;
  const std::vector<std::byte> whole = read_all("/proc/self/exe");
  const auto as_it_is = [&](std::vector<std::byte> bytes) {
    write_all(file.path(), bytes);
    return travelling(file.path()) == bytes;
  };
  CHECK_FALSE(as_it_is(whole));
  SECTION("a script, and nothing") {
    const std::string script = "#!/bin/sh\n";
    std::vector<std::byte> bytes(script.size());
    std::memcpy(bytes.data(), script.data(), script.size());
    CHECK(as_it_is(bytes));
    CHECK(as_it_is({}));
    CHECK(program_image(files{{"program", file.path()}}).machine() == "");
  }
  SECTION("an executable with an archive at its end") {
    std::vector<std::byte> bytes = whole;
    bytes.resize(bytes.size() + 100, std::byte{7});
    CHECK(as_it_is(bytes));
  }
  SECTION("one that is stripped already") { CHECK(as_it_is(travelling("/proc/self/exe"))); }
  SECTION("one that is cut, wherever") {
    for (const std::size_t size : {whole.size() - 1, whole.size() / 2, std::size_t{100}, sizeof(Elf64_Ehdr), std::size_t{10}})
      CHECK(as_it_is({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)}));
  }
  SECTION("one whose headers lead out of it") {
    for (const std::size_t field : {offsetof(Elf64_Ehdr, e_phoff), offsetof(Elf64_Ehdr, e_shoff)}) {
      for (const std::uint64_t value : {~std::uint64_t{0}, static_cast<std::uint64_t>(whole.size()), std::uint64_t{1} << 63}) {
        std::vector<std::byte> bytes = whole;
        std::memcpy(bytes.data() + field, &value, sizeof value);
        CHECK(as_it_is(bytes));
      }
    }
    Elf64_Ehdr header;
    std::memcpy(&header, whole.data(), sizeof header);
    for (const std::size_t field : {offsetof(Elf64_Phdr, p_offset), offsetof(Elf64_Phdr, p_filesz)}) {
      std::vector<std::byte> bytes = whole;
      std::memset(bytes.data() + header.e_phoff + field, 0xff, sizeof(std::uint64_t));
      CHECK(as_it_is(bytes));
    }
  }
}

TEST_CASE("an image is all files, one behind the other", "[host][program_image]") {
  const rh::test::temporary_file one;
  const rh::test::temporary_file none;
  const rh::test::temporary_file two;
  write_all(one.path(), std::vector<std::byte>(1000, std::byte{1}));
  write_all(none.path(), {});
  write_all(two.path(), std::vector<std::byte>(500, std::byte{2}));
  const program_image image(files{{"program", one.path()}, {"lib/none.so", none.path()}, {"lib/two.so.2", two.path()}});
  CHECK(image.size() == 1500);
  CHECK(image.files()[2].offset == 1000);
  CHECK(image.bytes(0, 10000).size() == 1000);
  CHECK(image.bytes(999, 10000).size() == 1);
  CHECK(image.bytes(1000, 100).size() == 100);
  CHECK(image.bytes(1000, 100).front() == std::byte{2});
  CHECK(image.bytes(1499, 100).size() == 1);
  CHECK(image.bytes(1500, 100).empty());
  CHECK(image.bytes(~std::uint64_t{0}, 100).empty());
}

TEST_CASE("a program's identity follows from its names, sizes and bytes", "[host][program_image]") {
  const rh::test::temporary_file one;
  const rh::test::temporary_file two;
  const auto id_of = [&](const std::string& first, const std::string& second, const std::string& name) {
    std::ofstream(one.path(), std::ios::trunc) << first;
    std::ofstream(two.path(), std::ios::trunc) << second;
    return program_image(files{{"program", one.path()}, {name, two.path()}}).id();
  };
  const std::string id = id_of("ab", "c", "lib/x.so");
  CHECK(id.size() == 64);
  CHECK(id == id_of("ab", "c", "lib/x.so"));
  CHECK(id != id_of("a", "bc", "lib/x.so"));
  CHECK(id != id_of("ab", "d", "lib/x.so"));
  CHECK(id != id_of("ab", "c", "lib/y.so"));
  // A format: programs on hosts are found by it.
  CHECK(id == "5d6b74bb78985c7af9618e778279d8c4e8a9a1702ae59a9fe2141ceeb76e5c93");
}

TEST_CASE("names that could mean something to a shell do not travel", "[host][program_image]") {
  for (const char* name : {"program", "lib/libm.so.6", "lib/libstdc++.so.6", "lib/a-b_c.so", "system/loader", "system/libc.so.6"})
    CHECK(rh::detail::is_shipped_name(name));
  for (const char* name : {"", "system/", "system/..", "system/a/b", "sys/x", "other", "lib/", "lib/..", "lib/.hidden", "lib/-x", "lib/a b", "lib/a/b", "lib/$x", "lib/a\n",
                           "program/", "/lib/x", "lib/'", "lib/\xff"})
    CHECK_FALSE(rh::detail::is_shipped_name(name));
  const auto refused = [](std::vector<program_image::source> sources) {
    try {
      const program_image image(sources);
    } catch (const rh::error& e) {
      return e.kind() == rh::errc::shipping_failed;
    }
    return false;
  };
  CHECK(refused({{"program", "/proc/self/exe"}, {"lib/a b", "/proc/self/exe"}}));
  CHECK(refused({{"program", "/proc/self/exe"}, {"program", "/proc/self/exe"}}));
  CHECK(refused({}));
}

TEST_CASE("this program is its executable and its own libraries, and is hashed once", "[host][program_image]") {
  const auto sources = rh::detail::own_program_files();
  REQUIRE_FALSE(sources.empty());
  CHECK(sources.front().name == "program");
  CHECK(sources.front().path == "/proc/self/exe");
  CHECK(sources.size() == rh::detail::program_objects().size());
  const program_image& image = program_image::of_this_program();
  CHECK(&image == &program_image::of_this_program());
  CHECK(image.identity() == program_image(sources).identity());
}
