// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: a parameter that is a pointer, a non-const reference or a std::span of non-const would refer to nothing there; take a value, std::string_view or std::span<const T>
#include <runhouse/send.hpp>

double mean(const double* values, int count) { return count > 0 ? values[0] : 0; }

void program(rh::cluster there) {
  auto mean_there = there.send<&mean>();
  const double value = 1;
  auto call = mean_there(&value, 1);
}
