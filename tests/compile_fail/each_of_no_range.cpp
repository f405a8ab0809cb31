// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: each() takes a range; a value that goes to every call is passed as it is
#include <runhouse/send.hpp>

int square(int a) { return a * a; }

void program(rh::cluster there) {
  auto square_there = there.send<&square>();
  auto call = square_there.map(rh::each(3));
}
