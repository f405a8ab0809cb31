// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: an argument of map, or an element of a range that it spreads, does not convert to the function's parameter
#include <runhouse/send.hpp>

int scaled(int a, int factor) { return a * factor; }

void program(rh::cluster there) {
  auto scaled_there = there.send<&scaled>();
  std::vector<int> numbers{1, 2};
  auto call = scaled_there.map(numbers, "three");
}
