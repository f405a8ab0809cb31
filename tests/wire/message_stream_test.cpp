// SPDX-License-Identifier: Apache-2.0
#include <runhouse/wire/message_stream.hpp>

#include <runhouse/wire/frame_buffer.hpp>

#include "support/catch.hpp"
#include "wire/wire_bytes.hpp"

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

using namespace rh::wire;
using rh::errc;
using wire_bytes::hex;
using wire_bytes::text;

namespace {

using bytes_type = std::vector<std::byte>;

bytes_type pattern(std::size_t size, unsigned seed) {
  bytes_type bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>((i * 31 + i / 251 + seed) & 0xff);
  return bytes;
}

shared_payload make_payload(std::size_t stream_bytes, const std::vector<std::size_t>& segments, unsigned seed = 1) {
  auto p = std::make_shared<payload>();
  p->stream = pattern(stream_bytes, seed);
  for (const std::size_t size : segments) p->segments.emplace_back(std::span<const std::byte>(pattern(size, ++seed)));
  return p;
}

call_head head_for(const std::vector<shared_payload>& payloads) {
  call_head head;
  for (const auto& p : payloads) head.parameters.push_back(shape_of(*p));
  return head;
}

/// Payloads as views, which it holds.
class viewed {
 public:
  viewed(const std::vector<shared_payload>& payloads) : segments_(payloads.size()) {  // NOLINT: as an argument
    for (std::size_t i = 0; i < payloads.size(); ++i) views_.push_back(view(*payloads[i], segments_[i]));
  }
  operator std::span<const payload_view>() const { return views_; }  // NOLINT

 private:
  std::vector<std::vector<std::span<const std::byte>>> segments_;
  std::vector<payload_view> views_;
};

struct cut_frame {
  frame_header header;
  bytes_type payload;
};

std::vector<cut_frame> frames_of(outgoing_message& message, std::size_t room) {
  bytes_type wire;
  std::vector<cut_frame> frames;
  while (!message.done()) {
    wire.clear();
    const std::uint64_t left = message.body_left();
    const std::size_t took = message.append_next(wire, room);
    CHECK(took <= room);
    CHECK(message.body_left() == left - took);
    const auto header = decode_header(wire);
    REQUIRE(header);
    REQUIRE(wire.size() == header_bytes + header->payload_bytes);
    frames.push_back({*header, bytes_type(wire.begin() + header_bytes, wire.end())});
  }
  return frames;
}

void check_same(const payload_view& arrived, const payload& sent) {
  CHECK(std::equal(arrived.stream.begin(), arrived.stream.end(), sent.stream.begin(), sent.stream.end()));
  if (!arrived.stream.empty()) CHECK(reinterpret_cast<std::uintptr_t>(arrived.stream.data()) % 16 == 0);
  REQUIRE(arrived.segments.size() == sent.segments.size());
  for (std::size_t k = 0; k < sent.segments.size(); ++k) {
    const auto expected = sent.segments[k].bytes();
    CHECK(std::equal(arrived.segments[k].begin(), arrived.segments[k].end(), expected.begin(), expected.end()));
    CHECK(reinterpret_cast<std::uintptr_t>(arrived.segments[k].data()) % 64 == 0);
  }
}

template <class Message>
void put_together(Message& in, const std::vector<cut_frame>& frames) {
  for (std::size_t i = 0; i < frames.size(); ++i) {
    const auto whole =
        i == 0 ? in.begin(frames[i].header, frames[i].payload) : in.add(frames[i].header, frames[i].payload);
    REQUIRE(whole);
    REQUIRE(*whole == (i + 1 == frames.size()));
  }
}

/// Puts the frames together, with either kind of body, and checks that what comes out is `payloads`.
template <class Head>
void check_arrives(const std::vector<cut_frame>& frames, const std::vector<shared_payload>& payloads) {
  std::vector<std::span<const std::byte>> spans;
  {
    incoming_message<Head> in;
    put_together(in, frames);
    std::vector<payload_shape> shapes;
    for (const auto& p : payloads) shapes.push_back(shape_of(*p));
    std::vector<payload_view> views(shapes.size());
    view_payloads(shapes, in.body().bytes(), spans, views);
    for (std::size_t i = 0; i < views.size(); ++i) check_same(views[i], *payloads[i]);
  }
  incoming_message<Head, incoming_payloads> in;
  put_together(in, frames);
  const std::vector<shared_payload> arrived = std::move(in).take_body();
  REQUIRE(arrived.size() == payloads.size());
  for (std::size_t i = 0; i < arrived.size(); ++i) {
    REQUIRE(arrived[i] != nullptr);
    const bool in_file = payloads[i]->size_bytes() >= rh::limits::memory_file_bytes && i < rh::limits::memory_files_of_message;
    CHECK((arrived[i]->file != nullptr) == in_file);
    check_same(view(*arrived[i], spans), *payloads[i]);
  }
}

frame_header first(std::uint8_t flags = 0) {
  return {frame_type::call, flags, 0, 1};
}
frame_header later(std::uint8_t flags = 0) {
  return {frame_type::data, flags, 0, 1};
}

bytes_type head_bytes(const std::vector<payload_shape>& shapes) {
  call_head head;
  head.parameters = shapes;
  bytes_type bytes;
  byte_writer out(bytes);
  encode(head, out);
  return bytes;
}

}  // namespace

TEST_CASE("a whole call is the bytes of the protocol's example", "[wire][message_stream]") {
  auto two = std::make_shared<payload>();
  two->stream = hex("02 00 00 00");
  auto three = std::make_shared<payload>();
  three->stream = hex("03 00 00 00");
  call_head head = head_for({two, three});
  head.function.offset = 0x1234;
  const auto signature = hex("39 5a 30 59 6f 0d 3b 9a 78 ca 56 1b ea 80 63 9d");
  std::copy(signature.begin(), signature.end(), head.signature.begin());
  outgoing_message message(head, 1, viewed({two, three}));
  bytes_type wire;
  CHECK(message.append_next(wire) == 20);
  CHECK(message.done());
  CHECK(text(wire) == text(hex(R"(52 48 10 00 5c 00 00 00  01 00 00 00 00 00 00 00
      39 5a 30 59 6f 0d 3b 9a 78 ca 56 1b ea 80 63 9d  00 00 00 00 00 00 00 00 34 12 00 00 00 00 00 00
      02 00 00 00 00 00 00 00
      04 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  04 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
      02 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  03 00 00 00)")));
}

TEST_CASE("a whole outcome is the bytes of the protocol's example", "[wire][message_stream]") {
  auto five = std::make_shared<payload>();
  five->stream = hex("05 00 00 00");
  outcome_head head;
  head.result = shape_of(*five);
  outgoing_message message(head, 1, viewed({five}));
  bytes_type wire;
  CHECK(message.append_next(wire) == 4);
  CHECK(message.done());
  CHECK(text(wire) == text(hex(R"(52 48 11 00 24 00 00 00  01 00 00 00 00 00 00 00
      00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  04 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
      05 00 00 00)")));
}

TEST_CASE("payloads and segments arrive whole however they are cut", "[wire][message_stream]") {
  constexpr std::size_t chunk = rh::limits::chunk_bytes;
  const std::vector<std::vector<shared_payload>> calls = {
      {},
      {make_payload(0, {})},
      {make_payload(1, {})},
      {make_payload(4, {}), make_payload(0, {}), make_payload(0, {})},  // a body that ends in padding
      {make_payload(15, {1024, 1025}), make_payload(17, {}, 9), make_payload(0, {4096}, 5)},
      {make_payload(8, {0, 0, 1})},
      {make_payload(chunk, {})},
      {make_payload(chunk - 1, {}), make_payload(2, {}, 7)},
      {make_payload(chunk + 1, {chunk, chunk - 64, 64, chunk + 63}, 3)},
      {make_payload(0, {3 * chunk})},
  };
  for (const auto& payloads : calls) {
    for (const std::size_t room : {std::size_t{1000}, std::size_t{4096}, chunk - 1, chunk, std::size_t{10} << 20}) {
      outgoing_message message(head_for(payloads), 1, viewed(payloads));
      const auto frames = frames_of(message, room);
      CHECK(frames.front().header.type == frame_type::call);
      for (std::size_t i = 1; i < frames.size(); ++i) CHECK(frames[i].header.type == frame_type::data);
      check_arrives<call_head>(frames, payloads);
    }
  }
}

TEST_CASE("large payloads arrive beside small ones, in files of their own", "[wire][message_stream]") {
  const std::size_t files = rh::os::memory_file::count();
  const std::size_t large = rh::limits::memory_file_bytes;
  // Those without a stream end in padding, or hold nothing.
  const std::vector<shared_payload> payloads = {make_payload(3, {}), make_payload(7, {large + 5, 1024}), make_payload(large + 3, {}, 9),
                                                make_payload(0, {large + 1}, 4), make_payload(0, {}), make_payload(40, {2000}, 5), make_payload(0, {})};
  for (const std::size_t room : {std::size_t{1000}, rh::limits::chunk_bytes}) {
    outgoing_message message(head_for(payloads), 5, viewed(payloads));
    check_arrives<call_head>(frames_of(message, room), payloads);
  }
  CHECK(rh::os::memory_file::count() == files);
}

TEST_CASE("of very many large payloads not all take a file", "[wire][message_stream]") {
  const std::vector<shared_payload> payloads(40, make_payload(16, {rh::limits::memory_file_bytes}));
  outgoing_message message(head_for(payloads), 5, viewed(payloads));
  check_arrives<call_head>(frames_of(message, rh::limits::chunk_bytes), payloads);
}

TEST_CASE("a small message is appended as the one frame that it would be cut to", "[wire][message_stream]") {
  const std::vector<std::byte> before(5, std::byte{1});
  const auto check = [&](const std::vector<shared_payload>& payloads, bool is_small) {
    std::vector<std::byte> out = before;
    REQUIRE(append_whole(out, head_for(payloads), 7, viewed(payloads)) == is_small);
    std::vector<std::byte> expected = before;
    if (is_small) outgoing_message(head_for(payloads), 7, viewed(payloads)).append_next(expected);
    CHECK(out == expected);
  };
  check({}, true);
  check({make_payload(0, {})}, true);
  check({make_payload(4, {}), make_payload(5, {1024, 1025}), make_payload(0, {64})}, true);
  check({make_payload(rh::limits::small_message_bytes, {})}, false);
  check({make_payload(1, {rh::limits::small_message_bytes})}, false);
  check(std::vector<shared_payload>(100, make_payload(1, {})), true);
  check({make_payload(1, std::vector<std::size_t>(1100))}, false);  // its head is long

  outcome_head threw;
  threw.kind = outcome_kind::exception;
  threw.what = "no";
  std::vector<std::byte> out;
  const std::span<const payload_view> none;
  CHECK(append_whole(out, threw, 7, none));
  std::vector<std::byte> expected;
  outgoing_message(threw, 7, none).append_next(expected);
  CHECK(out == expected);
  threw.what.assign(rh::limits::small_message_bytes, 'x');
  CHECK(!append_whole(out, threw, 7, none));
  CHECK(out == expected);
}

TEST_CASE("a small body arrives cut into single bytes", "[wire][message_stream]") {
  const std::vector<shared_payload> payloads = {make_payload(7, {70}), make_payload(3, {1}, 4)};
  outgoing_message message(head_for(payloads), 1, viewed(payloads));
  const auto frames = frames_of(message, 1);
  CHECK(frames.size() == 64 + 70 + 2 + 8 + 48 + 1);  // streams at 0 and 144, segments at 64 and 192
  check_arrives<call_head>(frames, payloads);
}

TEST_CASE("a result of several megabytes arrives, with a frame never over the largest", "[wire][message_stream]") {
  const auto result = make_payload(8, {std::size_t{8} << 20});
  outcome_head head;
  head.result = shape_of(*result);
  outgoing_message message(head, 1, viewed({result}));
  const auto frames = frames_of(message, std::size_t{1} << 30);
  CHECK(frames.size() == 9);
  check_arrives<outcome_head>(frames, {result});
}

TEST_CASE("an empty first frame is allowed where the head leaves no room for the body", "[wire][message_stream]") {
  const auto p = make_payload(100, {});
  outgoing_message message(head_for({p}), 1, viewed({p}));
  bytes_type wire;
  CHECK(message.append_next(wire, 0) == 0);
  CHECK(!message.done());
  CHECK(message.append_next(wire, 100) == 100);
  CHECK(message.done());
}

TEST_CASE("a head that does not fit a frame is refused by its sender", "[wire][message_stream]") {
  call_head head;
  head.parameters.assign(40, {0, std::vector<std::uint64_t>(4096)});
  CHECK_THROWS_AS(outgoing_message(head, 1, {}), rh::error);
}

TEMPLATE_TEST_CASE("a body of another length than the head says is refused", "[wire][message_stream]", incoming_buffer, incoming_payloads) {
  const auto head = head_bytes({{4, {}}});
  const auto with_body = [&](std::size_t n) {
    auto bytes = head;
    bytes.resize(bytes.size() + n);
    return bytes;
  };
  const auto begin = [](std::uint8_t flags, const bytes_type& bytes) {
    incoming_message<call_head, TestType> in;
    const auto got = in.begin(first(flags), bytes);
    return got ? std::optional<errc>() : got.code();
  };
  CHECK(begin(0, with_body(3)) == errc::protocol_error);
  CHECK(!begin(0, with_body(4)));
  CHECK(begin(0, with_body(5)) == errc::protocol_error);
  CHECK(!begin(flag_more, with_body(0)));
  CHECK(!begin(flag_more, with_body(3)));
  CHECK(begin(flag_more, with_body(4)) == errc::protocol_error);

  const bytes_type some(5);
  for (std::size_t n = 0; n <= 5; ++n) {
    for (const std::uint8_t flags : {std::uint8_t{0}, flag_more}) {
      INFO(n << ' ' << int{flags});
      incoming_message<call_head, TestType> in;
      REQUIRE(in.begin(first(flag_more), with_body(1)));
      const auto got = in.add(later(flags), std::span(some).first(n));
      const bool accepted = flags == 0 ? n == 3 : (n > 0 && n < 3);
      CHECK(static_cast<bool>(got) == accepted);
      if (got) CHECK(*got == (flags == 0));
    }
  }
}

TEST_CASE("an error's outcome has no body", "[wire][message_stream]") {
  outcome_head head;
  head.kind = outcome_kind::error;
  head.code = 10;
  head.what = "none such";
  outgoing_message message(head, 7, {});
  auto frames = frames_of(message, rh::limits::chunk_bytes);
  REQUIRE(frames.size() == 1);
  incoming_message<outcome_head> in;
  const auto whole = in.begin(frames[0].header, frames[0].payload);
  REQUIRE(whole);
  CHECK(*whole);
  CHECK(in.head().what == "none such");
  frames[0].payload.push_back(std::byte{0});
  CHECK(!incoming_message<outcome_head>().begin(frames[0].header, frames[0].payload));
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED  // their allocators write to the shadow of all of it, or refuse so much
TEMPLATE_TEST_CASE("a body that is announced and never comes takes no memory", "[wire][message_stream]", incoming_buffer, incoming_payloads) {
  const std::size_t before = wire_bytes::peak_memory_bytes();
  incoming_message<call_head, TestType> in;
  try {
    const auto got = in.begin(first(flag_more), head_bytes({{rh::limits::body_bytes, {}}}));
    REQUIRE(got);
    CHECK(!*got);
  } catch (const std::bad_alloc&) {  // a machine that does not overcommit
  }
  CHECK(wire_bytes::peak_memory_bytes() - before < std::size_t{16} << 20);
}
#endif

namespace {

std::size_t sum_of(const payload_view& v) {
  std::size_t sum = 0;
  for (const std::byte b : v.stream) sum += static_cast<std::size_t>(b);
  for (const auto& segment : v.segments) {
    for (const std::byte b : segment) sum += static_cast<std::size_t>(b);
  }
  return sum;
}
/// Of all bytes of the payloads, which are touched.
std::size_t sum_of(incoming_message<call_head>& message) {
  std::vector<std::span<const std::byte>> spans;
  std::vector<payload_view> views(message.head().parameters.size());
  view_payloads(message.head().parameters, message.body().bytes(), spans, views);
  std::size_t sum = 0;
  for (const auto& v : views) sum += sum_of(v);
  return sum;
}
std::size_t sum_of(incoming_message<call_head, incoming_payloads>& message) {
  std::vector<std::span<const std::byte>> spans;
  std::size_t sum = 0;
  for (const shared_payload& p : std::move(message).take_body()) sum += p ? sum_of(view(*p, spans)) : 0;
  return sum;
}

}  // namespace

TEMPLATE_TEST_CASE("mutated streams of frames end in a message or an error", "[wire][message_stream]", incoming_buffer, incoming_payloads) {
  const std::vector<shared_payload> payloads = {make_payload(200, {1024, 2000}), make_payload(33, {}, 3)};
  outgoing_message message(head_for(payloads), 1, viewed(payloads));
  bytes_type valid;
  while (!message.done()) message.append_next(valid, 700);

  std::mt19937 chance(7);
  int whole = 0;
  for (int i = 0; i < 100'000; ++i) {
    bytes_type bytes = valid;
    for (auto edits = 1 + chance() % 3; edits > 0; --edits) {
      // mostly into headers and the head, which are what is interpreted
      const std::size_t at = chance() % (chance() % 4 == 0 ? bytes.size() : std::min<std::size_t>(bytes.size(), 112));
      bytes[at] =
          chance() % 2 == 0 ? static_cast<std::byte>(chance()) : bytes[at] ^ static_cast<std::byte>(1u << chance() % 8);
    }
    frame_buffer in;
    std::size_t sent = 0;
    std::optional<incoming_message<call_head, TestType>> open;
    for (;;) {
      const auto next = in.next();
      if (!next && next.code() == errc::truncated && sent < bytes.size()) {
        const auto room = in.room();
        const std::size_t n = std::min(room.size(), bytes.size() - sent);
        std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(sent), n, room.begin());
        in.received(n);
        sent += n;
        continue;
      }
      if (!next) break;
      rh::result<bool> got = errc::protocol_error;
      if (next->header.type == frame_type::call && !open) {
        byte_reader peek(next->payload);
        const auto head = decode_call(peek);
        if (!head || body_bytes(head->parameters) > (std::uint64_t{1} << 20)) break;  // address space: another test's
        open.emplace();
        got = open->begin(next->header, next->payload);
      } else if (next->header.type == frame_type::data && open) {
        got = open->add(next->header, next->payload);
      }
      if (!got) break;
      if (*got) {
        if (sum_of(*open) > 0) ++whole;
        break;
      }
    }
  }
  CHECK(whole > 1000);
}
