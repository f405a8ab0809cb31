// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <span>
#include <string>
#include <vector>

/// What a fuzz target defines. libFuzzer calls it with bytes of its own making, replay.cpp with those of the corpus.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

/// What the fuzz targets share.
namespace fuzz {

using bytes = std::vector<std::byte>;

/// Also defined by each target: the inputs to start from, each with the name of its file in the corpus.
void seeds(const std::function<void(const std::string& name, const bytes& input)>& add);

/// Ends the program, which is how a target fails, unless `holds`.
inline void must(bool holds, const char* what_must_hold) {
  if (holds) return;
  std::fprintf(stderr, "this must hold: %s\n", what_must_hold);
  std::abort();
}

inline bool equal(std::span<const std::byte> a, std::span<const std::byte> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

/// Takes an input apart; past its end there are zeros.
class input {
 public:
  input(const std::uint8_t* data, std::size_t size) : left_(std::as_bytes(std::span(data, size))) {}

  std::uint8_t u8() { return number<std::uint8_t>(); }
  std::uint16_t u16() { return number<std::uint16_t>(); }
  /// At most `n` bytes, in memory of exactly their size, so that ASan sees its end.
  bytes take(std::size_t n) {
    const auto taken = left_.first(n < left_.size() ? n : left_.size());
    left_ = left_.subspan(taken.size());
    return bytes(taken.begin(), taken.end());
  }
  bytes rest() { return take(left_.size()); }
  bool empty() const { return left_.empty(); }

 private:
  template <class T>
  T number() {
    T value = 0;
    const bytes taken = take(sizeof value);
    if (!taken.empty()) std::memcpy(&value, taken.data(), taken.size());
    return value;
  }

  std::span<const std::byte> left_;
};

}  // namespace fuzz
