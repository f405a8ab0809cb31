// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: a parameter that is a pointer, a non-const reference or a std::span of non-const would refer to nothing there; take a value, std::string_view or std::span<const T>
#include <runhouse/send.hpp>

void fill(std::span<float> values) { values[0] = 1; }

void program(rh::cluster there) {
  auto fill_there = there.send<&fill>();
  std::vector<float> values(3);
  auto call = fill_there(std::span(values));
}
