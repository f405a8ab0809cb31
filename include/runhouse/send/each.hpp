// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/config.hpp>

#include <concepts>
#include <iterator>
#include <ranges>
#include <utility>

namespace rh {

/// A range that map spreads over its calls, one element each.
template <std::ranges::input_range Range>
struct spread {
  Range range;
};

namespace detail {

template <class T>
inline constexpr bool is_spread = false;
template <class Range>
inline constexpr bool is_spread<spread<Range>> = true;

/// What each() gives where it has refused its argument, so that map has nothing to add.
struct refused_range {};

template <class Range>
concept endless = std::same_as<std::ranges::sentinel_t<Range>, std::unreachable_sentinel_t>;

}  // namespace detail

/// Marks an argument of map to be spread: `f.map(scene, rh::each(frames), 64)`. Everything else goes to every call.
/// An lvalue is referred to, and so must live until map returns.
template <class Range>
auto each(Range&& range) {
  constexpr bool is_range = std::ranges::viewable_range<Range> && std::ranges::input_range<Range>;
  constexpr bool is_finite = [] {
    if constexpr (is_range) {
      return !detail::endless<Range>;
    } else {
      return true;
    }
  }();
  static_assert(is_range, "runhouse: each() takes a range; a value that goes to every call is passed as it is");
  static_assert(is_finite,
                "runhouse: this range has no end; give each() a finite one, for instance std::views::iota(0, n)");
  if constexpr (is_range && is_finite) {
    return spread<std::views::all_t<Range>>{std::views::all(std::forward<Range>(range))};
  } else {
    return detail::refused_range();
  }
}

}  // namespace rh
