// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: a pointer does not name its function; write cluster.send<&function>() in place of rh::send(&function, cluster)
#include <runhouse/send.hpp>

int half(int a) { return a / 2; }

void program(rh::cluster there) {
  rh::send half_there(&half, there);
  auto call = half_there(42);
}
