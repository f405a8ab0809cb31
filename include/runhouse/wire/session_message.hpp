// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/core/limits.hpp>
#include <runhouse/core/result.hpp>
#include <runhouse/wire/bytes.hpp>
#include <runhouse/wire/message.hpp>
#include <runhouse/wire/message_stream.hpp>
#include <runhouse/wire/session_question.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

/// What a program and a node say to each other, as values, and their encoding.
/// Source: wire/session.md.
namespace rh::wire {

using session_id = std::array<std::byte, 16>;

/// Whether a frame counts: is kept until the other side has it, and sent again on the next connection if it had not.
constexpr bool is_counted(frame_type t) noexcept {
  switch (t) {
    case frame_type::hello:
    case frame_type::bye:
    case frame_type::ping:
    case frame_type::pong:
    case frame_type::open:
    case frame_type::opened:
    case frame_type::bridge:
    case frame_type::ack: return false;
    default: return true;
  }
}

/// What a bridge says of the program that it is there for.
struct bridged_program {
  hash256 files{};                     ///< as the program's workers will say in their hello
  std::vector<std::string> variables;  ///< NAME=value, in its workers beside the node's own environment
  std::string said;                    ///< the first bytes that the program has said
  bool operator==(const bridged_program&) const = default;
};

/// The program's second frame on each connection.
struct open_session {
  session_id id{};                 ///< chosen by the program, at random
  bool resumes = false;            ///< it was open already: what follows is empty
  bool is_same_machine = false;    ///< the node may watch the process hello.pid, and share memory files with it
  std::uint64_t received = 0;      ///< counted frames that have come
  std::string folder;              ///< where its workers are to run
  std::vector<std::string> environment;  ///< of its workers: NAME=value
  bool operator==(const open_session&) const = default;
};

/// The node's answer to it.
struct session_opened {
  std::uint64_t received = 0;
  std::uint32_t workers = 0;      ///< how many calls may run at the same time
  std::uint64_t store_bytes = 0;  ///< room for values
  std::string notice;             ///< for people; empty: nothing to say
  bool operator==(const session_opened&) const = default;
};

/// A function that calls name by `index` from now on.
struct session_function {
  std::uint32_t index = 0;
  hash128 signature{};
  function_id function;
  std::string name;  ///< mangled, of the callable's type
  bool operator==(const session_function&) const = default;
};

struct session_call {
  std::uint32_t function = 0;
  std::uint32_t needs = 0;  ///< 0: nothing special
  std::uint32_t retries = 0;
  bool keeps_result = false;
  bool is_queued = false;
  bool gives_items = false;
  std::vector<payload_shape> parameters;
  std::string queue;
  bool operator==(const session_call&) const = default;
};

/// A value that the program gives to the node.
struct session_put {
  payload_shape shape;
  bool operator==(const session_put&) const = default;
};

struct session_outcome {
  enum class kind : std::uint32_t { value = 0, exception = 1, error = 2, item = 4, stays = 5 };
  kind how = kind::value;
  stage reached = stage::not_started;
  payload_shape result;          ///< of a value or an item
  std::uint64_t size_bytes = 0;  ///< of one that stays
  std::uint32_t code = 0;        ///< as in outcome_head
  bool ran = false;
  std::string type_name;
  std::string what;
  std::string output;   ///< the last lines that it printed
  std::string because;  ///< why it was not started, where another call is why
  bool operator==(const session_outcome&) const = default;
};

inline std::vector<std::byte> encode(const bridged_program& b);
inline result<bridged_program> decode_bridged(std::span<const std::byte> in);
inline std::vector<std::byte> encode(const open_session& o);
inline result<open_session> decode_open(std::span<const std::byte> in);
inline std::vector<std::byte> encode(const session_opened& o);
inline result<session_opened> decode_opened(std::span<const std::byte> in);
inline std::vector<std::byte> encode(const session_function& f);
inline result<session_function> decode_session_function(std::span<const std::byte> in);
inline std::vector<std::byte> encode(const session_question& q);
inline result<session_question> decode_question(std::span<const std::byte> in);

template <>
struct message_traits<session_call> {
  static constexpr frame_type type = frame_type::call;
  static void encode(const session_call& head, byte_writer& out);
  static result<session_call> decode(byte_reader& in);
  static std::span<const payload_shape> shapes(const session_call& head) noexcept { return head.parameters; }
};
template <>
struct message_traits<session_put> {
  static constexpr frame_type type = frame_type::put;
  static void encode(const session_put& head, byte_writer& out) { detail::encode(head.shape, out); }
  static result<session_put> decode(byte_reader& in);
  static std::span<const payload_shape> shapes(const session_put& head) noexcept { return {&head.shape, 1}; }
};
template <>
struct message_traits<session_outcome> {
  static constexpr frame_type type = frame_type::outcome;
  static void encode(const session_outcome& head, byte_writer& out);
  static result<session_outcome> decode(byte_reader& in);
  static bool has_payload(const session_outcome& head) noexcept {
    return head.how == session_outcome::kind::value || head.how == session_outcome::kind::item;
  }
  static std::span<const payload_shape> shapes(const session_outcome& head) noexcept {
    return {&head.result, has_payload(head) ? std::size_t{1} : std::size_t{0}};
  }
};

// ---- implementation

namespace detail {

inline void encode(std::span<const std::string> texts, byte_writer& out) {
  out.put(static_cast<std::uint32_t>(texts.size()));
  for (const std::string& text : texts) out.put_text(text);
}
inline std::vector<std::string> decode_texts(byte_reader& in) {
  std::vector<std::string> texts;
  const auto count = in.get<std::uint32_t>();
  if (count > in.left() / 4) return in.take(in.left() + 1), texts;  // not ok() from here on
  texts.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) texts.push_back(in.text());
  return texts;
}

/// NAME=value, for a worker.
inline bool is_variable(const std::string& v) {
  return v.find('\0') == v.npos && v.find('=') != v.npos && v.find('=') != 0 && !v.starts_with("RUNHOUSE_");
}

}  // namespace detail

inline std::vector<std::byte> encode(const bridged_program& b) {
  std::vector<std::byte> bytes;
  byte_writer out(bytes);
  out.put(b.files);
  detail::encode(b.variables, out);
  out.put_text(b.said);
  return bytes;
}

inline result<bridged_program> decode_bridged(std::span<const std::byte> in) {
  byte_reader read(in);
  bridged_program b;
  b.files = detail::take_array<32>(read);
  b.variables = detail::decode_texts(read);
  b.said = read.text();
  if (!read.ok() || !std::ranges::all_of(b.variables, &detail::is_variable)) return errc::protocol_error;
  return b;
}

inline std::vector<std::byte> encode(const open_session& o) {
  std::vector<std::byte> bytes;
  byte_writer out(bytes);
  out.put(o.id);
  out.put(o.received);
  out.put(std::uint32_t{o.resumes} | std::uint32_t{o.is_same_machine} << 1);
  out.put_text(o.folder);
  detail::encode(o.environment, out);
  return bytes;
}

inline result<open_session> decode_open(std::span<const std::byte> in) {
  byte_reader read(in);
  open_session o;
  o.id = detail::take_array<16>(read);
  o.received = read.get<std::uint64_t>();
  const auto flags = read.get<std::uint32_t>();
  o.resumes = (flags & 1) != 0;
  o.is_same_machine = (flags & 2) != 0;
  o.folder = read.text();
  o.environment = detail::decode_texts(read);
  if (!read.ok() || o.folder.find('\0') != o.folder.npos || !std::ranges::all_of(o.environment, &detail::is_variable)) return errc::protocol_error;
  return o;
}

inline std::vector<std::byte> encode(const session_opened& o) {
  std::vector<std::byte> bytes;
  byte_writer out(bytes);
  out.put(o.received);
  out.put(o.store_bytes);
  out.put(o.workers);
  out.put_text(o.notice);
  return bytes;
}

inline result<session_opened> decode_opened(std::span<const std::byte> in) {
  byte_reader read(in);
  session_opened o;
  o.received = read.get<std::uint64_t>();
  o.store_bytes = read.get<std::uint64_t>();
  o.workers = read.get<std::uint32_t>();
  o.notice = read.text();
  if (!read.ok()) return errc::protocol_error;
  return o;
}

inline std::vector<std::byte> encode(const session_function& f) {
  std::vector<std::byte> bytes;
  byte_writer out(bytes);
  out.put(f.index);
  out.put(std::uint32_t{0});
  out.put(f.signature);
  detail::encode(f.function, out);
  out.put_text(f.name);
  return bytes;
}

inline result<session_function> decode_session_function(std::span<const std::byte> in) {
  byte_reader read(in);
  session_function f;
  f.index = read.get<std::uint32_t>();
  read.get<std::uint32_t>();
  f.signature = detail::take_array<16>(read);
  f.function = detail::decode_function(read);
  f.name = read.text();
  if (!read.ok() || f.name.find('\0') != f.name.npos) return errc::protocol_error;
  return f;
}

inline std::vector<std::byte> encode(const session_question& q) {
  std::vector<std::byte> bytes;
  byte_writer out(bytes);
  out.put(q.what);
  out.put(static_cast<std::uint32_t>(q.numbers.size()));
  for (const std::uint64_t n : q.numbers) out.put(n);
  detail::encode(q.texts, out);
  return bytes;
}

inline result<session_question> decode_question(std::span<const std::byte> in) {
  byte_reader read(in);
  session_question q;
  q.what = read.get<std::uint32_t>();
  const auto count = read.get<std::uint32_t>();
  if (count > read.left() / 8) return errc::protocol_error;
  q.numbers.resize(count);
  for (std::uint64_t& n : q.numbers) n = read.get<std::uint64_t>();
  q.texts = detail::decode_texts(read);
  if (!read.ok()) return errc::protocol_error;
  return q;
}

inline void message_traits<session_call>::encode(const session_call& head, byte_writer& out) {
  out.put(head.function);
  out.put(head.needs);
  out.put(head.retries);
  out.put(detail::parameter_count(head.parameters));
  out.put(static_cast<std::uint16_t>((head.keeps_result ? 1 : 0) | (head.is_queued ? 2 : 0) | (head.gives_items ? 4 : 0)));
  for (const payload_shape& shape : head.parameters) detail::encode(shape, out);
  if (head.is_queued) {
    out.put_text(head.queue);
    out.pad(8);
  }
}

inline result<session_call> message_traits<session_call>::decode(byte_reader& in) {
  session_call head;
  head.function = in.get<std::uint32_t>();
  head.needs = in.get<std::uint32_t>();
  head.retries = in.get<std::uint32_t>();
  const auto parameters = in.get<std::uint16_t>();
  const auto flags = in.get<std::uint16_t>();
  head.keeps_result = (flags & 1) != 0;
  head.is_queued = (flags & 2) != 0;
  head.gives_items = (flags & 4) != 0;
  if (!in.ok() || parameters > limits::parameters) return errc::protocol_error;
  if (!detail::decode_parameters(head.parameters, parameters, payload_kind::value, in)) return errc::protocol_error;
  if (head.is_queued) {
    head.queue = in.text();
    in.pad(8);
  }
  if (!in.ok() || (head.is_queued && head.queue.empty())) return errc::protocol_error;
  return head;
}

inline result<session_put> message_traits<session_put>::decode(byte_reader& in) {
  session_put head;
  std::uint64_t budget = limits::body_bytes;
  if (!detail::decode_whole(head.shape, in, budget)) return errc::protocol_error;
  return head;
}

inline void message_traits<session_outcome>::encode(const session_outcome& head, byte_writer& out) {
  out.put(static_cast<std::uint32_t>(head.how));
  out.put(static_cast<std::uint32_t>(head.reached) | std::uint32_t{head.ran} << 8);
  if (has_payload(head)) return detail::encode(head.result, out);
  if (head.how == session_outcome::kind::stays) return out.put(head.size_bytes);
  out.put(head.code);
  out.put_text(head.type_name);
  out.put_text(head.what);
  out.put_text(head.output);
  out.put_text(head.because);
  out.pad(8);
}

inline result<session_outcome> message_traits<session_outcome>::decode(byte_reader& in) {
  session_outcome head;
  const auto how = in.get<std::uint32_t>();
  const auto reached = in.get<std::uint32_t>();
  if (!in.ok() || how > 5 || how == 3 || (reached & 0xff) > 2 || reached >> 9 != 0) return errc::protocol_error;
  head.how = static_cast<session_outcome::kind>(how);
  head.reached = static_cast<stage>(reached & 0xff);
  head.ran = reached >> 8 != 0;
  if (has_payload(head)) {
    std::uint64_t budget = limits::body_bytes;
    if (!detail::decode_whole(head.result, in, budget)) return errc::protocol_error;
  } else if (head.how == session_outcome::kind::stays) {
    head.size_bytes = in.get<std::uint64_t>();
  } else {
    head.code = in.get<std::uint32_t>();
    head.type_name = in.text();
    head.what = in.text();
    head.output = in.text();
    head.because = in.text();
    in.pad(8);
  }
  if (!in.ok()) return errc::protocol_error;
  return head;
}

}  // namespace rh::wire
