// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/limits.hpp>
#include <runhouse/os/memory_file.hpp>
#include <runhouse/wire/bytes.hpp>
#include <runhouse/wire/message.hpp>
#include <runhouse/wire/payload.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace rh::wire {

/// A message's body on its way in, as it is: for who views the payloads in it.
class incoming_buffer {
 public:
  using value_type = buffer;
  /// `shapes` are the message's. The pages of a body that never comes are never touched: a lying length costs address
  /// space, not memory. Errors: std::bad_alloc.
  void begin(std::span<const payload_shape> shapes) {
    body_ = buffer(static_cast<std::size_t>(body_bytes(shapes)));
    filled_ = 0;
  }
  /// The next of it. False if that is more than was announced.
  bool add(std::span<const std::byte> in) {
    if (in.size() > body_.size() - filled_) return false;
    if (!in.empty()) std::memcpy(body_.data() + filled_, in.data(), in.size());
    filled_ += in.size();
    return true;
  }
  bool is_whole() const noexcept { return filled_ == body_.size(); }
  /// Precondition for both: is_whole().
  const buffer& value() const noexcept { return body_; }
  buffer take() && noexcept { return std::move(body_); }

 private:
  buffer body_;
  std::size_t filled_ = 0;
};

/// A message's body on its way in, taken apart into its payloads: for who keeps them. What is large goes into memory
/// files at once, so that it is copied once, and passed on without its bytes; but not too many of one message, and not
/// all that this process can have.
class incoming_payloads {
 public:
  /// One for each shape, null where that is not in the body.
  using value_type = std::vector<shared_payload>;
  /// As for incoming_buffer.
  void begin(std::span<const payload_shape> shapes);
  /// Where it throws, the same bytes can be added again. Errors: std::bad_alloc.
  bool add(std::span<const std::byte> in);
  bool is_whole() const noexcept { return at_ == size_; }
  /// Precondition: is_whole(). Errors: std::bad_alloc.
  value_type take() &&;

 private:
  static constexpr std::size_t is_stream = ~std::size_t{0};
  /// A stream or a segment.
  struct piece {
    std::uint64_t at;  // in the body
    std::uint64_t size_bytes;
    std::size_t of;       // payloads_
    std::size_t segment;  // of that one; or is_stream
    std::uint64_t file_at;
  };
  struct landing {
    std::shared_ptr<payload> memory;  // null: not in the body
    std::shared_ptr<os::memory_file> file;
    payload_file filed;
  };
  void begin_payload(const payload_shape& shape, body_layout& layout);
  void put(const piece& to, std::uint64_t from, std::span<const std::byte> bytes);

  std::vector<landing> payloads_;
  std::size_t files_ = 0;
  std::vector<piece> pieces_;  // none is empty; between them, and behind the last, may be padding
  std::size_t piece_ = 0;
  std::uint64_t at_ = 0;
  std::uint64_t size_ = 0;
};

// ---- implementation

inline void incoming_payloads::begin(std::span<const payload_shape> shapes) {
  *this = {};
  payloads_.reserve(shapes.size());
  body_layout layout;
  for (const payload_shape& shape : shapes) {
    payloads_.emplace_back();
    if (shape.kind == payload_kind::in_body) begin_payload(shape, layout);
  }
  size_ = layout.size_bytes();
}

inline void incoming_payloads::begin_payload(const payload_shape& shape, body_layout& layout) {
  landing& to = payloads_.back();
  to.memory = std::make_shared<payload>();
  payload_file filed{nullptr, shape.stream_bytes, shape.segment_bytes};
  const bool may_be_file = files_ < limits::memory_files_of_message && os::memory_file::count() < limits::memory_files / 2;
  if (filed.size_bytes() >= limits::memory_file_bytes && may_be_file) to.file = os::memory_file::try_make();
  const std::uint64_t stream_in_file = filed.size_bytes() - shape.stream_bytes;
  const auto expect = [&](std::uint64_t at, std::uint64_t size, std::size_t segment, std::uint64_t file_at) {
    if (size != 0) pieces_.push_back({at, size, payloads_.size() - 1, segment, file_at});
  };
  expect(layout.place_stream(shape.stream_bytes), shape.stream_bytes, is_stream, stream_in_file);
  std::uint64_t file_at = 0;
  for (std::size_t i = 0; i < shape.segment_bytes.size(); ++i) {
    const std::uint64_t size = shape.segment_bytes[i];
    file_at = (file_at + 63) / 64 * 64;
    expect(layout.place_segment(size), size, i, file_at);
    file_at += size;
  }
  if (to.file) {
    to.filed = std::move(filed);
    ++files_;
    return;
  }
  // What has not come is not touched.
  to.memory->stream.reserve(static_cast<std::size_t>(std::min<std::uint64_t>(shape.stream_bytes, limits::memory_file_bytes)));
  to.memory->segments.resize(shape.segment_bytes.size());
}

inline bool incoming_payloads::add(std::span<const std::byte> in) {
  if (in.size() > size_ - at_) return false;
  std::uint64_t now = at_;
  std::size_t at = piece_;
  while (!in.empty()) {
    const std::uint64_t begin = at == pieces_.size() ? size_ : pieces_[at].at;
    const std::uint64_t end = now < begin ? begin : begin + pieces_[at].size_bytes;
    const auto part = in.first(static_cast<std::size_t>(std::min<std::uint64_t>(end - now, in.size())));
    if (now >= begin) put(pieces_[at], now - begin, part);
    in = in.subspan(part.size());
    now += part.size();
    if (now == end && end != begin) ++at;
  }
  at_ = now;
  piece_ = at;
  return true;
}

inline void incoming_payloads::put(const piece& to, std::uint64_t from, std::span<const std::byte> bytes) {
  const landing& at = payloads_[to.of];
  if (at.file) {
    at.file->write(bytes, to.file_at + from);
  } else if (to.segment == is_stream) {
    at.memory->stream.resize(static_cast<std::size_t>(from));
    append(at.memory->stream, bytes);
  } else {
    buffer& segment = at.memory->segments[to.segment];
    if (from == 0) segment = buffer(static_cast<std::size_t>(to.size_bytes));
    std::memcpy(segment.data() + from, bytes.data(), bytes.size());
  }
}

inline incoming_payloads::value_type incoming_payloads::take() && {
  value_type all;
  all.reserve(payloads_.size());
  for (landing& each : payloads_) {
    if (each.file) {
      constexpr std::byte last{};
      const std::uint64_t size = each.filed.size_bytes();
      if (each.file->size_bytes() < size) each.file->write({&last, 1}, size - 1);  // it ends with padding
      each.file->seal();
      each.filed.file = std::move(each.file);
      each.memory->file = std::make_shared<const payload_file>(std::move(each.filed));
    }
    all.push_back(std::move(each.memory));
  }
  return all;
}

}  // namespace rh::wire
