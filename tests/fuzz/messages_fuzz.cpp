// SPDX-License-Identifier: Apache-2.0
#include <runhouse/wire/message.hpp>

#include "fuzz/fuzz.hpp"

#include <optional>
#include <utility>

/// The decoders of messages, on bytes that may be anything: an error that the protocol names, or a message that comes
/// back the same when it is encoded and decoded, and is no longer than what it was decoded from.
///
///     offset  bytes  field
///     0       1      which row of the table
///     1              the message
namespace {

using namespace rh::wire;
using rh::errc;
using rh::result;

template <class Message>
result<Message> decode_with(result<Message> (*decode)(std::span<const std::byte>), std::span<const std::byte> in) {
  return decode(in);
}
template <class Message>
result<Message> decode_with(result<Message> (*decode)(byte_reader&), std::span<const std::byte> in) {
  byte_reader read(in);
  return decode(read);
}

template <class Message>
fuzz::bytes encoded(const Message& message) {
  if constexpr (requires(byte_writer& out) { encode(message, out); }) {
    fuzz::bytes bytes;
    byte_writer out(bytes);
    encode(message, out);
    return bytes;
  } else {
    return encode(message);
  }
}

template <auto Decode>
void check(std::span<const std::byte> in) {
  const auto message = decode_with(Decode, in);
  if (!message) {
    const errc code = message.code();
    fuzz::must(code == errc::protocol_error || code == errc::node_incompatible, "the error is one of the protocol's");
    return;
  }
  const fuzz::bytes bytes = encoded(*message);
  fuzz::must(bytes.size() <= in.size(), "a message is no longer than the bytes that it was decoded from");
  const auto again = decode_with(Decode, bytes);
  fuzz::must(again && *again == *message, "a message comes back as it was");
}

hello some_hello() {
  hello h;
  h.pid = 4242;
  h.host = "lab";
  return h;
}
call_head some_call() {
  call_head head;
  head.function.offset = 0x1234;
  head.parameters = {{4, {}}, {4, {1024, 4096}}, {1, {2048}, payload_kind::in_file}};
  return head;
}
call_head some_call_by_name() {
  call_head head;
  head.function = {function_id::by_name, 0, "FiiiE"};
  head.keeps_result = true;
  head.parameters = {{2, {}, payload_kind::list}, {4, {1024}}, {7, {}, payload_kind::result_of}};
  return head;
}
outcome_head some_outcome(outcome_kind kind) {
  outcome_head head;
  head.kind = kind;
  head.code = 3;
  if (has_payload(kind)) {
    head.result = {4, {1024}};
  } else if (kind != outcome_kind::missing) {
    head.ran = head.output_waiting = true;
    head.type_name = "std::invalid_argument";
    head.what = "no";
  }
  return head;
}
std::vector<function_row> some_functions() {
  return {{{0, 0x1234, {}}, {}, "FiiiE", "add"}, {{function_id::by_name, 0, "FvvE"}, {}, "", ""}};
}

struct decoder {
  const char* name;
  void (*check)(std::span<const std::byte>);
  std::vector<fuzz::bytes> seeds;
};

/// New rows go to the end: the corpus knows them by their numbers.
const std::vector<decoder>& decoders() {
  static const std::vector<decoder> table = {
      {"hello", check<decode_hello>, {encoded(some_hello())}},
      {"bye", check<decode_bye>, {encoded(bye{20, "why"})}},
      {"call", check<decode_call>, {encoded(some_call()), encoded(some_call_by_name())}},
      {"outcome",
       check<decode_outcome>,
       {encoded(some_outcome(outcome_kind::value)), encoded(some_outcome(outcome_kind::exception)),
        encoded(some_outcome(outcome_kind::missing))}},
      {"functions", check<decode_functions>, {encoded(some_functions())}},
  };
  return table;
}

}  // namespace

void fuzz::seeds(const std::function<void(const std::string& name, const bytes& input)>& add) {
  for (std::size_t row = 0; row < decoders().size(); ++row) {
    const decoder& d = decoders()[row];
    for (std::size_t i = 0; i < d.seeds.size(); ++i) {
      bytes whole{static_cast<std::byte>(row)};
      append(whole, d.seeds[i]);
      add(d.name + std::string(i > 0 ? "_" + std::to_string(i + 1) : ""), whole);
    }
  }
}

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::input in(data, size);
  const decoder& d = decoders()[in.u8() % decoders().size()];
  d.check(in.rest());
  return 0;
}
