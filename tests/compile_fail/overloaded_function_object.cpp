// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: the parameter types of a generic lambda, an overloaded operator() or a variadic function are not known; send one with definite types
#include <runhouse/send.hpp>

struct twice {
  int operator()(int a) const { return 2 * a; }
  double operator()(double a) const { return 2 * a; }
};

void program(rh::cluster there) {
  rh::send twice_there(twice(), there);
  auto call = twice_there(21);
}
