// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: a function takes values, not rh::ref; let it take the T, and pass the rh::ref<T> to the send
#include <runhouse/send.hpp>

int half(const rh::ref<int>& a) { return a.get() / 2; }

void program(rh::cluster there) {
  auto half_there = there.send<&half>();
  auto call = half_there(there.put(42));
}
