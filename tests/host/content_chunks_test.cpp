// SPDX-License-Identifier: Apache-2.0
#include <runhouse/host/content_chunks.hpp>

#include "support/catch.hpp"
#include "support/temporary_file.hpp"

#include <cstdint>
#include <fstream>
#include <random>
#include <set>
#include <string>
#include <vector>

using namespace rh::detail;

namespace {

std::vector<std::byte> random_bytes(std::size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::byte> bytes(size);
  for (std::byte& b : bytes) b = static_cast<std::byte>(random());
  return bytes;
}

std::vector<std::size_t> cut(std::span<const std::byte> bytes) {
  std::vector<std::size_t> sizes;
  while (!bytes.empty()) {
    sizes.push_back(first_chunk(bytes));
    bytes = bytes.subspan(sizes.back());
  }
  return sizes;
}

content_manifest manifest_of_bytes(const std::vector<std::byte>& bytes) {
  const rh::test::temporary_file file;
  std::ofstream(file.path(), std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  return manifest_of(program_image(std::vector<program_image::source>{{"program", file.path()}}));
}

bool is_refused(const std::string& text) {
  const auto read = manifest_from(text);
  return !read && read.code() == rh::errc::bad_payload;
}

const std::string digits(64, 'a');

}  // namespace

TEST_CASE("chunks are 64 KiB on average, and never too small or too large", "[host][content_chunks]") {
  const auto sizes = cut(random_bytes(32 << 20, 1));
  CHECK(sizes.size() > 32 * 16 * 4 / 5);
  CHECK(sizes.size() < 32 * 16 * 5 / 4);
  for (std::size_t i = 0; i + 1 < sizes.size(); ++i) {
    CHECK(sizes[i] >= chunk_sizes::least);
    CHECK(sizes[i] <= chunk_sizes::most);
  }
  for (const std::size_t size : cut(std::vector<std::byte>(1 << 20))) CHECK(size == chunk_sizes::most);
  CHECK(cut({}).empty());
  CHECK(cut(random_bytes(100, 1)) == std::vector<std::size_t>{100});
}

TEST_CASE("where chunks are cut is a format", "[host][content_chunks]") {
  static_assert(gear_table()[0] == 0x696193a372f73c18);
  const auto sizes = cut(random_bytes(1 << 20, 7));
  CHECK(sizes == std::vector<std::size_t>{151462, 19817, 63096, 28898, 44555, 144381, 20401, 46481, 19615,
                                          107833, 20896, 17682, 49329, 44611, 144850, 39398, 49135, 36136});
}

TEST_CASE("an insertion changes few chunks", "[host][content_chunks]") {
  auto bytes = random_bytes(8 << 20, 2);
  const content_manifest old = manifest_of_bytes(bytes);
  std::set<std::string> before;
  for (const auto& chunk : old.files.front().chunks) before.insert(hex_text(chunk.hash));
  bytes.insert(bytes.begin() + (3 << 20), 5, std::byte{1});
  bytes.erase(bytes.begin() + (6 << 20), bytes.begin() + (6 << 20) + 3000);
  const content_manifest edited = manifest_of_bytes(bytes);
  std::size_t changed = 0;
  for (const auto& chunk : edited.files.front().chunks) changed += before.count(hex_text(chunk.hash)) == 0;
  CHECK(changed >= 1);
  CHECK(changed <= 8);
}

TEST_CASE("a manifest comes back from its text", "[host][content_chunks]") {
  const content_manifest made = manifest_of_bytes(random_bytes(1 << 20, 3));
  std::uint64_t size = 0;
  for (const auto& chunk : made.files.front().chunks) size += chunk.size;
  CHECK(size == 1 << 20);
  const auto read = manifest_from(text_of(made));
  REQUIRE(read);
  CHECK(*read == made);
  const auto empty = manifest_from(text_of(manifest_of_bytes({})));
  REQUIRE(empty);
  CHECK(empty->files.front().size == 0);
}

TEST_CASE("a manifest that is cut or changed anywhere is refused or another one", "[host][content_chunks]") {
  const content_manifest made = manifest_of_bytes(random_bytes(200000, 4));
  const std::string text = text_of(made);
  for (std::size_t size = 0; size < text.size(); ++size) CHECK(is_refused(text.substr(0, size)));
  std::mt19937 random(5);
  for (int i = 0; i < 20000; ++i) {
    std::string changed = text;
    changed[random() % changed.size()] = static_cast<char>(random());
    if (const auto read = manifest_from(changed); read && changed != text) CHECK(*read != made);
  }
}

TEST_CASE("a manifest's sizes and names are not trusted", "[host][content_chunks]") {
  const std::string head = "runhouse-manifest 1\n";
  const std::string file = head + "file program 20 " + digits + "\n";
  const std::string chunk = "chunk 20 " + digits + "\n";
  REQUIRE(manifest_from(file + chunk));
  REQUIRE(manifest_from(file + "chunk 10 " + digits + "\nchunk 10 " + digits + "\n"));
  REQUIRE(manifest_from(file + chunk + "file lib/a.so 0 " + digits + "\n"));
  for (const std::string& wrong :
       {std::string(), head, head + chunk, file, "runhouse-manifest 2\n" + file.substr(head.size()) + chunk, file + chunk + chunk,
        file + "chunk 0 " + digits + "\n" + chunk, file + "chunk 21 " + digits + "\n", file + "chunk -20 " + digits + "\n",
        file + "chunk +20 " + digits + "\n", file + "chunk 020 " + digits + "\n", file + "chunk 0x14 " + digits + "\n",
        file + "chunk 20  " + digits + "\n", file + "chunk 20 " + digits + " \n", file + "chunk 20 " + digits + "\r\n",
        file + "chunk 20 " + digits.substr(1) + "\n", file + "chunk 20 " + digits.substr(1) + "A\n",
        file + "chunk 18446744073709551636 " + digits + "\n", file + chunk + "\n", file + chunk + "x", file + "lump 20 " + digits + "\n",
        file + file.substr(head.size()) + chunk, file + chunk + "file program 0 " + digits + "\n",
        file + chunk + "file ../x 0 " + digits + "\n", file + chunk + "file lib/../x 0 " + digits + "\n",
        file + chunk + "file lib/a;b 0 " + digits + "\n", head + "file program 999999 " + digits + "\nchunk 999999 " + digits + "\n",
        head + "file program 99999999999999999 " + digits + "\n" + chunk, head + std::string(5000, 'x')}) {
    INFO(wrong);
    CHECK(is_refused(wrong));
  }
  std::string many = file + chunk;
  for (int i = 0; i < 1000; ++i) many += "file lib/" + std::to_string(i) + " 0 " + digits + "\n";
  CHECK(is_refused(many));
  CHECK(is_refused(file + chunk + std::string(manifest_bytes, '\n')));
}
