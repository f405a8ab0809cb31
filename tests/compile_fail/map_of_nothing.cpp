// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: map needs a range to spread: mark it with rh::each(), or pass a range of the first parameter's type first
#include <runhouse/send.hpp>

int answer() { return 42; }

void program(rh::cluster there) {
  auto answer_there = there.send<&answer>();
  auto call = answer_there.map();
}
