// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/config.hpp>

#include <cstdlib>
#include <cxxabi.h>
#include <memory>
#include <string>
#include <string_view>

namespace rh::detail {

/// A mangled type name as a person writes it; itself if it cannot be demangled.
inline std::string demangled(const char* mangled) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> text(abi::__cxa_demangle(mangled, nullptr, nullptr, &status), &std::free);
  return status == 0 ? text.get() : mangled;
}

/// The name of a sent callable for people: rh::fn<&(physics::step(int))> is "physics::step", a lambda "main::{lambda}".
inline std::string pretty_name(const char* mangled) {
  std::string text = demangled(mangled);
  constexpr std::string_view before = "rh::fn<&(";
  if (text.starts_with(before)) {
    text = text.substr(before.size());
    int depth = 0;  // of <> and (), so that the parameter list is found after template arguments and lambdas
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] == '(' && depth == 0 && !text.substr(i).starts_with("(anonymous namespace)")) {
        text.resize(i);
        break;
      }
      if (text[i] == '<' || text[i] == '(') ++depth;
      if (text[i] == '>' || text[i] == ')') --depth;
    }
    // A function template's name begins with its return type.
    depth = 0;
    for (std::size_t i = text.size(); i-- > 0;) {
      if (text[i] == '>' || text[i] == ')') ++depth;
      if (text[i] == '<' || text[i] == '(') --depth;
      if (text[i] == ' ' && depth == 0) {
        text.erase(0, i + 1);
        break;
      }
    }
  }
  return text;
}

}  // namespace rh::detail
