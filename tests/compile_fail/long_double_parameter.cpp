// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: long double is not the same on all machines; take and return double
#include <runhouse/send.hpp>

long double root(long double a) { return a / 2; }

void program(rh::cluster there) {
  auto root_there = there.send<&root>();
  auto call = root_there(2.0L);
}
