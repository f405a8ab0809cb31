// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: starmap needs a range of tuples as its first argument
#include <runhouse/send.hpp>

int scaled(int a, int factor) { return a * factor; }

void program(rh::cluster there) {
  auto scaled_there = there.send<&scaled>();
  std::vector<int> numbers{1, 2};
  auto call = scaled_there.starmap(numbers, 3);
}
