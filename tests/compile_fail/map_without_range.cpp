// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: map needs a range to spread: mark it with rh::each(), or pass a range of the first parameter's type first
#include <runhouse/send.hpp>

int square(int a) { return a * a; }

void program(rh::cluster there) {
  auto square_there = there.send<&square>();
  auto call = square_there.map(3);
}
