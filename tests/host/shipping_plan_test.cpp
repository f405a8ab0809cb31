// SPDX-License-Identifier: Apache-2.0
#include <runhouse/host/shipping_plan.hpp>

#include "support/catch.hpp"

#include <cstdint>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

using namespace rh::detail;

namespace {

/// Files made of letters, each a chunk of `size` bytes.
content_manifest of_letters(const std::vector<std::pair<std::string, std::string>>& files, std::uint32_t size = 100) {
  content_manifest made;
  for (const auto& [name, letters] : files) {
    content_file& file = made.files.emplace_back();
    file.name = name;
    for (const char letter : letters) {
      content_chunk chunk;
      chunk.size = size;
      chunk.hash.fill(static_cast<std::byte>(letter));
      file.chunks.push_back(chunk);
      file.size += size;
    }
  }
  return made;
}

const std::string id_a(64, 'a');
const std::string id_b(64, 'b');

/// What the instructions make of it, a letter a chunk: literals from `ours`, copies from `theirs`.
std::vector<std::string> carried_out(const shipping_plan& plan, const std::string& literals,
                                     const std::map<std::string, std::string>& theirs, std::size_t size = 100) {
  std::vector<std::string> made;
  std::istringstream lines(plan.text);
  std::string word;
  std::size_t at = 0;
  std::getline(lines, word);
  CHECK(word == "runhouse-plan 1");
  while (lines >> word && word != "end") {
    std::string id;
    std::string name;
    std::size_t offset = 0;
    std::size_t bytes = 0;
    if (word == "file") {
      lines >> name >> bytes >> id;
      made.emplace_back();
    } else if (word == "literal") {
      lines >> bytes;
      made.back() += literals.substr(at, bytes / size);
      at += bytes / size;
    } else if (word == "all") {
      made.back() += literals.substr(at);
      at = literals.size();
    } else if (word == "copy") {
      lines >> id >> name >> offset >> bytes;
      made.back() += theirs.at(id + " " + name).substr(offset / size, bytes / size);
    } else {
      FAIL(word);
    }
  }
  CHECK(word == "end");
  CHECK(at == literals.size());
  return made;
}

std::string literals_of(const shipping_plan& plan, const std::string& image, std::size_t size = 100) {
  std::string letters;
  for (const auto& range : plan.literals) letters += image.substr(range.offset / size, range.size / size);
  CHECK(letters.size() * size == plan.literal_bytes);
  return letters;
}

}  // namespace

TEST_CASE("where the host has nothing, all is sent", "[host][shipping_plan]") {
  const shipping_plan one = plan_shipping(of_letters({{"program", "abc"}}), {});
  CHECK(one.text.find("\nall\n") != std::string::npos);
  CHECK(one.literal_bytes == 300);
  CHECK(one.disk_bytes == 300);
  REQUIRE(one.literals.size() == 1);
  const shipping_plan two = plan_shipping(of_letters({{"program", "abc"}, {"lib/x", ""}, {"lib/y", "de"}}), {});
  CHECK(two.literal_bytes == 500);
  CHECK(two.disk_bytes == 1000);
  CHECK(two.literals.size() == 1);
  CHECK(carried_out(two, "abcde", {}) == std::vector<std::string>{"abc", "", "de"});
  // A copy of the program gets the path of its loader.
  CHECK(plan_shipping(of_letters({{"program", "abc"}, {"system/loader", "de"}}), {}).disk_bytes == 1300);
}

TEST_CASE("what the host has in any program is copied there, in long ranges", "[host][shipping_plan]") {
  const std::vector<host_program> theirs{{id_a, of_letters({{"program", "abcdef"}, {"lib/x", "XYZ"}})},
                                         {id_b, of_letters({{"program", "zzabQ"}})}};
  const std::map<std::string, std::string> bytes{
      {id_a + " program", "abcdef"}, {id_a + " lib/x", "XYZ"}, {id_b + " program", "zzabQ"}};
  const auto ours = of_letters({{"program", "abc1defXYQ2"}, {"lib/x", "XYZ"}});
  const shipping_plan plan = plan_shipping(ours, theirs);
  CHECK(plan.literal_bytes == 200);
  CHECK(plan.files[0].size() == 6);
  CHECK(plan.files[1].size() == 1);
  const std::string literals = literals_of(plan, "abc1defXYQ2XYZ");
  CHECK(literals == "12");
  CHECK(carried_out(plan, literals, bytes) == std::vector<std::string>{"abc1defXYQ2", "XYZ"});
  CHECK(plan.disk_bytes == 1600);
}

TEST_CASE("the same program again takes one instruction, also with repeated chunks", "[host][shipping_plan]") {
  const std::string letters = "a0000b000000c0d";
  const std::vector<host_program> theirs{{id_a, of_letters({{"program", letters}})}};
  const shipping_plan plan = plan_shipping(of_letters({{"program", letters}}), theirs);
  CHECK(plan.literal_bytes == 0);
  CHECK(plan.files[0].size() == 1);
  CHECK(plan.literals.empty());
}

TEST_CASE("a chunk of the same hash and another size is not copied", "[host][shipping_plan]") {
  const std::vector<host_program> theirs{{id_a, of_letters({{"program", "ab"}}, 50)}};
  CHECK(plan_shipping(of_letters({{"program", "ab"}}), theirs).literal_bytes == 200);
}

TEST_CASE("a plan is never long, and always right", "[host][shipping_plan]") {
  std::mt19937 random(1);
  for (const std::size_t length : {10u, 600u, 1500u, 3000u}) {
    std::string base;
    for (int i = 0; i < 250; ++i) base += static_cast<char>(i);
    std::string image;
    while (image.size() < length) {
      if (random() % 3 == 0) {
        image += static_cast<char>(250 + random() % 6);
      } else {
        const std::size_t from = random() % base.size();
        image += base.substr(from, 1 + random() % 4);
      }
    }
    const std::vector<host_program> theirs{{id_a, of_letters({{"program", base}})}};
    const shipping_plan plan = plan_shipping(of_letters({{"program", image}}), theirs);
    std::size_t steps = 0;
    for (const auto& file : plan.files) steps += file.size();
    CHECK(steps <= shipping_plan::max_steps);
    if (length >= 1500) CHECK(steps > shipping_plan::max_steps / 2);
    const std::string literals = literals_of(plan, image);
    CHECK(literals.size() < image.size());
    CHECK(carried_out(plan, literals, {{id_a + " program", base}}) == std::vector<std::string>{image});
  }
}
