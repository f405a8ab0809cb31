// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: put() takes a value that can be serialized; give its type a serialize() and a default constructor
#include <runhouse/send.hpp>

struct mesh {
  int* nodes;
};

void program(rh::cluster there) { auto kept = there.put(mesh()); }
