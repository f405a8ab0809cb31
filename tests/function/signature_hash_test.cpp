// SPDX-License-Identifier: Apache-2.0
#include <runhouse/function/signature_hash.hpp>

#include "support/catch.hpp"

#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

struct small_point {
  float x, y;
};
struct large_point {
  float x, y, z;
};
struct alignas(16) aligned_point {
  float x, y, z, w;
};
struct plain_point {
  float x, y, z, w;
};
template <>
struct rh::is_raw<small_point> : std::true_type {};
template <>
struct rh::is_raw<large_point> : std::true_type {};
template <>
struct rh::is_raw<aligned_point> : std::true_type {};
template <>
struct rh::is_raw<plain_point> : std::true_type {};

using namespace rh::detail;

/// What the layout of T alone adds.
template <class T>
static rh::wire::hash128 layout_of() {
  fnv128 hash;
  layout<T>::add(hash);
  return hash.bytes();
}
template <class F>
static rh::wire::hash128 hash_of() {
  return signature_hash(std::type_identity<F>());
}

TEST_CASE("FNV-1a with 128 bits gives the published values", "[function][signature_hash]") {
  // draft-eastlake-fnv, test vectors: FNV-1a-128 of "" and "a", most significant byte first.
  const auto hex = [](std::string_view text) {
    fnv128 hash;
    hash.add(text);
    std::string digits;
    const auto bytes = hash.bytes();
    for (std::size_t i = bytes.size(); i-- > 0;) {
      digits += "0123456789abcdef"[static_cast<unsigned>(bytes[i]) >> 4];
      digits += "0123456789abcdef"[static_cast<unsigned>(bytes[i]) & 15];
    }
    return digits;
  };
  CHECK(hex("") == "6c62272e07bb014262b821756295c58d");
  CHECK(hex("a") == "d228cb696f1a8caf78912b704e4a8964");
}

TEST_CASE("functions of other types hash differently", "[function][signature_hash]") {
  CHECK(hash_of<int(int)>() != hash_of<int(long)>());
  CHECK(hash_of<int(int)>() != hash_of<long(int)>());
  CHECK(hash_of<void()>() != hash_of<void(int)>());
  CHECK(hash_of<void(int, double)>() != hash_of<void(double, int)>());
  CHECK(hash_of<int(int)>() == hash_of<int(int)>());
}

TEST_CASE("a raw type that changed its size or alignment hashes differently", "[function][signature_hash]") {
  CHECK(layout_of<small_point>() != layout_of<large_point>());
  CHECK(layout_of<aligned_point>() != layout_of<plain_point>());
}

TEST_CASE("so it does inside a standard template", "[function][signature_hash]") {
  CHECK(layout_of<std::vector<small_point>>() != layout_of<std::vector<large_point>>());
  CHECK(layout_of<std::span<const small_point>>() != layout_of<std::span<const large_point>>());
  CHECK(layout_of<std::array<small_point, 3>>() != layout_of<std::array<large_point, 3>>());
  CHECK(layout_of<std::array<std::vector<small_point>, 3>>() != layout_of<std::array<std::vector<large_point>, 3>>());
  CHECK(layout_of<std::map<int, std::optional<small_point>>>() !=
        layout_of<std::map<int, std::optional<large_point>>>());
  CHECK(layout_of<std::tuple<int, small_point>>() != layout_of<std::tuple<int, large_point>>());
}
