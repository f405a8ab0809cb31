// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: an argument of map, or an element of a range that it spreads, does not convert to the function's parameter
#include <runhouse/send.hpp>

int square(int a) { return a * a; }

void program(rh::cluster there) {
  auto square_there = there.send<&square>();
  std::vector<std::string> words{"one", "two"};
  auto call = square_there.map(rh::each(words));
}
