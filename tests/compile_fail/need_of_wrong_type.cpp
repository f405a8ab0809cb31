// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: what the calls of a send need is given as rh::gpus, rh::cpus, rh::memory, rh::resource, rh::env and
// rh::cwd
#include <runhouse/send.hpp>

int add(int a, int b) {
  return a + b;
}

void program(rh::cluster there) {
  auto f = there.send<&add>(1);
}
