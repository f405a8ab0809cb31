// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/limits.hpp>
#include <runhouse/core/result.hpp>
#include <runhouse/wire/bytes.hpp>
#include <runhouse/wire/hash.hpp>
#include <runhouse/wire/payload.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

/// The messages of the protocol as values, and their encoding. A message that is too long for one frame is cut by
/// message_stream.hpp; what is here is its head, which is always whole in the first frame.
/// Source: wire/protocol.md, sections 3 to 6.
namespace rh::wire {

inline constexpr std::uint16_t protocol_major = 1;
inline constexpr std::uint16_t protocol_minor = 0;

/// Bits of hello's features.
struct feature {
  static constexpr std::uint32_t files = 1;  ///< the sender takes payloads of kind in_file
};

/// Which function a call means: an offset in an object of the same program, or a name.
struct function_id {
  static constexpr std::uint32_t by_name = 0xffffffff;

  std::uint32_t object = 0;  ///< index among the program's own objects, 0 the executable; or by_name
  std::uint64_t offset = 0;  ///< of its thunk in that object
  std::string name;          ///< with by_name: the mangled name

  bool operator==(const function_id&) const = default;
};

enum class payload_kind : std::uint32_t {
  in_body = 0,    ///< its bytes are in the body
  list = 1,       ///< the next payloads are the elements of one that is a list
  result_of = 2,  ///< it is what an earlier call gave, which the worker has kept
  in_file = 3,    ///< its bytes are in a memory file, whose descriptor comes with the frame
  value = 4,      ///< it is a value of the node's; only between a program and a node
};

/// One payload, as it stands in a head.
struct payload_shape {
  std::uint64_t stream_bytes = 0;  ///< of a list: how many payloads it has; of a result or a value: the number of its call
  std::vector<std::uint64_t> segment_bytes;
  payload_kind kind = payload_kind::in_body;

  bool operator==(const payload_shape&) const = default;
};

struct hello {
  std::uint16_t major = protocol_major;
  std::uint16_t minor = protocol_minor;
  std::uint32_t features = 0;
  std::uint32_t largest_frame = limits::frame_bytes;
  std::uint32_t pid = 0;
  std::uint64_t incarnation = 0;
  hash256 program{};
  std::string host;

  bool operator==(const hello&) const = default;
};

/// Why the sender ends the connection; the last frame that it sends on it.
struct bye {
  std::uint32_t code = 0;  ///< an errc, or 0: nothing is wrong
  std::string text;        ///< for people

  bool operator==(const bye&) const = default;
};

struct call_head {
  hash128 signature{};
  function_id function;
  std::vector<payload_shape> parameters;  ///< behind each list, its payloads
  bool keeps_result = false;              ///< a later call may take its result

  bool operator==(const call_head&) const = default;
};

enum class outcome_kind : std::uint8_t {
  value = 0,      ///< one payload, the result
  exception = 1,  ///< the function threw
  error = 2,      ///< the call could not be made: an errc
  missing = 3,    ///< it was not run: it takes the result of a call that the worker has not kept
  item = 4,       ///< one payload, of several; the call goes on
};

/// Whether an outcome of this kind has a payload.
constexpr bool has_payload(outcome_kind k) noexcept { return k == outcome_kind::value || k == outcome_kind::item; }

/// Standard exceptions that keep their type; numbers are the protocol's.
enum class exception_kind : std::uint32_t {
  other = 0,
  std_exception = 1,
  logic_error = 2,
  invalid_argument = 3,
  domain_error = 4,
  length_error = 5,
  out_of_range = 6,
  runtime_error = 7,
  range_error = 8,
  overflow_error = 9,
  underflow_error = 10,
  bad_alloc = 11,
  bad_cast = 12,
  bad_typeid = 13,
  bad_optional_access = 14,
  bad_variant_access = 15,
  bad_function_call = 16,
};

struct outcome_head {
  outcome_kind kind = outcome_kind::value;
  bool output_waiting = false;  ///< what the call printed is followed, in its pipes, by the mark of its end
  payload_shape result;     ///< of a value
  std::uint32_t code = 0;   ///< of an exception its exception_kind, of an error its errc
  bool ran = false;         ///< of an error: the function had begun
  std::string type_name;    ///< of an exception
  std::string what;         ///< of an exception or error

  bool operator==(const outcome_head&) const = default;
};

/// One row of what a worker can run.
struct function_row {
  function_id function;
  hash128 signature{};
  std::string name;    ///< mangled
  std::string pretty;  ///< as a person writes it

  bool operator==(const function_row&) const = default;
};

inline std::vector<std::byte> encode(const hello& h);
inline result<hello> decode_hello(std::span<const std::byte> in);
inline std::vector<std::byte> encode(const bye& b);
inline result<bye> decode_bye(std::span<const std::byte> in);
/// The payload of one functions frame. Precondition: it fits one; see functions_frame_rows.
inline std::vector<std::byte> encode(std::span<const function_row> rows);
/// How many of the first `rows` go into one functions frame of at most `largest` bytes, but at least one.
inline std::size_t functions_frame_rows(std::span<const function_row> rows, std::size_t largest = limits::chunk_bytes) noexcept;
inline result<std::vector<function_row>> decode_functions(std::span<const std::byte> in);

/// The head's fixed part is written first, so that a reader of a first frame finds the body behind it.
inline void encode(const call_head& head, byte_writer& out);
inline void encode(const outcome_head& head, byte_writer& out);
/// Read from the front of `in`, which then stands at the body.
inline result<call_head> decode_call(byte_reader& in);
inline result<outcome_head> decode_outcome(byte_reader& in);

/// Where the parts of payloads lie in a body: each stream at the next multiple of 16, each segment at the next of 64.
class body_layout {
 public:
  std::uint64_t place_stream(std::uint64_t size) noexcept { return place(size, 16); }
  std::uint64_t place_segment(std::uint64_t size) noexcept { return place(size, 64); }
  std::uint64_t size_bytes() const noexcept { return size_; }

 private:
  std::uint64_t place(std::uint64_t size, std::uint64_t alignment) noexcept {
    const std::uint64_t at = (size_ + alignment - 1) / alignment * alignment;
    size_ = at + size;
    return at;
  }
  std::uint64_t size_ = 0;
};

/// The length of the body that belongs to these payloads.
inline std::uint64_t body_bytes(std::span<const payload_shape> shapes) noexcept {
  body_layout layout;
  for (const payload_shape& shape : shapes) {
    if (shape.kind != payload_kind::in_body) continue;
    layout.place_stream(shape.stream_bytes);
    for (const std::uint64_t size : shape.segment_bytes) layout.place_segment(size);
  }
  return layout.size_bytes();
}

inline payload_shape shape_of(const payload_view& p) {
  payload_shape shape;
  shape.stream_bytes = p.stream.size();
  shape.segment_bytes.reserve(p.segments.size());
  for (const auto& segment : p.segments) shape.segment_bytes.push_back(segment.size());
  return shape;
}
inline payload_shape shape_of(const payload_file& p) { return {p.stream_bytes, p.segment_bytes, payload_kind::in_file}; }
inline payload_shape shape_of(const payload& p) {
  if (p.file) return shape_of(*p.file);
  payload_shape shape;
  shape.stream_bytes = p.stream.size();
  shape.segment_bytes.reserve(p.segments.size());
  for (const buffer& segment : p.segments) shape.segment_bytes.push_back(segment.size());
  return shape;
}

// ---- implementation

namespace detail {

inline constexpr std::uint16_t flag_keeps_result = 1;

inline void encode(const payload_shape& shape, byte_writer& out) {
  out.put(shape.stream_bytes);
  out.put(static_cast<std::uint32_t>(shape.kind));
  out.put(static_cast<std::uint32_t>(shape.segment_bytes.size()));
  for (const std::uint64_t size : shape.segment_bytes) out.put(size);
}

/// `budget` is what is left of limits::body_bytes. A list counts payloads, of which each takes 16 bytes of the head.
inline bool decode(payload_shape& shape, byte_reader& in, std::uint64_t& budget) {
  const auto spend = [&](std::uint64_t size) {
    if (size > budget) return false;
    budget -= size;
    return true;
  };
  shape.stream_bytes = in.get<std::uint64_t>();
  shape.kind = static_cast<payload_kind>(in.get<std::uint32_t>());
  const auto segments = in.get<std::uint32_t>();
  if (shape.kind == payload_kind::list) return in.ok() && segments == 0 && shape.stream_bytes <= in.left() / 16;
  if (shape.kind == payload_kind::result_of) return in.ok() && segments == 0 && shape.stream_bytes <= 0xffffffff;
  if (shape.kind == payload_kind::value) return in.ok() && segments == 0;
  if (!in.ok() || (shape.kind != payload_kind::in_body && shape.kind != payload_kind::in_file) || segments > limits::segments || segments > in.left() / 8) return false;
  if (!spend(shape.stream_bytes)) return false;
  shape.segment_bytes.resize(segments);
  for (std::uint64_t& size : shape.segment_bytes) {
    size = in.get<std::uint64_t>();
    if (!spend(size)) return false;
  }
  return in.ok();
}

/// The same of one that is neither a list nor elsewhere.
inline bool decode_whole(payload_shape& shape, byte_reader& in, std::uint64_t& budget) {
  return decode(shape, in, budget) && (shape.kind == payload_kind::in_body || shape.kind == payload_kind::in_file);
}

/// The shapes of so many parameters, and of the elements of lists behind each; `by_reference` is the kind that those may
/// have which are elsewhere.
inline bool decode_parameters(std::vector<payload_shape>& all, unsigned parameters, payload_kind by_reference, byte_reader& in) {
  const auto is_allowed = [&](payload_kind k) {
    return (k != payload_kind::result_of && k != payload_kind::value) || k == by_reference;
  };
  all.reserve(parameters);
  std::uint64_t budget = limits::body_bytes;
  for (unsigned i = 0; i < parameters; ++i) {
    payload_shape& parameter = all.emplace_back();
    if (!detail::decode(parameter, in, budget) || !is_allowed(parameter.kind)) return false;
    for (std::uint64_t left = parameter.kind == payload_kind::list ? parameter.stream_bytes : 0; left > 0; --left) {
      payload_shape& element = all.emplace_back();  // `parameter` may have moved
      if (!detail::decode(element, in, budget) || element.kind == payload_kind::list || !is_allowed(element.kind)) return false;
    }
  }
  return true;
}

/// How many parameters these shapes are: the elements of lists are none.
inline std::uint16_t parameter_count(std::span<const payload_shape> shapes) noexcept {
  std::size_t parameters = shapes.size();
  for (const payload_shape& shape : shapes) {
    if (shape.kind == payload_kind::list) parameters -= static_cast<std::size_t>(shape.stream_bytes);
  }
  return static_cast<std::uint16_t>(parameters);
}

inline void encode(const function_id& f, byte_writer& out) {
  out.put(f.object);
  if (f.object == function_id::by_name) {
    out.put_text(f.name);
    out.pad(8);
  } else {
    out.put(std::uint32_t{0});
    out.put(f.offset);
  }
}

inline function_id decode_function(byte_reader& in) {
  function_id f;
  f.object = in.get<std::uint32_t>();
  if (f.object == function_id::by_name) {
    f.name = in.text();
    in.pad(8);
  } else {
    in.get<std::uint32_t>();
    f.offset = in.get<std::uint64_t>();
  }
  return f;
}

template <std::size_t N>
std::array<std::byte, N> take_array(byte_reader& in) {
  std::array<std::byte, N> out{};
  const auto bytes = in.take(N);
  if (bytes.size() == N) std::copy(bytes.begin(), bytes.end(), out.begin());
  return out;
}

}  // namespace detail

inline std::vector<std::byte> encode(const hello& h) {
  std::vector<std::byte> bytes;
  byte_writer out(bytes);
  out.put(h.major);
  out.put(h.minor);
  out.put(h.features);
  out.put(h.largest_frame);
  out.put(h.pid);
  out.put(h.incarnation);
  out.put(h.program);
  out.put_text(h.host);
  return bytes;
}

inline result<hello> decode_hello(std::span<const std::byte> in) {
  byte_reader read(in);
  hello h;
  h.major = read.get<std::uint16_t>();
  h.minor = read.get<std::uint16_t>();
  if (!read.ok()) return errc::protocol_error;
  if (h.major != protocol_major) return errc::node_incompatible;
  h.features = read.get<std::uint32_t>();
  h.largest_frame = read.get<std::uint32_t>();
  h.pid = read.get<std::uint32_t>();
  h.incarnation = read.get<std::uint64_t>();
  h.program = detail::take_array<32>(read);
  h.host = read.text();
  if (!read.ok() || h.largest_frame < limits::frame_bytes) return errc::protocol_error;
  return h;  // what a later minor version appends is skipped
}

inline std::vector<std::byte> encode(const bye& b) {
  std::vector<std::byte> bytes;
  byte_writer out(bytes);
  out.put(b.code);
  out.put_text(b.text);
  return bytes;
}

inline result<bye> decode_bye(std::span<const std::byte> in) {
  byte_reader read(in);
  bye b;
  b.code = read.get<std::uint32_t>();
  b.text = read.text();
  if (!read.ok()) return errc::protocol_error;
  return b;
}

inline std::size_t functions_frame_rows(std::span<const function_row> rows, std::size_t largest) noexcept {
  constexpr std::size_t row_bytes = 16 + 16 + 8 + 2 * 7;  // function, signature, two lengths, padding
  std::size_t bytes = 8;
  std::size_t count = 0;
  for (const function_row& row : rows) {
    bytes += row_bytes + row.function.name.size() + row.name.size() + row.pretty.size();
    if (bytes > largest && count > 0) break;
    ++count;
  }
  return count;
}

inline std::vector<std::byte> encode(std::span<const function_row> rows) {
  std::vector<std::byte> bytes;
  byte_writer out(bytes);
  out.put(static_cast<std::uint32_t>(rows.size()));
  out.put(std::uint32_t{0});
  for (const function_row& row : rows) {
    detail::encode(row.function, out);
    out.put(row.signature);
    out.put_text(row.name);
    out.put_text(row.pretty);
    out.pad(8);
  }
  return bytes;
}

inline result<std::vector<function_row>> decode_functions(std::span<const std::byte> in) {
  byte_reader read(in);
  const auto count = read.get<std::uint32_t>();
  read.get<std::uint32_t>();
  if (count > read.left() / 32) return errc::protocol_error;
  std::vector<function_row> rows(count);
  for (function_row& row : rows) {
    row.function = detail::decode_function(read);
    row.signature = detail::take_array<16>(read);
    row.name = read.text();
    row.pretty = read.text();
    read.pad(8);
  }
  if (!read.ok()) return errc::protocol_error;
  return rows;
}

inline void encode(const call_head& head, byte_writer& out) {
  out.put(head.signature);
  detail::encode(head.function, out);
  out.put(detail::parameter_count(head.parameters));
  out.put(head.keeps_result ? detail::flag_keeps_result : std::uint16_t{0});
  out.put(std::uint32_t{0});  // bytes of extensions
  for (const payload_shape& shape : head.parameters) detail::encode(shape, out);
}

inline result<call_head> decode_call(byte_reader& in) {
  call_head head;
  head.signature = detail::take_array<16>(in);
  head.function = detail::decode_function(in);
  const auto parameters = in.get<std::uint16_t>();
  head.keeps_result = (in.get<std::uint16_t>() & detail::flag_keeps_result) != 0;
  const auto extension_bytes = in.get<std::uint32_t>();
  if (!in.ok() || parameters > limits::parameters) return errc::protocol_error;
  if (!detail::decode_parameters(head.parameters, parameters, payload_kind::result_of, in)) return errc::protocol_error;
  in.take(extension_bytes);
  if (!in.ok()) return errc::protocol_error;
  return head;
}

inline void encode(const outcome_head& head, byte_writer& out) {
  out.put(static_cast<std::uint32_t>(head.kind));
  out.put(std::uint32_t{head.output_waiting});
  out.put(head.code);
  out.put(std::uint32_t{head.ran});
  if (has_payload(head.kind)) {
    detail::encode(head.result, out);
  } else if (head.kind != outcome_kind::missing) {
    out.put_text(head.type_name);
    out.put_text(head.what);
    out.pad(8);
  }
}

inline result<outcome_head> decode_outcome(byte_reader& in) {
  outcome_head head;
  const auto kind = in.get<std::uint32_t>();
  head.output_waiting = in.get<std::uint32_t>() == 1;
  head.code = in.get<std::uint32_t>();
  head.ran = in.get<std::uint32_t>() == 1;
  if (!in.ok() || kind > 4) return errc::protocol_error;
  head.kind = static_cast<outcome_kind>(kind);
  if (has_payload(head.kind)) {
    std::uint64_t budget = limits::body_bytes;
    if (!detail::decode_whole(head.result, in, budget)) return errc::protocol_error;
  } else if (head.kind != outcome_kind::missing) {
    head.type_name = in.text();
    head.what = in.text();
    in.pad(8);
  }
  if (!in.ok()) return errc::protocol_error;
  return head;
}

}  // namespace rh::wire
