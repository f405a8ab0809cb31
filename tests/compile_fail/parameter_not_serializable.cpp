// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: a parameter cannot be serialized; give its type a serialize() and a default constructor
#include <runhouse/send.hpp>

struct settings {
  int depth;
};
int run(settings s) { return s.depth; }

void program(rh::cluster there) {
  auto run_there = there.send<&run>();
  auto call = run_there(settings{3});
}
