// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/wire/detail/type_name.hpp>
#include <runhouse/wire/raw.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace rh::wire {

namespace detail {
template <class T>
consteval std::size_t min_encoded();
}

/// A lower bound of the bytes, in the stream and in segments, that any T encodes to; 0 where nothing is known.
/// It is what bounds an announced count before anything is allocated.
template <class T>
inline constexpr std::size_t min_encoded_bytes = detail::min_encoded<std::remove_cv_t<T>>();

namespace detail {

/// Of namespace std, with elements that are counted by a leading size: vector, list, map, string ...
template <class T>
concept std_container = in_std<T> && (requires { typename T::allocator_type; typename T::value_type; } ||
                                      requires(const T& t) { typename T::value_type; t.cshift(0); });

template <class T>
concept counted_container = std_container<T> && !is_raw_array<T>;

template <class T>
inline constexpr bool is_optional = false;
template <class T>
inline constexpr bool is_optional<std::optional<T>> = true;

template <class T>
concept std_array = in_std<T> && requires { std::tuple_size<T>::value; typename T::value_type; };
template <class T>
concept tuple_like = in_std<T> && !std_array<T> && requires { std::tuple_size<T>::value; };

template <class T>
consteval std::size_t min_encoded() {
  if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T> || is_raw_v<T>) {
    return sizeof(T);
  } else if constexpr (std_container<T>) {
    return sizeof(std::uint64_t);
  } else if constexpr (is_optional<T>) {
    return 1;
  } else if constexpr (std_array<T>) {
    return min_encoded_bytes<typename T::value_type> * std::tuple_size_v<T>;
  } else if constexpr (tuple_like<T>) {
    return []<std::size_t... I>(std::index_sequence<I...>) {
      return (min_encoded_bytes<std::tuple_element_t<I, T>> + ... + std::size_t{0});
    }(std::make_index_sequence<std::tuple_size_v<T>>{});
  } else if constexpr (in_std<T> && requires(const T& t) { typename T::element_type; t.get(); }) {
    return std::is_polymorphic_v<typename T::element_type> ? 4 : 1;  // unique_ptr, shared_ptr
  } else if constexpr (in_std<T> && requires(const T& t) { t.valueless_by_exception(); }) {
    return 4;  // variant
  } else {
    return 0;
  }
}

/// The containers being encoded or decoded, innermost last: each element must take at least one byte, or a few bytes
/// could announce work without end.
class element_counts {
 public:
  void enter(std::size_t min_element_bytes) { open_.push_back({0, 0, std::max<std::size_t>(min_element_bytes, 1), false}); }

  /// The least that an element of the next announced count takes.
  std::size_t min_element_bytes() const noexcept {
    return open_.empty() || open_.back().counted ? 1 : open_.back().min_element_bytes;
  }
  /// A count was read or written, and the elements begin at `position`.
  void count(std::uint64_t elements, std::uint64_t position) noexcept {
    if (open_.empty() || open_.back().counted) return;
    open_.back().elements = elements;
    open_.back().begin = position;
    open_.back().counted = true;
  }
  /// Leaves the container; false if its elements took fewer bytes than there are elements.
  bool leave(std::uint64_t position) noexcept {
    const entry last = open_.back();
    open_.pop_back();
    return position - last.begin >= last.elements;
  }

 private:
  struct entry {
    std::uint64_t elements;
    std::uint64_t begin;
    std::size_t min_element_bytes;
    bool counted;
  };
  std::vector<entry> open_;
};

}  // namespace detail
}  // namespace rh::wire
