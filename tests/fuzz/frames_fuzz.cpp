// SPDX-License-Identifier: Apache-2.0
#include <runhouse/wire/frame_buffer.hpp>
#include <runhouse/wire/message_stream.hpp>

#include "fuzz/fuzz.hpp"

#include <algorithm>
#include <memory>
#include <random>
#include <utility>
#include <variant>

/// A stream of bytes that may be anything, in pieces of any size: the same frames come out of a frame_buffer as of the
/// whole stream, and a message that is put together from them can be sent on, cut differently, and arrives the same.
///
///     offset  bytes  field
///     0       1      1: what follows are frames, below; else it is the stream itself
///     1       1      largest piece of the stream that is received at a time, more of a long one; 0: all at once
///     2              frames: type u8, flags u8, n u16, the first n % 4096 bytes of the payload; n / 4096 times 16 KiB
///                    of zeros follow in the stream
namespace {

using namespace rh::wire;
using rh::errc;
using rh::result;

/// What mutated bytes alone would hardly ever be: frames with a magic number and the length that they have.
fuzz::bytes stream_of(fuzz::input& in) {
  fuzz::bytes stream;
  std::size_t zeros_left = 96 * 1024;  // longer streams only take longer
  while (!in.empty()) {
    frame_header header;
    header.type = static_cast<frame_type>(in.u8());
    header.flags = in.u8();
    header.stream = 1;
    const std::size_t n = in.u16();
    fuzz::bytes payload = in.take(n % 4096);
    const std::size_t zeros = std::min(n / 4096 * 16 * 1024, zeros_left);
    zeros_left -= zeros;
    payload.resize(payload.size() + zeros);
    append_frame(stream, header, payload);
  }
  return stream;
}

bool equal(const payload_view& a, const payload_view& b) {
  return fuzz::equal(a.stream, b.stream) &&
         std::equal(a.segments.begin(), a.segments.end(), b.segments.begin(), b.segments.end(),
                    [](const auto& x, const auto& y) { return fuzz::equal(x, y); });
}

/// Bodies are made on trust, so that here a longer one is none: address space is another test's.
constexpr std::uint64_t largest_body = 128 * 1024;

/// A message that is whole, with its payloads where they are.
template <class Head>
class arrived {
 public:
  explicit arrived(const incoming_message<Head>& message)
      : shapes_(message_traits<Head>::shapes(message.head())), views_(shapes_.size()) {
    fuzz::must(message.body().size() == body_bytes(shapes_), "a body is as long as its head says");
    view_payloads(shapes_, message.body().bytes(), segments_, views_);
  }
  std::span<const payload_view> views() const { return views_; }
  std::vector<payload_view> in_body() const {
    std::vector<payload_view> those;
    for (std::size_t i = 0; i < shapes_.size(); ++i) {
      if (shapes_[i].kind == payload_kind::in_body) those.push_back(views_[i]);
    }
    return those;
  }

 private:
  std::span<const payload_shape> shapes_;
  std::vector<std::span<const std::byte>> segments_;
  std::vector<payload_view> views_;
};

template <class Head>
void send_on(const incoming_message<Head>& message, std::size_t room) {
  const arrived first(message);
  outgoing_message out(message.head(), 1, first.in_body());
  incoming_message<Head> back;
  incoming_message<Head, incoming_payloads> taken_apart;
  for (bool begun = false; !out.done(); begun = true) {
    fuzz::bytes frame;
    out.append_next(frame, room);
    const auto header = decode_header(frame);
    fuzz::must(header && header->payload_bytes == frame.size() - header_bytes, "what is sent is a frame");
    const auto payload = std::span(frame).subspan(header_bytes);
    const result<bool> whole = begun ? back.add(*header, payload) : back.begin(*header, payload);
    fuzz::must(whole && *whole == out.done(), "a message that arrived can be sent on");
    const result<bool> same = begun ? taken_apart.add(*header, payload) : taken_apart.begin(*header, payload);
    fuzz::must(same && *same == *whole, "and taken apart");
  }
  const arrived second(back);
  fuzz::must(back.head() == message.head(), "a head arrives as it was");
  fuzz::must(std::equal(first.views().begin(), first.views().end(), second.views().begin(), second.views().end(),
                        [](const payload_view& a, const payload_view& b) { return equal(a, b); }),
             "payloads arrive as they were");
  std::vector<std::span<const std::byte>> segments;
  std::size_t at = 0;
  const std::vector<payload_view> sent = first.in_body();
  for (const shared_payload& p : std::move(taken_apart).take_body()) {
    if (p) fuzz::must(at < sent.size() && equal(view(*p, segments), sent[at++]), "each payload arrives by itself as it was");
  }
  fuzz::must(at == sent.size(), "all of them");
}

/// Puts the messages of a stream together, as long as its frames belong to them.
class receiver {
 public:
  explicit receiver(std::size_t room) : room_(room) {}

  void take(const frame& f) {
    const fuzz::bytes payload(f.payload.begin(), f.payload.end());
    if (f.header.type == frame_type::call) {
      begin<call_head>(f.header, payload);
    } else if (f.header.type == frame_type::outcome) {
      begin<outcome_head>(f.header, payload);
    } else if (f.header.type == frame_type::data && f.header.stream == stream_) {
      std::visit([&](auto& message) { add(message, f.header, payload); }, open_);
    }
  }

 private:
  struct none {};

  template <class Head>
  void begin(const frame_header& header, const fuzz::bytes& payload) {
    byte_reader read(payload);
    const auto head = message_traits<Head>::decode(read);
    if (head && body_bytes(message_traits<Head>::shapes(*head)) > largest_body) return;
    stream_ = header.stream;
    auto& message = open_.emplace<incoming_message<Head>>();
    const result<bool> whole = message.begin(header, payload);
    if (!head) fuzz::must(!whole, "a message begins with a head");
    go_on(message, whole);
  }
  template <class Head>
  void add(incoming_message<Head>& message, const frame_header& header, const fuzz::bytes& payload) {
    go_on(message, message.add(header, payload));
  }
  void add(none, const frame_header&, const fuzz::bytes&) {}

  template <class Head>
  void go_on(const incoming_message<Head>& message, const result<bool>& whole) {
    if (!whole) fuzz::must(whole.code() == errc::protocol_error, "the error is the protocol's");
    if (whole && *whole) send_on(message, room_);
    if (!whole || *whole) open_ = none();
  }

  std::size_t room_;
  std::uint64_t stream_ = 0;
  std::variant<none, incoming_message<call_head>, incoming_message<outcome_head>> open_;
};

/// The frames of a stream that has come whole, and the error behind them.
std::pair<std::vector<frame>, errc> frames_of(std::span<const std::byte> stream) {
  std::vector<frame> frames;
  for (;;) {
    const auto header = decode_header(stream);
    if (!header) return {frames, header.code()};
    fuzz::must(fuzz::equal(encode(*header), stream.first(header_bytes)),
               "a header is encoded to the bytes that it was decoded from");
    if (stream.size() - header_bytes < header->payload_bytes) return {frames, errc::truncated};
    frames.push_back({*header, stream.subspan(header_bytes, header->payload_bytes)});
    stream = stream.subspan(header_bytes + header->payload_bytes);
  }
}

// ---- seeds

struct sample {
  fuzz::bytes stream = fuzz::bytes(40, std::byte{1});
  fuzz::bytes segment = fuzz::bytes(100, std::byte{2});
};

/// The frames of a call of two payloads and of its outcome, cut to `room`.
std::vector<fuzz::bytes> sample_frames(std::size_t room) {
  const sample s;
  const std::span<const std::byte> segments[] = {s.segment};
  const payload_view payloads[] = {{std::span(s.stream).first(4), {}}, {s.stream, segments}};
  call_head call;
  call.function.offset = 0x1234;
  call.parameters = {shape_of(payloads[0]), shape_of(payloads[1])};
  outcome_head outcome;
  outcome.result = shape_of(payloads[1]);
  std::vector<fuzz::bytes> frames;
  for (outgoing_message out(call, 1, payloads); !out.done();) out.append_next(frames.emplace_back(), room);
  for (outgoing_message out(outcome, 1, std::span(payloads).subspan(1)); !out.done();) {
    out.append_next(frames.emplace_back(), room);
  }
  return frames;
}

}  // namespace

void fuzz::seeds(const std::function<void(const std::string& name, const bytes& input)>& add) {
  bytes whole{std::byte{0}, std::byte{0}};
  for (const bytes& frame : sample_frames(rh::limits::chunk_bytes)) append(whole, frame);
  add("stream", whole);

  bytes cut{std::byte{1}, std::byte{7}};
  for (const bytes& frame : sample_frames(50)) {
    const auto header = decode_header(frame);
    byte_writer out(cut);
    out.put(static_cast<std::uint8_t>(header->type));
    out.put(header->flags);
    out.put(static_cast<std::uint16_t>(header->payload_bytes));
    append(cut, std::span(frame).subspan(header_bytes));
  }
  add("frames", cut);

  bytes other{std::byte{1}, std::byte{0}};
  byte_writer out(other);
  const auto put = [&](std::uint8_t type, std::uint16_t n) {
    out.put(type);
    out.put(std::uint8_t{0});
    out.put(n);
  };
  put(0x80, 0xf000);  // over the buffer that a frame_buffer begins with
  put(static_cast<std::uint8_t>(frame_type::ping), 1);
  out.put(std::uint8_t{5});
  put(static_cast<std::uint8_t>(frame_type::data), 0);
  put(0x33, 0);
  add("no_messages", other);
}

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::input in(data, size);
  const bool framed = in.u8() == 1;
  const std::size_t largest_piece = in.u8();
  const fuzz::bytes stream = framed ? stream_of(in) : in.rest();
  const auto [frames, end] = frames_of(stream);

  const std::size_t pieces = largest_piece * (1 + stream.size() / 256);
  receiver messages(largest_piece == 0 ? rh::limits::chunk_bytes : 8 * largest_piece);
  frame_buffer buffer;
  std::minstd_rand chance(static_cast<unsigned>(largest_piece));
  std::size_t received = 0;
  std::size_t seen = 0;
  for (;;) {
    const bool has_next = buffer.has_next();
    const result<frame> next = buffer.next();
    fuzz::must(has_next == next.has_value(), "has_next() tells what next() does");
    if (next) {
      fuzz::must(seen < frames.size() && next->header == frames[seen].header &&
                     fuzz::equal(next->payload, frames[seen].payload),
                 "the frames are those of the stream");
      ++seen;
      messages.take(*next);
    } else if (next.code() == errc::truncated && received < stream.size()) {
      const std::span<std::byte> room = buffer.room();
      fuzz::must(!room.empty() && room.size() <= 4 * rh::limits::frame_bytes, "there is room, and not without end");
      std::size_t n = std::min(room.size(), stream.size() - received);
      if (pieces != 0) n = std::min(n, 1 + chance() % pieces);
      std::copy_n(stream.begin() + static_cast<std::ptrdiff_t>(received), n, room.begin());
      buffer.received(n);
      received += n;
    } else {
      fuzz::must(seen == frames.size() && next.code() == end,
                 "all frames come, and then the error that ends the stream");
      return 0;
    }
  }
}
