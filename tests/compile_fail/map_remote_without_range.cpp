// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: map needs a range to spread: mark it with rh::each(), or pass a range of the first parameter's type first
#include <runhouse/send.hpp>

int half(int a) { return a / 2; }

void program(rh::cluster there) {
  auto half_there = there.send<&half>();
  auto refs = half_there.map_remote(42);
}
