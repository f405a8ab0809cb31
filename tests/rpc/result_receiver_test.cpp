// SPDX-License-Identifier: Apache-2.0
#include <runhouse/rpc/result_receiver.hpp>

#include <runhouse/wire/archive.hpp>
#include <runhouse/wire/message_stream.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory_resource>
#include <random>
#include <string>
#include <vector>

using rh::detail::incoming_result;
using rh::detail::receiver_of;

namespace {

struct rgb {
  std::uint8_t r = 0, g = 0, b = 0;
  bool operator==(const rgb&) const = default;
};

}  // namespace

template <>
struct rh::is_raw<rgb> : std::true_type {};

namespace {

/// What a value is on the wire: its shape, and the body that it is sent as.
struct encoded {
  template <class T>
  explicit encoded(const T& value) : payload(rh::wire::encode(value)) {
    const rh::wire::payload_view v = rh::wire::view(payload, segments);
    shape = rh::wire::shape_of(v);
    body = rh::wire::body_of(v);
  }
  rh::wire::payload payload;
  std::vector<std::span<const std::byte>> segments;
  rh::wire::payload_shape shape;
  rh::wire::buffer body;
};

/// Gives it the body in pieces of random sizes.
template <class T>
incoming_result received(const encoded& from, std::mt19937& random, std::size_t largest) {
  incoming_result in(receiver_of<T>());
  in.begin({&from.shape, 1});
  std::uniform_int_distribution<std::size_t> sizes(1, largest);
  for (auto rest = from.body.bytes(); !rest.empty();) {
    CHECK_FALSE(in.is_whole());
    const std::size_t n = std::min(rest.size(), sizes(random));
    REQUIRE(in.add(rest.first(n)));
    rest = rest.subspan(n);
  }
  CHECK(in.is_whole());
  return in;
}

template <class T>
void check_received(const T& value) {
  std::mt19937 random(1);
  const encoded from(value);
  for (const std::size_t largest : {9u, 5'000u, 300'000u}) {
    auto taken = received<T>(from, random, largest).take();
    REQUIRE(taken.received != nullptr);
    CHECK(taken.body.size() == 0);
    CHECK(*static_cast<T*>(taken.received->value()) == value);
  }
}

std::vector<double> numbers(std::size_t count) {
  std::vector<double> all(count);
  for (std::size_t i = 0; i < count; ++i) all[i] = static_cast<double>(i) + 0.25;
  return all;
}

}  // namespace

TEST_CASE("large arrays are received as they come, however they are cut", "[rpc][receiver]") {
  check_received(numbers(200'000));
  std::string text(1'500'001, 'x');
  text.back() = 'y';
  check_received(text);
  std::vector<rgb> picture(400'001);
  for (std::size_t i = 0; i < picture.size(); ++i) picture[i].g = static_cast<std::uint8_t>(i * 7);
  check_received(picture);
  std::vector<std::array<double, 5'000>> rows(40);  // one is larger than what is copied at a time
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i].fill(static_cast<double>(i));
  check_received(rows);
}

TEST_CASE("what is small, or no array, or for nobody, goes into a buffer", "[rpc][receiver]") {
  std::mt19937 random(2);
  const auto is_body = [](incoming_result&& in, const encoded& from) {
    auto taken = std::move(in).take();
    return taken.received == nullptr && std::ranges::equal(taken.body.bytes(), from.body.bytes());
  };
  const encoded small(numbers(1'000));
  CHECK(is_body(received<std::vector<double>>(small, random, 100), small));
  const encoded large(numbers(200'000));
  CHECK(is_body(received<int>(large, random, 100'000), large));
  CHECK(receiver_of<std::pmr::vector<double>>() == nullptr);  // its allocator is the user's
  const encoded two(std::vector<std::vector<double>>{numbers(200'000), numbers(200'000)});
  CHECK(is_body(received<std::vector<double>>(two, random, 100'000), two));
}

TEST_CASE("a large array that is none of the wanted type is left for the decoder to refuse", "[rpc][receiver]") {
  std::mt19937 random(3);
  encoded odd(std::string(1'500'001, 'x'));
  auto no_whole_elements = received<std::vector<double>>(odd, random, 40).take();
  CHECK(no_whole_elements.received == nullptr);
  CHECK(std::ranges::equal(no_whole_elements.body.bytes(), odd.body.bytes()));

  encoded lies(numbers(200'000));
  const std::uint64_t count = 1'000'000'000'000;
  std::memcpy(lies.body.data(), &count, sizeof count);
  for (const std::size_t largest : {40u, 300'000u}) {
    auto wrong_count = received<std::vector<double>>(lies, random, largest).take();
    REQUIRE(wrong_count.received == nullptr);
    std::vector<std::span<const std::byte>> segments;
    rh::wire::payload_view view;
    rh::wire::view_payloads({&lies.shape, 1}, wrong_count.body.bytes(), segments, {&view, 1});
    CHECK_THROWS_AS(rh::wire::decode<std::vector<double>>(view), rh::error);
  }
}

TEST_CASE("more than was announced is refused", "[rpc][receiver]") {
  const encoded from(numbers(200'000));
  incoming_result in(receiver_of<std::vector<double>>());
  in.begin({&from.shape, 1});
  REQUIRE(in.add(from.body.bytes().first(70)));
  CHECK_FALSE(in.is_whole());
  REQUIRE(in.add(from.body.bytes().subspan(70)));
  CHECK(in.is_whole());
  const std::byte more{};
  CHECK_FALSE(in.add({&more, 1}));
}
