// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: too many arguments for the function that map calls
#include <runhouse/send.hpp>

int square(int a) { return a * a; }

void program(rh::cluster there) {
  auto square_there = there.send<&square>();
  std::vector<int> numbers{1, 2};
  auto call = square_there.map(numbers, 3);
}
