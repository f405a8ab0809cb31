// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: a function that returns a view cannot be sent; return a std::string or a std::vector
#include <runhouse/send.hpp>

std::string_view first_word(const std::string& text) { return std::string_view(text).substr(0, text.find(' ')); }

void program(rh::cluster there) {
  auto first_there = there.send<&first_word>();
  auto call = first_there("a b");
}
