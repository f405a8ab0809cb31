// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: a function object without members is made anew where it runs; give it a default constructor
#include <runhouse/send.hpp>

struct negate {
  explicit negate(int) {}
  int operator()(int a) const { return -a; }
};

void program(rh::cluster there) {
  rh::send negate_there(negate(1), there);
  auto call = negate_there(42);
}
