// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: to send a std::set, include <cereal/types/set.hpp>
#include <runhouse/send.hpp>

#include <set>

std::vector<std::set<int>> divisors(int number) { return {{1, number}}; }

void program(rh::cluster there) {
  auto divisors_there = there.send<&divisors>();
  auto call = divisors_there(6);
}
