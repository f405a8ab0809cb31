// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: too few arguments for the function (default arguments do not travel)
#include <runhouse/send.hpp>

int power(int base, int exponent = 2) { return exponent == 0 ? 1 : base * power(base, exponent - 1); }

void program(rh::cluster there) {
  auto power_there = there.send<&power>();
  auto call = power_there(3);
}
