// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: a function returns a value, not rh::ref; call it with .remote(), which leaves the value there
#include <runhouse/send.hpp>

rh::ref<int> keep(int a);

void program(rh::cluster there) {
  auto keep_there = there.send<&keep>();
  auto call = keep_there(42);
}
