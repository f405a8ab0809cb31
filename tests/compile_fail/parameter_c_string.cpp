// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: a parameter that is a pointer, a non-const reference or a std::span of non-const would refer to nothing there; take a value, std::string_view or std::span<const T>
#include <runhouse/send.hpp>

int length(const char* text) { return text[0] != 0; }

void program(rh::cluster there) {
  auto length_there = there.send<&length>();
  auto call = length_there("text");
}
