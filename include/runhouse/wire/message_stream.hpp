// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/limits.hpp>
#include <runhouse/core/result.hpp>
#include <runhouse/wire/frame.hpp>
#include <runhouse/wire/incoming_body.hpp>
#include <runhouse/wire/message.hpp>

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <utility>
#include <variant>
#include <vector>

namespace rh::wire {

/// What a message with a body is: how its head is encoded, which payloads are in its body, the type of its first frame.
template <class Head>
struct message_traits;
template <>
struct message_traits<call_head> {
  static constexpr frame_type type = frame_type::call;
  static void encode(const call_head& head, byte_writer& out) { wire::encode(head, out); }
  static result<call_head> decode(byte_reader& in) { return decode_call(in); }
  static std::span<const payload_shape> shapes(const call_head& head) noexcept { return head.parameters; }
};
template <>
struct message_traits<outcome_head> {
  static constexpr frame_type type = frame_type::outcome;
  static void encode(const outcome_head& head, byte_writer& out) { wire::encode(head, out); }
  static result<outcome_head> decode(byte_reader& in) { return decode_outcome(in); }
  static std::span<const payload_shape> shapes(const outcome_head& head) noexcept {
    return {&head.result, has_payload(head.kind) ? std::size_t{1} : std::size_t{0}};
  }
};

/// A call or an outcome on its way out. Frames are cut from it one at a time, so that others can go between them.
/// Lifetime: the payloads' memory outlives it.
class outgoing_message {
 public:
  /// `payloads` are those that the head's shapes say are in the body.
  /// Errors: errc::payload_too_large if the body is over limits::body_bytes or the head over one frame.
  template <class Head>
  outgoing_message(const Head& head, std::uint64_t stream, std::span<const payload_view> payloads);

  /// Appends the next frame, with at most `room` bytes of the body, and returns how many it took.
  /// Precondition: !done().
  std::size_t append_next(std::vector<std::byte>& out, std::size_t room = limits::chunk_bytes);
  bool begun() const noexcept { return begun_; }
  bool done() const noexcept { return begun_ && left_ == 0; }
  std::uint64_t body_left() const noexcept { return left_; }

 private:
  void add(const payload_view& p, body_layout& layout);
  void place(std::span<const std::byte> bytes, std::uint64_t at);
  void check() const;

  frame_type type_;
  std::uint64_t stream_;
  std::vector<std::byte> head_;
  std::vector<std::span<const std::byte>> pieces_;  // of the body, in order, padding among them
  std::size_t piece_ = 0;
  std::uint64_t left_ = 0;
  bool begun_ = false;
};

/// Appends a call or an outcome whole, in one frame, if it is a small one, of at most limits::small_message_bytes;
/// else appends nothing, and gives false.
template <class Head>
bool append_whole(std::vector<std::byte>& out, const Head& head, std::uint64_t stream, std::span<const payload_view> payloads);

/// The far end: frames of one stream put together again. `Body` is what takes the body: incoming_buffer,
/// incoming_payloads or the like.
template <class Head, class Body = incoming_buffer>
class incoming_message {
 public:
  incoming_message() = default;
  /// Where the body is to go.
  explicit incoming_message(Body to) : body_(std::move(to)) {}
  /// The first frame. Errors: errc::protocol_error; std::bad_alloc where there is no memory for the body.
  result<bool> begin(const frame_header& header, std::span<const std::byte> in);
  /// Each data frame after it, which is not empty. Both give true when the message is whole.
  /// Errors: errc::protocol_error, also where more comes than the head announced, or less.
  result<bool> add(const frame_header& header, std::span<const std::byte> in);

  const Head& head() const noexcept { return head_; }
  Head take_head() && noexcept { return std::move(head_); }
  const typename Body::value_type& body() const noexcept { return body_.value(); }
  typename Body::value_type take_body() && { return std::move(body_).take(); }

 private:
  Head head_;
  Body body_;
};

/// A body of one payload.
inline buffer body_of(const payload_view& p);

/// The payloads of a body, where they are: views[i] is of shapes[i], and empty where that is not in the body. `segments`
/// holds what the views refer to.
/// Precondition: as many views as shapes, which are those that the message's head announced.
inline void view_payloads(std::span<const payload_shape> shapes, std::span<const std::byte> body,
                          std::vector<std::span<const std::byte>>& segments, std::span<payload_view> views);

// ---- implementation

inline void outgoing_message::place(std::span<const std::byte> bytes, std::uint64_t at) {
  static constexpr std::array<std::byte, 64> zeros{};
  if (at > left_) pieces_.push_back(std::span(zeros).first(static_cast<std::size_t>(at - left_)));
  if (!bytes.empty()) pieces_.push_back(bytes);
  left_ = at + bytes.size();
}

inline void outgoing_message::add(const payload_view& p, body_layout& layout) {
  place(p.stream, layout.place_stream(p.stream.size()));
  for (const auto& segment : p.segments) place(segment, layout.place_segment(segment.size()));
}

inline void outgoing_message::check() const {
  if (left_ > limits::body_bytes) fail(errc::payload_too_large, "the arguments or result of a call are over 64 GiB; send them in parts");
  if (head_.size() + header_bytes > limits::frame_bytes) {
    fail(errc::payload_too_large, "the arguments of a call have too many separate arrays or refs, over some 60,000; put them into one, or call in parts");
  }
}

template <class Head>
outgoing_message::outgoing_message(const Head& head, std::uint64_t stream, std::span<const payload_view> payloads)
    : type_(message_traits<Head>::type), stream_(stream) {
  byte_writer out(head_);
  message_traits<Head>::encode(head, out);
  body_layout layout;
  pieces_.reserve(2 * payloads.size());
  for (const payload_view& p : payloads) add(p, layout);
  check();
}

inline std::size_t outgoing_message::append_next(std::vector<std::byte>& out, std::size_t room) {
  const std::size_t fits = limits::frame_bytes - (begun_ ? 0 : head_.size());
  const std::size_t take = static_cast<std::size_t>(std::min<std::uint64_t>(left_, std::min(room, fits)));
  const bool last = take == left_;
  const std::size_t payload_bytes = take + (begun_ ? 0 : head_.size());
  const auto header = encode(frame_header{begun_ ? frame_type::data : type_, last ? std::uint8_t{0} : flag_more,
                                          static_cast<std::uint32_t>(payload_bytes), stream_});
  // Not by just so much: where many follow, each would move all that are there.
  const std::size_t end = out.size() + header.size() + payload_bytes;
  if (end > out.capacity()) out.reserve(std::max(end, 2 * out.capacity()));
  append(out, header);
  if (!begun_) append(out, head_);
  begun_ = true;
  left_ -= take;
  for (std::size_t open = take; open > 0;) {
    std::span<const std::byte>& piece = pieces_[piece_];
    const std::size_t n = std::min(open, piece.size());
    append(out, piece.first(n));
    piece = piece.subspan(n);
    open -= n;
    if (piece.empty()) ++piece_;
  }
  return take;
}

template <class Head>
bool append_whole(std::vector<std::byte>& out, const Head& head, std::uint64_t stream, std::span<const payload_view> payloads) {
  body_layout layout;
  for (const payload_view& p : payloads) {
    layout.place_stream(p.stream.size());
    for (const auto& segment : p.segments) layout.place_segment(segment.size());
  }
  if (layout.size_bytes() > limits::small_message_bytes) return false;
  const std::size_t begin = out.size();
  out.resize(begin + header_bytes);
  byte_writer to(out);
  message_traits<Head>::encode(head, to);
  const std::size_t body = out.size();
  const std::size_t payload_bytes = body + layout.size_bytes() - begin - header_bytes;
  if (payload_bytes > limits::small_message_bytes) {
    out.resize(begin);
    return false;
  }
  out.resize(body + layout.size_bytes());
  layout = {};
  const auto place = [&](std::span<const std::byte> part, std::uint64_t at) {
    if (!part.empty()) std::memcpy(out.data() + body + at, part.data(), part.size());
  };
  for (const payload_view& p : payloads) {
    place(p.stream, layout.place_stream(p.stream.size()));
    for (const auto& segment : p.segments) place(segment, layout.place_segment(segment.size()));
  }
  const auto header = encode(frame_header{message_traits<Head>::type, 0, static_cast<std::uint32_t>(payload_bytes), stream});
  std::memcpy(out.data() + begin, header.data(), header.size());
  return true;
}

template <class Head, class Body>
result<bool> incoming_message<Head, Body>::begin(const frame_header& header, std::span<const std::byte> in) {
  byte_reader read(in);
  auto head = message_traits<Head>::decode(read);
  if (!head) return head.code();
  head_ = std::move(*head);
  body_.begin(message_traits<Head>::shapes(head_));
  return add(header, read.rest());
}

template <class Head, class Body>
result<bool> incoming_message<Head, Body>::add(const frame_header& header, std::span<const std::byte> in) {
  if (header.type == frame_type::data && in.empty()) return errc::protocol_error;  // would never come to an end
  if (!body_.add(in)) return errc::protocol_error;
  const bool more = (header.flags & flag_more) != 0;
  if (more == body_.is_whole()) return errc::protocol_error;
  return !more;
}

inline buffer body_of(const payload_view& p) {
  const payload_shape shape = shape_of(p);
  buffer body(static_cast<std::size_t>(body_bytes({&shape, 1})));
  body_layout layout;
  const auto place = [&](std::span<const std::byte> part, std::uint64_t at) {
    if (!part.empty()) std::memcpy(body.data() + at, part.data(), part.size());
  };
  place(p.stream, layout.place_stream(p.stream.size()));
  for (const auto& segment : p.segments) place(segment, layout.place_segment(segment.size()));
  return body;
}

inline void view_payloads(std::span<const payload_shape> shapes, std::span<const std::byte> body,
                          std::vector<std::span<const std::byte>>& segments, std::span<payload_view> views) {
  std::size_t count = 0;
  for (const payload_shape& shape : shapes) count += shape.segment_bytes.size();
  segments.clear();
  segments.reserve(count);
  body_layout layout;
  const auto part = [&](std::uint64_t at, std::uint64_t size) {
    return body.subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(size));
  };
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    const payload_shape& shape = shapes[i];
    if (shape.kind != payload_kind::in_body) {
      views[i] = {};
      continue;
    }
    const std::uint64_t at = layout.place_stream(shape.stream_bytes);
    views[i].stream = shape.stream_bytes == 0 ? std::span<const std::byte>() : part(at, shape.stream_bytes);
    const std::size_t first = segments.size();
    for (const std::uint64_t size : shape.segment_bytes) segments.push_back(part(layout.place_segment(size), size));
    views[i].segments = std::span(segments).subspan(first);
  }
}

}  // namespace rh::wire
