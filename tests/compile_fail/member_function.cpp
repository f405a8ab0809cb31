// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: a member function cannot be sent; send a free function that takes the object, or a function object
#include <runhouse/send.hpp>

struct counter {
  int from;
  int next(int step) const { return from + step; }
};

void program(rh::cluster there) {
  auto next_there = there.send<&counter::next>();
  auto call = next_there(counter{1}, 2);
}
