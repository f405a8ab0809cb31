// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/wire/hash.hpp>
#include <runhouse/wire/raw.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <typeinfo>

namespace rh::detail {

/// FNV-1a with 128 bits: the offset basis and prime of its specification (draft-eastlake-fnv).
class fnv128 {
 public:
  // Not inlined: what a file with many sends does with it would be compiled for each type of each of them.
  [[gnu::noinline]] void add(std::string_view bytes) noexcept {
    for (const char c : bytes) {
      value_ ^= static_cast<unsigned char>(c);
      value_ *= prime;
    }
  }
  [[gnu::noinline]] void add(std::uint64_t number) noexcept {
    for (int shift = 0; shift < 64; shift += 8) {
      value_ ^= (number >> shift) & 0xff;
      value_ *= prime;
    }
  }
  wire::hash128 bytes() const noexcept {
    wire::hash128 out;
    std::memcpy(out.data(), &value_, sizeof value_);
    return out;
  }

 private:
  __extension__ using uint128 = unsigned __int128;
  static constexpr uint128 prime = uint128{0x0000000001000000} << 64 | 0x000000000000013b;
  uint128 value_ = uint128{0x6c62272e07bb0142} << 64 | 0x62b821756295c58d;
};

/// The layout of a raw type, and of those that a standard template is made of; a name does not tell it.
template <class T>
struct layout {
  static void add(fnv128& hash) {
    if constexpr (is_raw_v<T>) {
      hash.add(std::uint64_t{sizeof(T)});
      hash.add(std::uint64_t{alignof(T)});
    }
  }
};
template <template <class...> class Template, class... T>
  requires(!is_raw_v<Template<T...>>)
struct layout<Template<T...>> {
  static void add(fnv128& hash) { (layout<std::remove_cvref_t<T>>::add(hash), ...); }
};
template <class T, std::size_t N>
  requires(!is_raw_v<T>)
struct layout<std::array<T, N>> : layout<T> {};
template <class T, std::size_t N>
struct layout<std::span<T, N>> : layout<std::remove_const_t<T>> {};

/// What the two sides compare before a call runs: the mangled R(A...), and the layout of raw types among them.
template <class R, class... A>
wire::hash128 signature_hash(std::type_identity<R(A...)>) {
  fnv128 hash;
  hash.add(typeid(R(A...)).name());
  layout<std::remove_cvref_t<R>>::add(hash);
  (layout<std::remove_cvref_t<A>>::add(hash), ...);
  return hash.bytes();
}

}  // namespace rh::detail
