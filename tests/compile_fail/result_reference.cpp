// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: a function that returns a reference or a pointer cannot be sent; return a value
#include <runhouse/send.hpp>

const std::string& longer(const std::string& a, const std::string& b) { return a.size() < b.size() ? b : a; }

void program(rh::cluster there) {
  auto longer_there = there.send<&longer>();
  auto call = longer_there("a", "b");
}
