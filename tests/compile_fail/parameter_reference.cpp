// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: a parameter that is a pointer, a non-const reference or a std::span of non-const would refer to nothing there; take a value, std::string_view or std::span<const T>
#include <runhouse/send.hpp>

void normalize(std::vector<double>& values) { values.clear(); }

void program(rh::cluster there) {
  auto normalize_there = there.send<&normalize>();
  std::vector<double> values{1, 2, 3};
  auto call = normalize_there(values);
}
