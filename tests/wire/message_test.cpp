// SPDX-License-Identifier: Apache-2.0
#include <runhouse/wire/message.hpp>

#include <runhouse/function/signature_hash.hpp>

#include "support/catch.hpp"
#include "wire/wire_bytes.hpp"

#include <algorithm>
#include <functional>
#include <random>
#include <string>
#include <vector>

using namespace rh::wire;
using rh::errc;
using wire_bytes::hex;
using wire_bytes::text;

namespace {

using bytes_type = std::vector<std::byte>;

template <class Head>
bytes_type encoded(const Head& head) {
  bytes_type bytes;
  byte_writer out(bytes);
  encode(head, out);
  return bytes;
}
rh::result<call_head> call_of(const bytes_type& bytes) {
  byte_reader in(bytes);
  return decode_call(in);
}
rh::result<outcome_head> outcome_of(const bytes_type& bytes) {
  byte_reader in(bytes);
  return decode_outcome(in);
}

/// Fields by hand.
struct made {
  bytes_type bytes;
  template <class T>
  made& add(T value) {
    byte_writer(bytes).put(value);
    return *this;
  }
  made& u32(std::uint32_t v) { return add(v); }
  made& u64(std::uint64_t v) { return add(v); }
  made& zeros(std::size_t n) {
    bytes.resize(bytes.size() + n);
    return *this;
  }
};
/// A call of function 0 until its shapes.
made call_with(std::uint32_t parameters, std::uint32_t extension_bytes = 0) {
  return made().zeros(32).u32(parameters).u32(extension_bytes);
}

hello some_hello() {
  hello h;
  h.pid = 4242;
  h.host = "lab";
  return h;
}
call_head some_call() {
  call_head head;
  head.signature = rh::detail::signature_hash(std::type_identity<int(int, int)>());
  head.function.offset = 0x1234;
  head.parameters = {{4, {}}, {4, {}}};
  return head;
}
call_head call_by_name(std::string name) {
  call_head head;
  head.function = {function_id::by_name, 0, std::move(name)};
  head.parameters = {{8, {1024, 4096}}, {0, {}}};
  return head;
}
call_head call_with_list() {
  call_head head = some_call();
  head.keeps_result = true;
  head.parameters = {{2, {}, payload_kind::list}, {4, {1024}}, {7, {}, payload_kind::result_of}, {3, {}, payload_kind::result_of}};
  return head;
}
outcome_head some_outcome() {
  outcome_head head;
  head.result = {4, {}};
  return head;
}
outcome_head some_exception() {
  outcome_head head;
  head.kind = outcome_kind::exception;
  head.output_waiting = true;
  head.code = 3;
  head.type_name = "std::invalid_argument";
  head.what = "no";
  return head;
}
std::vector<function_row> some_rows() {
  return {
      {{0, 0x1234, {}}, {}, "N2rh2fnIXadL_Z3addiiEEEE", "add"}, {{1, 8, {}}, {}, "", ""}, {{0, 16, {}}, {}, "x", "yz"}};
}

/// Each of these decoders on bytes that somebody else made.
using decoder = std::function<std::optional<errc>(std::span<const std::byte>)>;
template <class Result>
std::optional<errc> code_of(const Result& r) {
  return r ? std::nullopt : std::optional(r.code());
}
struct sample {
  const char* name;
  bytes_type bytes;
  decoder decode;
};
std::vector<sample> samples() {
  const decoder hello_decoder = [](std::span<const std::byte> in) { return code_of(decode_hello(in)); };
  const decoder bye_decoder = [](std::span<const std::byte> in) { return code_of(decode_bye(in)); };
  const decoder functions_decoder = [](std::span<const std::byte> in) { return code_of(decode_functions(in)); };
  const decoder call_decoder = [](std::span<const std::byte> in) {
    byte_reader reader(in);
    const auto head = decode_call(reader);
    // what comes out is within the limits, whatever went in
    if (head && (head->parameters.size() > 256 ||
                 body_bytes(head->parameters) > (std::uint64_t{1} << 36) + (std::uint64_t{64} << 20)))
      FAIL();
    return code_of(head);
  };
  const decoder outcome_decoder = [](std::span<const std::byte> in) {
    byte_reader reader(in);
    return code_of(decode_outcome(reader));
  };
  return {{"hello", encode(some_hello()), hello_decoder},
          {"bye", encode(bye{20, "why"}), bye_decoder},
          {"functions", encode(std::span<const function_row>(some_rows())), functions_decoder},
          {"call", encoded(some_call()), call_decoder},
          {"call by name", encoded(call_by_name("N2rh2fnE")), call_decoder},
          {"call with a list", encoded(call_with_list()), call_decoder},
          {"outcome", encoded(some_outcome()), outcome_decoder},
          {"exception", encoded(some_exception()), outcome_decoder}};
}

}  // namespace

TEST_CASE("hello is the bytes of the protocol's example", "[wire][message]") {
  const auto expected = hex(R"(01 00 00 00 00 00 00 00  00 00 10 00 92 10 00 00  00 00 00 00 00 00 00 00
      00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
      03 00 00 00 6c 61 62)");
  CHECK(text(encode(some_hello())) == text(expected));
  const auto back = decode_hello(expected);
  REQUIRE(back);
  CHECK(back->largest_frame == rh::limits::frame_bytes);
  CHECK(back->pid == 4242);
  CHECK(back->host == "lab");
}

TEST_CASE("a call is the bytes of the protocol's example", "[wire][message]") {
  const auto expected = hex(R"(39 5a 30 59 6f 0d 3b 9a 78 ca 56 1b ea 80 63 9d
      00 00 00 00 00 00 00 00 34 12 00 00 00 00 00 00  02 00 00 00 00 00 00 00
      04 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00  04 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00)");
  CHECK(text(encoded(some_call())) == text(expected));
  const auto back = call_of(expected);
  REQUIRE(back);
  CHECK(back->signature == some_call().signature);
  CHECK(back->function == some_call().function);
  CHECK(body_bytes(back->parameters) == 20);
}

TEST_CASE("a list counts as one parameter, and what is a result has no bytes in the body", "[wire][message]") {
  const auto bytes = encoded(call_with_list());
  CHECK(text(std::span(bytes).subspan(32)) == text(hex(R"(02 00 01 00 00 00 00 00
      02 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00
      04 00 00 00 00 00 00 00 00 00 00 00 01 00 00 00  00 04 00 00 00 00 00 00
      07 00 00 00 00 00 00 00 02 00 00 00 00 00 00 00
      03 00 00 00 00 00 00 00 02 00 00 00 00 00 00 00)")));
  const auto back = call_of(bytes);
  REQUIRE(back);
  CHECK(back->keeps_result);
  REQUIRE(back->parameters.size() == 4);
  CHECK(back->parameters[0].kind == payload_kind::list);
  CHECK(back->parameters[3].kind == payload_kind::result_of);
  CHECK(back->parameters[3].stream_bytes == 3);
  CHECK(body_bytes(back->parameters) == 64 + 1024);
}

TEST_CASE("an outcome is the bytes of the protocol's example", "[wire][message]") {
  const auto expected = hex(R"(00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
      04 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00)");
  CHECK(text(encoded(some_outcome())) == text(expected));
  const auto back = outcome_of(expected);
  REQUIRE(back);
  CHECK(back->kind == outcome_kind::value);
  CHECK(back->result.stream_bytes == 4);
}

TEST_CASE("a call by name is padded to a multiple of 8, counted from the payload's beginning", "[wire][message]") {
  const auto expected = hex(R"(00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00
      ff ff ff ff 03 00 00 00 61 62 63 00 00 00 00 00  02 00 00 00 00 00 00 00
      08 00 00 00 00 00 00 00 00 00 00 00 02 00 00 00  00 04 00 00 00 00 00 00 00 10 00 00 00 00 00 00
      00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00)");
  CHECK(text(encoded(call_by_name("abc"))) == text(expected));
  for (std::size_t length = 0; length < 20; ++length) {
    const auto head = call_by_name(std::string(length, 'n'));
    const auto bytes = encoded(head);
    CHECK(bytes.size() % 8 == 0);
    byte_reader in(bytes);
    const auto back = decode_call(in);
    REQUIRE(back);
    CHECK(in.left() == 0);
    CHECK(back->function == head.function);
    REQUIRE(back->parameters.size() == 2);
    CHECK(back->parameters[0].segment_bytes == std::vector<std::uint64_t>{1024, 4096});
  }
}

TEST_CASE("an exception's outcome, a bye and a table of functions come back as they were", "[wire][message]") {
  const auto expected = hex(R"(01 00 00 00 01 00 00 00 03 00 00 00 00 00 00 00
      15 00 00 00 73 74 64 3a 3a 69 6e 76 61 6c 69 64 5f 61 72 67 75 6d 65 6e 74  02 00 00 00 6e 6f 00)");
  CHECK(text(encoded(some_exception())) == text(expected));
  const auto exception = outcome_of(expected);
  REQUIRE(exception);
  CHECK(exception->kind == outcome_kind::exception);
  CHECK(exception->output_waiting);
  CHECK(exception->code == 3);
  CHECK(exception->type_name == "std::invalid_argument");
  CHECK(exception->what == "no");

  CHECK(text(encode(bye{20, "why"})) == text(hex("14 00 00 00 03 00 00 00 77 68 79")));
  const auto last = decode_bye(hex("14 00 00 00 03 00 00 00 77 68 79 ff"));
  REQUIRE(last);
  CHECK(last->code == 20);
  CHECK(last->text == "why");

  const auto rows = some_rows();
  const auto back = decode_functions(encode(std::span<const function_row>(rows)));
  REQUIRE(back);
  REQUIRE(back->size() == rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    CHECK((*back)[i].function == rows[i].function);
    CHECK((*back)[i].name == rows[i].name);
    CHECK((*back)[i].pretty == rows[i].pretty);
  }
}

TEST_CASE("functions are cut into frames that fit", "[wire][message]") {
  std::vector<function_row> rows;
  for (std::size_t i = 0; i < 3000; ++i)
    rows.push_back({{0, i, {}}, {}, std::string(i % 700, 'n'), std::string(i % 11, 'p')});
  std::span<const function_row> left = rows;
  std::size_t frames = 0;
  while (!left.empty()) {
    const std::size_t n = functions_frame_rows(left, 100'000);
    REQUIRE(n > 0);
    const auto bytes = encode(left.first(n));
    CHECK(bytes.size() <= 100'000);
    const auto back = decode_functions(bytes);
    REQUIRE(back);
    CHECK(back->size() == n);
    left = left.subspan(n);
    ++frames;
  }
  CHECK(frames > 10);
  CHECK(frames < 16);
  CHECK(functions_frame_rows({}) == 0);
  CHECK(functions_frame_rows(std::span(rows).last(1), 8) == 1);
}

TEST_CASE("every head that ends too early is refused, and none is read past its end", "[wire][message]") {
  for (const sample& s : samples()) {
    INFO(s.name);
    CHECK(!s.decode(s.bytes));
    for (std::size_t n = 0; n < s.bytes.size(); ++n) {
      INFO(n);
      const bytes_type exact(s.bytes.begin(),
                             s.bytes.begin() + static_cast<std::ptrdiff_t>(n));  // so that ASan sees the end
      CHECK(s.decode(exact) == errc::protocol_error);
    }
  }
}

TEST_CASE("hello refuses another major version without reading on, and frames that are too small", "[wire][message]") {
  for (const std::uint16_t major : {std::uint16_t{0}, std::uint16_t{2}, std::uint16_t{0xffff}}) {
    const auto got = decode_hello(made().add(major).bytes);
    REQUIRE(!got);
    CHECK(got.code() == errc::protocol_error);  // its end is missing
    CHECK(decode_hello(made().add(major).add(std::uint16_t{0}).bytes).code() == errc::node_incompatible);
  }
  hello h = some_hello();
  h.minor = 9;
  h.features = 0xffffffff;
  auto bytes = encode(h);
  bytes.resize(bytes.size() + 100, std::byte{0xee});  // a later minor version's
  const auto later = decode_hello(bytes);
  REQUIRE(later);
  CHECK(later->host == "lab");
  h.largest_frame = rh::limits::frame_bytes - 1;
  CHECK(decode_hello(encode(h)).code() == errc::protocol_error);
}

TEST_CASE("a call's hostile sizes are refused before anything is made for them", "[wire][message]") {
  const std::size_t before = wire_bytes::peak_memory_bytes();
  constexpr std::uint64_t most = rh::limits::body_bytes;
  constexpr std::uint64_t huge = ~std::uint64_t{0};
  const auto shape = [](made m, std::uint64_t size, std::uint32_t kind = 0, std::uint32_t segments = 0) {
    return m.u64(size).u32(kind).u32(segments);
  };
  const std::pair<const char*, bytes_type> table[] = {
      {"parameters over the limit", call_with(257).zeros(257 * 16).bytes},
      {"all bits of parameters", call_with(0xffffffff).zeros(64).bytes},
      {"parameters that did not come", call_with(256).bytes},
      {"one parameter too few", call_with(3).zeros(32).bytes},
      {"kind 4", shape(call_with(1), 0, 4).bytes},
      {"a list that did not come", shape(call_with(1), 1, 1).bytes},
      {"a list of all bits", shape(call_with(1), huge, 1).zeros(64).bytes},
      {"a list in a list", shape(shape(call_with(1), 1, 1), 0, 1).bytes},
      {"a list with segments", shape(call_with(1), 0, 1, 1).zeros(8).bytes},
      {"a result's number over 32 bits", shape(call_with(1), huge, 2).bytes},
      {"a result with segments", shape(call_with(1), 1, 2, 1).zeros(8).bytes},
      {"streams over the limit in a list", shape(shape(shape(call_with(1), 2, 1), most), 1).bytes},
      {"all bits of kind", shape(call_with(1), 0, 0xffffffff).bytes},
      {"segments that did not come", shape(call_with(1), 0, 0, 4096).bytes},
      {"segments over the limit", shape(call_with(1), 0, 0, 4097).zeros(4097 * 8).bytes},
      {"all bits of segments", shape(call_with(1), 0, 0, 0xffffffff).zeros(64).bytes},
      {"a stream over the limit", shape(call_with(1), most + 1).bytes},
      {"a stream of all bits", shape(call_with(1), huge).bytes},
      {"streams over the limit together", shape(shape(call_with(2), most), 1).bytes},
      {"streams whose sum wraps", shape(shape(call_with(2), 2), huge).bytes},
      {"a segment over the limit", shape(call_with(1), 0, 0, 1).u64(most + 1).bytes},
      {"segments over the limit together", shape(call_with(1), 0, 0, 2).u64(most).u64(1).bytes},
      {"segments whose sum wraps", shape(call_with(1), 0, 0, 2).u64(huge).u64(1).bytes},
      {"stream and segment over the limit together", shape(call_with(1), most, 0, 1).u64(1).bytes},
      {"an extension that did not come", call_with(0, 1).bytes},
      {"all bits of the extension", call_with(0, 0xffffffff).zeros(100).bytes},
      {"all bits of a name's length", made().zeros(16).u32(0xffffffff).u32(0xffffffff).zeros(100).bytes},
      {"a name that ends before its padding", made().zeros(16).u32(0xffffffff).u32(1).zeros(1).bytes},
  };
  for (const auto& [name, bytes] : table) {
    INFO(name);
    const auto got = call_of(bytes);
    REQUIRE(!got);
    CHECK(got.code() == errc::protocol_error);
  }
  const auto largest = call_of(shape(call_with(1), most).bytes);
  REQUIRE(largest);
  CHECK(body_bytes(largest->parameters) == most);
  CHECK(call_of(call_with(256).zeros(256 * 16).bytes));
  CHECK(call_of(shape(call_with(1), 0, 0, 4096).zeros(4096 * 8).bytes));
  CHECK(wire_bytes::peak_memory_bytes() - before < std::size_t{64} << 20);
}

TEST_CASE("an extension of a later version is skipped", "[wire][message]") {
  const auto bytes = call_with(1, 5).u64(7).u64(0).zeros(5).u32(0xabcd).bytes;
  byte_reader in(bytes);
  const auto head = decode_call(in);
  REQUIRE(head);
  CHECK(head->parameters[0].stream_bytes == 7);
  CHECK(in.left() == 4);
  CHECK(in.get<std::uint32_t>() == 0xabcd);
}

TEST_CASE("an outcome's and a table's hostile sizes are refused", "[wire][message]") {
  const std::size_t before = wire_bytes::peak_memory_bytes();
  const std::pair<const char*, bytes_type> outcomes[] = {
      {"kind 5", made().u32(5).zeros(60).bytes},
      {"a result that is a list", made().zeros(24).u32(1).zeros(60).bytes},
      {"a result that is another's", made().zeros(24).u32(2).zeros(60).bytes},
      {"all bits of kind", made().u32(0xffffffff).zeros(60).bytes},
      {"a result over the limit", made().zeros(16).u64(rh::limits::body_bytes + 1).u64(0).bytes},
      {"segments over the limit", made().zeros(24).u32(0).u32(4097).zeros(4097 * 8).bytes},
      {"all bits of a type name's length", made().u32(1).zeros(12).u32(0xffffffff).zeros(60).bytes},
      {"all bits of a what's length", made().u32(2).zeros(12).u32(0).u32(0xffffffff).zeros(60).bytes},
  };
  for (const auto& [name, bytes] : outcomes) {
    INFO(name);
    const auto got = outcome_of(bytes);
    REQUIRE(!got);
    CHECK(got.code() == errc::protocol_error);
  }
  for (const std::uint32_t rows : {std::uint32_t{4}, std::uint32_t{1000}, std::uint32_t{0xffffffff}}) {
    INFO(rows);
    const auto got = decode_functions(made().u32(rows).u32(0).zeros(3 * 40).bytes);
    REQUIRE(!got);
    CHECK(got.code() == errc::protocol_error);
  }
  CHECK(decode_functions(made().u32(3).u32(0).zeros(3 * 40).bytes));
  CHECK(!decode_bye(made().u32(1).u32(0xffffffff).bytes));
  CHECK(wire_bytes::peak_memory_bytes() - before < std::size_t{64} << 20);
}

TEST_CASE("100,000 mutations of each head end in a value or an error", "[wire][message]") {
  const std::size_t before = wire_bytes::peak_memory_bytes();
  std::mt19937 chance(20260101);
  for (const sample& s : samples()) {
    std::size_t refused = 0;
    for (int i = 0; i < 100'000; ++i) {
      bytes_type bytes = s.bytes;
      for (auto edits = 1 + chance() % 4; edits > 0 && !bytes.empty(); --edits) {
        const std::size_t at = chance() % bytes.size();
        switch (chance() % 4) {
          case 0: bytes[at] = static_cast<std::byte>(chance()); break;
          case 1: bytes[at] ^= static_cast<std::byte>(1u << (chance() % 8)); break;
          case 2: bytes[at] = std::byte{0xff}; break;
          case 3: bytes.resize(at); break;
        }
      }
      bytes.shrink_to_fit();
      if (const auto code = s.decode(bytes)) {
        if (*code != errc::protocol_error && *code != errc::node_incompatible) FAIL(s.name);
        ++refused;
      }
    }
    INFO(s.name);
    CHECK(refused > 1000);
    CHECK(refused < 100'000);
  }
  CHECK(wire_bytes::peak_memory_bytes() - before < std::size_t{512} << 20);  // ASan keeps 256 MiB of what was freed
}
