// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: to send a std::map, include <cereal/types/map.hpp>
#include <runhouse/send.hpp>

#include <map>
#include <string>

int count(const std::map<std::string, int>& words) { return static_cast<int>(words.size()); }

void program(rh::cluster there) {
  auto count_there = there.send<&count>();
  auto call = count_there(std::map<std::string, int>{});
}
