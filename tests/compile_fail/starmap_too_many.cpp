// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: the elements of starmap's tuples and the arguments after them do not fit the function's parameters
#include <runhouse/send.hpp>

int scaled(int a, int factor) { return a * factor; }

void program(rh::cluster there) {
  auto scaled_there = there.send<&scaled>();
  std::vector<std::tuple<int, int, int>> triples{{1, 2, 3}};
  auto call = scaled_there.starmap(triples);
}
