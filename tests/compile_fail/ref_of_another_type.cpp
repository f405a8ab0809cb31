// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: argument 1 does not convert to the function's parameter 1
#include <runhouse/send.hpp>

double half(double a) { return a / 2; }
int count();

void program(rh::cluster there) {
  auto half_there = there.send<&half>();
  auto call = half_there.remote(there.send<&count>().remote());
}
