// SPDX-License-Identifier: Apache-2.0
#include <runhouse/wire/message.hpp>

#include <runhouse/rpc/session_needs.hpp>
#include <runhouse/wire/session_message.hpp>

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
  if constexpr (requires(byte_writer& out) { message_traits<Message>::encode(message, out); }) {
    fuzz::bytes bytes;
    byte_writer out(bytes);
    message_traits<Message>::encode(message, out);
    return bytes;
  } else if constexpr (requires(byte_writer& out) { encode(message, out); }) {
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

bridged_program some_bridged() {
  bridged_program b;
  b.files[0] = std::byte{7};
  b.variables = {"LD_LIBRARY_PATH=/home/.runhouse/lib"};
  b.said = "RH";
  return b;
}
open_session some_open() {
  open_session o;
  o.is_same_machine = true;
  o.folder = "/home";
  o.environment = {"A=1", "HOME=/home"};
  return o;
}
rh::detail::session_needs some_needs() {
  rh::detail::session_needs n;
  n.index = 1;
  n.needs = rh::needs(rh::gpus(1), rh::resource("license", 2), rh::env("A", "b"), rh::cwd("/tmp"));
  return n;
}
session_call some_session_call() {
  session_call head;
  head.function = 1;
  head.is_queued = true;
  head.queue = "q";
  head.parameters = {{2, {}, payload_kind::list}, {4, {1024}}, {7, {}, payload_kind::value}, {8, {}}};
  return head;
}
session_outcome some_session_outcome(session_outcome::kind how) {
  session_outcome head;
  head.how = how;
  head.reached = rh::stage::ran;
  if (how == session_outcome::kind::error) {
    head.code = 13;
    head.ran = true;
    head.what = "it died";
    head.output = "last words";
  } else if (how == session_outcome::kind::stays) {
    head.size_bytes = 1 << 20;
  } else {
    head.result = {4, {1024}};
  }
  return head;
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
      {"open", check<decode_open>, {encoded(some_open())}},
      {"opened", check<decode_opened>, {encoded(session_opened{1, 2, 3, "notice"})}},
      {"session_function", check<decode_session_function>, {encoded(session_function{1, {}, {0, 0x1234, {}}, "N2rh2fnE"})}},
      {"session_needs", check<rh::detail::decode_session_needs>, {encoded(some_needs())}},
      {"question", check<decode_question>, {encoded(session_question{2, {1, 2, 3, 4}, {"name", "i"}})}},
      {"session_call", check<message_traits<session_call>::decode>, {encoded(some_session_call())}},
      {"session_put", check<message_traits<session_put>::decode>, {encoded(session_put{{4, {1024}}})}},
      {"session_outcome",
       check<message_traits<session_outcome>::decode>,
       {encoded(some_session_outcome(session_outcome::kind::value)), encoded(some_session_outcome(session_outcome::kind::error)),
        encoded(some_session_outcome(session_outcome::kind::stays))}},
      {"bridge", check<decode_bridged>, {encoded(some_bridged())}},
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
