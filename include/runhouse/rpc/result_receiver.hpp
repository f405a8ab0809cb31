// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/limits.hpp>
#include <runhouse/os/pages.hpp>
#include <runhouse/wire/incoming_body.hpp>
#include <runhouse/wire/payload.hpp>
#include <runhouse/wire/raw.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <utility>

namespace rh::detail {

/// What a caller gets, filled while its bytes come: so there is no second copy of a large result, nor a wait for it.
class result_receiver {
 public:
  virtual ~result_receiver() = default;
  /// Makes room for `count` elements, which are so many bytes in all. False if they cannot be. Errors: std::bad_alloc.
  virtual bool begin(std::uint64_t count, std::uint64_t size_bytes) = 0;
  /// The next bytes. Precondition: not more than were announced.
  virtual void add(std::span<const std::byte> in) noexcept = 0;
  /// The value, of the type that the receiver was made for.
  virtual void* value() noexcept = 0;
};

/// Makes one for the type that a caller wants.
using receiver_maker = std::unique_ptr<result_receiver> (*)();

/// For a vector or a string of raw elements, whose memory is its own.
template <class Container>
class array_receiver final : public result_receiver {
 public:
  bool begin(std::uint64_t count, std::uint64_t size_bytes) override {
    if (size_bytes % sizeof(element) != 0 || size_bytes / sizeof(element) != count) return false;
    value_.reserve(static_cast<std::size_t>(count));
    return true;
  }
  /// Those that are not aligned, or no whole elements, by way of part_; by few at a time, so that they are in the cache
  /// when they are copied again.
  void add(std::span<const std::byte> in) noexcept override {
    while (!in.empty()) {
      if (filled_ == 0 && in.size() >= sizeof(element) && reinterpret_cast<std::uintptr_t>(in.data()) % alignof(element) == 0) {
        const std::size_t whole = in.size() / sizeof(element);
        add_elements(reinterpret_cast<const element*>(in.data()), whole);
        in = in.subspan(whole * sizeof(element));
        continue;
      }
      const auto now = in.first(std::min(in.size(), part_.size() - filled_));
      std::memcpy(part_.data() + filled_, now.data(), now.size());
      in = in.subspan(now.size());
      filled_ += now.size();
      const auto* const elements = reinterpret_cast<const element*>(part_.data());
      const std::size_t whole = filled_ / sizeof(element);
      add_elements(elements, whole);
      filled_ -= whole * sizeof(element);
      std::memmove(part_.data(), elements + whole, filled_);
    }
  }
  void* value() noexcept override { return &value_; }

 private:
  using element = typename Container::value_type;
  void add_elements(const element* elements, std::size_t count) noexcept {
    provide(count);
    value_.insert(value_.end(), elements, elements + count);
  }
  /// Memory for so many more elements, and some of those that follow.
  void provide(std::size_t count) noexcept {
    if (value_.size() + count <= provided_) return;
    const std::size_t more = std::min(std::max(count, provided_bytes / sizeof(element)), value_.capacity() - value_.size());
    os::provide_pages(value_.data() + value_.size(), more * sizeof(element));
    provided_ = value_.size() + more;
  }

  static constexpr std::size_t provided_bytes = 256 * 1024;
  static constexpr std::size_t part_bytes = std::max<std::size_t>(16 * 1024, sizeof(element));
  Container value_;
  alignas(64) std::array<std::byte, part_bytes> part_;
  std::size_t filled_ = 0;  // bytes of part_
  std::size_t provided_ = 0;  // elements, whose memory is there
};

template <class R>
std::unique_ptr<result_receiver> make_receiver() {
  return std::make_unique<array_receiver<R>>();
}
/// Null where results of this type are not received so.
template <class R>
constexpr receiver_maker receiver_of() noexcept {
  if constexpr (wire::is_own_raw_array<R>) {
    return &make_receiver<R>;
  } else {
    return nullptr;
  }
}

/// An outcome's body on its way in: a large array goes to a receiver, all else into a buffer.
class incoming_result {
 public:
  struct value_type {
    wire::buffer body;
    std::unique_ptr<result_receiver> received;  // null: it is in the body
  };
  incoming_result() = default;
  /// Null: nothing goes to a receiver.
  explicit incoming_result(receiver_maker make) noexcept : make_(make) {}
  /// As for incoming_buffer.
  void begin(std::span<const wire::payload_shape> shapes);
  /// Where it throws, the same bytes can be added again. Errors: std::bad_alloc.
  bool add(std::span<const std::byte> in);
  bool is_whole() const noexcept { return received_ ? at_ == size_ : all_.is_whole(); }
  /// Precondition: is_whole().
  value_type take() && { return {std::move(all_).take(), std::move(received_)}; }

 private:
  using count_type = std::uint64_t;
  void begin_elements();

  receiver_maker make_ = nullptr;
  wire::incoming_buffer all_;
  std::unique_ptr<result_receiver> received_;
  wire::payload_shape shape_;
  std::array<std::byte, 64> front_{};  // what is before the elements: how many there are
  std::uint64_t elements_at_ = 0;
  std::uint64_t at_ = 0;
  std::uint64_t size_ = 0;
};

// ---- implementation

inline void incoming_result::begin(std::span<const wire::payload_shape> shapes) {
  if (make_ != nullptr && shapes.size() == 1) {
    const wire::payload_shape& shape = shapes.front();
    const bool is_array = shape.kind == wire::payload_kind::in_body && shape.stream_bytes == sizeof(count_type) && shape.segment_bytes.size() == 1;
    if (is_array && shape.segment_bytes.front() >= limits::memory_file_bytes) {
      wire::body_layout layout;
      layout.place_stream(shape.stream_bytes);
      elements_at_ = layout.place_segment(shape.segment_bytes.front());
      size_ = layout.size_bytes();
      shape_ = shape;
      received_ = make_();
      return;
    }
  }
  all_.begin(shapes);
}

inline bool incoming_result::add(std::span<const std::byte> in) {
  if (!received_) return all_.add(in);
  if (in.size() > size_ - at_) return false;
  std::uint64_t now = at_;
  if (now < elements_at_) {
    const auto front = in.first(static_cast<std::size_t>(std::min<std::uint64_t>(in.size(), elements_at_ - now)));
    if (!front.empty()) std::memcpy(front_.data() + now, front.data(), front.size());
    now += front.size();
    if (now == elements_at_) begin_elements();
    if (!received_) return all_.add(in);
    in = in.subspan(front.size());
  }
  if (!in.empty()) received_->add(in);
  at_ = now + in.size();
  return true;
}

/// All that is before the elements has come. What is no such array goes into a buffer, for the decoder to say what is wrong.
inline void incoming_result::begin_elements() {
  count_type count = 0;
  std::memcpy(&count, front_.data(), sizeof count);
  if (received_->begin(count, shape_.segment_bytes.front())) return;
  all_.begin({&shape_, 1});
  all_.add(std::span(front_).first(static_cast<std::size_t>(at_)));
  received_.reset();
}

}  // namespace rh::detail
