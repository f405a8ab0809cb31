// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: this range has no end; give each() a finite one, for instance std::views::iota(0, n)
#include <runhouse/send.hpp>

#include <ranges>

int square(int a) { return a * a; }

void program(rh::cluster there) {
  auto square_there = there.send<&square>();
  auto call = square_there.map(rh::each(std::views::iota(0)));
}
