// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: a function object with members needs a serialize() to be sent, which takes them along; give it one
#include <runhouse/send.hpp>

struct scale {
  double factor;
  double operator()(double a) const { return factor * a; }
};

void program(rh::cluster there) {
  rh::send scaled(scale{2}, there);
  auto call = scaled(21.0);
}
