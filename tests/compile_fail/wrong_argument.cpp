// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: argument 2 does not convert to the function's parameter 2
#include <runhouse/send.hpp>

double scaled(double x, int times) { return x * times; }

void program(rh::cluster there) {
  auto scaled_there = there.send<&scaled>();
  auto call = scaled_there(1.5, "three");
}
