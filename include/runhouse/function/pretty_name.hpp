// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/config.hpp>

#include <cctype>
#include <cstddef>
#include <cstdlib>
#include <cxxabi.h>
#include <memory>
#include <string>
#include <string_view>

namespace rh::detail {

/// A mangled type name as a person writes it; itself if it cannot be demangled.
inline std::string demangled(const char* mangled);

/// The name of a sent callable for people: that of rh::fn<&physics::step> is "physics::step", of rh::fn<&twice<int>>
/// "twice<int>", of a lambda "main::{lambda}", of the second one in the same function "main::{lambda#2}".
inline std::string pretty_name(const char* mangled);

/// True for a name that means the same function in every build: of a function or class with external linkage. Names of
/// lambdas, of static functions, and of what is local to a function or an anonymous namespace do not.
inline bool is_stable_name(std::string_view mangled);

// ---- implementation

namespace name_detail {

inline constexpr std::string_view anonymous = "(anonymous namespace)";

/// Where the bracket at `open` is closed; the end if nowhere.
inline std::size_t closing(std::string_view text, std::size_t open) noexcept {
  int depth = 0;
  for (std::size_t i = open; i < text.size(); ++i) {
    if (text[i] == '<' || text[i] == '(' || text[i] == '{') ++depth;
    if ((text[i] == '>' || text[i] == ')' || text[i] == '}') && --depth == 0) return i;
  }
  return text.size();
}

inline void replace_all(std::string& text, std::string_view from, std::string_view to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
}

/// The standard's default arguments are noise.
inline void shorten_standard_names(std::string& text) {
  replace_all(text, "std::__cxx11::", "std::");
  replace_all(text, "[abi:cxx11]", "");
  replace_all(text, "std::basic_string<char, std::char_traits<char>, std::allocator<char> >", "std::string");
  replace_all(text, "std::basic_string_view<char, std::char_traits<char> >", "std::string_view");
  constexpr std::string_view allocator = ", std::allocator<";
  for (std::size_t at = 0; (at = text.find(allocator, at)) != std::string::npos;) {
    const std::size_t last = closing(text, at + allocator.size() - 1);
    text.erase(at, last + 1 - at);
  }
  replace_all(text, " >", ">");
}

/// g++ calls the second lambda of a function {lambda(int)#2}, clang $_1.
inline void shorten_lambdas(std::string& text) {
  constexpr std::string_view begin = "{lambda(";
  for (std::size_t at = 0; (at = text.find(begin, at)) != std::string::npos; at += begin.size() - 1) {
    std::size_t end = closing(text, at + begin.size() - 1) + 1;
    if (text.compare(end, 3, "#1}") == 0) end += 2;
    text.erase(at + begin.size() - 1, end - (at + begin.size() - 1));
  }
  for (std::size_t at = 0; (at = text.find("$_", at)) != std::string::npos; ++at) {
    std::size_t end = at + 2;
    unsigned number = 0;
    while (end < text.size() && std::isdigit(static_cast<unsigned char>(text[end]))) {
      number = number * 10 + static_cast<unsigned>(text[end++] - '0');
    }
    text.replace(at, end - at, number == 0 ? "{lambda}" : "{lambda#" + std::to_string(number + 1) + "}");
  }
}

/// Only the name of "result name(parameters)"; result and parameters may be missing, as in "name".
inline std::string name_of_declaration(std::string_view text) {
  std::string name;
  for (std::size_t i = 0; i < text.size();) {
    constexpr std::string_view op = "operator";
    if (text.substr(i).starts_with(op) && i + op.size() < text.size() &&
        std::ispunct(static_cast<unsigned char>(text[i + op.size()])) && text[i + op.size()] != '_') {
      const std::size_t end = text.find('(', i + op.size() + (text.substr(i).starts_with("operator()") ? 2 : 0));
      return name.append(text.substr(i, end - i));
    }
    if (text.substr(i).starts_with(anonymous)) {
      name += anonymous;
      i += anonymous.size();
    } else if (text[i] == '<' || text[i] == '{' || (text[i] == '(' && name.ends_with("decltype"))) {
      const std::size_t end = closing(text, i) + 1;
      name.append(text.substr(i, end - i));
      i = end;
    } else if (text[i] == '(') {
      const std::size_t end = closing(text, i) + 1;
      if (end >= text.size() || !text.substr(end).starts_with("::")) break;
      i = end;  // the parameters of a function around it
    } else if (text[i] == ' ') {
      name.clear();  // was the result
      ++i;
    } else {
      name += text[i++];
    }
  }
  return name;
}

/// Whether a mangled name, behind its "_Z" or at its beginning, has internal linkage or is local to a function.
inline bool is_internal(std::string_view name) noexcept {
  if (name.starts_with('N')) name.remove_prefix(1);
  while (!name.empty()) {
    if (name.front() == 'L' || name.front() == 'Z') return true;
    std::size_t length = 0;
    std::size_t digits = 0;
    while (digits < name.size() && std::isdigit(static_cast<unsigned char>(name[digits])) && length < name.size()) {
      length = length * 10 + static_cast<std::size_t>(name[digits++] - '0');
    }
    if (digits == 0 || digits + length > name.size()) return false;  // template arguments, or the end of the name
    name.remove_prefix(digits + length);
  }
  return false;
}

}  // namespace name_detail

inline std::string demangled(const char* mangled) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> text(abi::__cxa_demangle(mangled, nullptr, nullptr, &status),
                                                    &std::free);
  return status == 0 ? text.get() : mangled;
}

inline std::string pretty_name(const char* mangled) {
  using namespace name_detail;
  std::string text = demangled(mangled);
  if (text == mangled) return text;
  shorten_standard_names(text);
  shorten_lambdas(text);
  std::string_view name = text;
  constexpr std::string_view before = "rh::fn<";
  if (name.starts_with(before) && name.ends_with('>')) {
    name.remove_prefix(before.size());
    name.remove_suffix(1);
    if (name.starts_with('&')) {  // a function; a lambda as a template argument has none
      name.remove_prefix(1);
      if (name.starts_with('(') && closing(name, 0) + 1 == name.size()) name = name.substr(1, name.size() - 2);
    } else if (name.ends_with("{}")) {
      name.remove_suffix(2);
    }
  }
  const std::string pretty = name_of_declaration(name);
  return pretty.empty() ? text : pretty;
}

inline bool is_stable_name(std::string_view mangled) {
  using namespace name_detail;
  if (is_internal(mangled)) return false;
  for (std::size_t at = 0; (at = mangled.find("_Z", at)) != mangled.npos; at += 2) {
    if (is_internal(mangled.substr(at + 2))) return false;
  }
  const std::string text = demangled(std::string(mangled).c_str());
  for (const std::string_view part :
       {anonymous, std::string_view("{lambda("), std::string_view("{unnamed"), std::string_view("$_")}) {
    if (text.find(part) != std::string::npos) return false;
  }
  return true;
}

}  // namespace rh::detail
