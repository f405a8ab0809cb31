// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cxxabi.h>
#include <memory>
#include <string>
#include <string_view>
#include <typeinfo>

namespace rh::wire::detail {

/// The compiler's own text of T, at compile time: "std::map<int, int>", "cereal::NameValuePair<int&>".
template <class T>
consteval std::string_view spelled() {
  const std::string_view text = __PRETTY_FUNCTION__;
  return text.substr(text.find("T = ") + 4);
}

template <class T>
inline constexpr bool in_std = spelled<T>().starts_with("std::");
template <class T>
inline constexpr bool in_cereal = spelled<T>().starts_with("cereal::");

/// As a person writes it, for messages.
[[gnu::cold]] inline std::string type_name(const char* mangled) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> name(abi::__cxa_demangle(mangled, nullptr, nullptr, &status), std::free);
  return name ? name.get() : mangled;
}
[[gnu::cold]] inline std::string type_name(const std::type_info& type) { return type_name(type.name()); }

}  // namespace rh::wire::detail
