// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: a lambda that captures cannot be sent; pass the value as an argument, or make it a struct with serialize()
#include <runhouse/send.hpp>

void program(rh::cluster there) {
  int factor = 3;
  rh::send scaled([factor](int a) { return a * factor; }, there);
  auto call = scaled(14);
}
