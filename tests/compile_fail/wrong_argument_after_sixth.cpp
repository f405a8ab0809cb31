// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: an argument after the sixth does not convert to the function's parameter
#include <runhouse/send.hpp>

int sum(int a, int b, int c, int d, int e, int f, int g) { return a + b + c + d + e + f + g; }

void program(rh::cluster there) {
  auto sum_there = there.send<&sum>();
  auto call = sum_there(1, 2, 3, 4, 5, 6, "seven");
}
