// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: the parameter types of a generic lambda, an overloaded operator() or a variadic function are not known; send one with definite types
#include <runhouse/send.hpp>

int sum(int count, ...) { return count; }

void program(rh::cluster there) {
  auto sum_there = there.send<&sum>();
  auto call = sum_there(1, 2);
}
