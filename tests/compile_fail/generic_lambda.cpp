// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: the parameter types of a generic lambda, an overloaded operator() or a variadic function are not known; send one with definite types
#include <runhouse/send.hpp>

void program(rh::cluster there) {
  rh::send twice([](auto a) { return a + a; }, there);
  auto call = twice(21);
}
