// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: too many arguments for the function
#include <runhouse/send.hpp>

int half(int a) { return a / 2; }

void program(rh::cluster there) {
  auto half_there = there.send<&half>();
  auto call = half_there(3, 4);
}
