// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: a std::stop_token must be the last parameter; move it there
#include <runhouse/send.hpp>

int search(std::stop_token stop, int from) { return stop.stop_requested() ? 0 : from; }

void program(rh::cluster there) {
  auto search_there = there.send<&search>();
  auto call = search_there(42);
}
