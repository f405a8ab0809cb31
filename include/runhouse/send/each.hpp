// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/config.hpp>

#include <iterator>
#include <ranges>
#include <type_traits>
#include <utility>

namespace rh {

/// A range that map spreads over its calls, one element each.
template <std::ranges::input_range Range>
struct spread {
  Range range;
};

/// Marks an argument of map to be spread: `f.map(scene, rh::each(frames), 64)`. Everything else goes to every call.
template <std::ranges::viewable_range Range>
auto each(Range&& range) {
  static_assert(!std::is_same_v<std::ranges::sentinel_t<Range>, std::unreachable_sentinel_t>,
                "runhouse: this range has no end; give each() a finite one, for instance std::views::iota(0, n)");
  return spread<std::views::all_t<Range>>{std::views::all(std::forward<Range>(range))};
}

namespace detail {
template <class T>
inline constexpr bool is_spread = false;
template <class Range>
inline constexpr bool is_spread<spread<Range>> = true;
}  // namespace detail

}  // namespace rh
