// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: a coroutine cannot be sent; return the value itself
#include <runhouse/send.hpp>

rh::task<int> half(int a) { co_return a / 2; }

void program(rh::cluster there) {
  auto half_there = there.send<&half>();
  auto call = half_there(42);
}
