// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/config.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rh::wire {

/// As append() of many bytes: not inlined, as g++ 12 sees an overflow in it then that is not there.
[[gnu::noinline]] inline void append_many(std::vector<std::byte>& out, std::span<const std::byte> bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); }

/// Puts bytes at the end.
inline void append(std::vector<std::byte>& out, std::span<const std::byte> bytes) {
  constexpr std::size_t few = 4096;
  if (bytes.size() > few) return append_many(out, bytes);  // which are not cleared before
  if (bytes.empty()) return;
  const std::size_t at = out.size();
  out.resize(at + bytes.size());
  std::memcpy(out.data() + at, bytes.data(), bytes.size());
}

/// Appends little-endian fields to a vector.
class byte_writer {
 public:
  explicit byte_writer(std::vector<std::byte>& out) noexcept : out_(&out), begin_(out.size()) {}

  template <std::unsigned_integral T>
  void put(T value) {
    put(std::as_bytes(std::span(&value, 1)));
  }
  void put(std::span<const std::byte> bytes) {
    append(*out_, bytes);
  }
  /// u32 length, then the bytes.
  void put_text(std::string_view text) {
    put(static_cast<std::uint32_t>(text.size()));
    put(std::as_bytes(std::span(text.data(), text.size())));
  }
  /// Zeros up to a multiple of `alignment`, counted from where this writer began.
  void pad(std::size_t alignment) {
    const std::size_t over = (out_->size() - begin_) % alignment;
    if (over != 0) out_->resize(out_->size() + alignment - over);
  }

 private:
  std::vector<std::byte>* out_;
  std::size_t begin_;
};

/// Reads what byte_writer wrote from bytes that may be hostile: after the first read past the end every read gives
/// zero and ok() is false. Never throws but for std::bad_alloc in text().
class byte_reader {
 public:
  explicit byte_reader(std::span<const std::byte> in) noexcept : in_(in) {}

  template <std::unsigned_integral T>
  T get() noexcept {
    T value = 0;
    const auto bytes = take(sizeof value);
    if (bytes.size() == sizeof value) std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }
  std::span<const std::byte> take(std::size_t n) noexcept {
    if (!ok_ || n > in_.size() - at_) {
      ok_ = false;
      return {};
    }
    const auto bytes = in_.subspan(at_, n);
    at_ += n;
    return bytes;
  }
  std::string text() {
    const auto bytes = take(get<std::uint32_t>());
    return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  void pad(std::size_t alignment) noexcept {
    if (at_ % alignment != 0) take(alignment - at_ % alignment);
  }
  bool ok() const noexcept { return ok_; }
  std::size_t left() const noexcept { return ok_ ? in_.size() - at_ : 0; }
  std::span<const std::byte> rest() noexcept { return take(left()); }

 private:
  std::span<const std::byte> in_;
  std::size_t at_ = 0;
  bool ok_ = true;
};

}  // namespace rh::wire
