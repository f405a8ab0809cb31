// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <climits>
#include <cstddef>
#include <cstdlib>
#include <string>
#include <string_view>
#include <unistd.h>
#include <vector>

namespace rh::os {

/// The libraries that were copied to a host with a program, "programs/ID/lib" and "programs/ID/system" beside it. The loader finds
/// them by LD_LIBRARY_PATH, which they begin; whatever else the program starts is not to see them there, as it has libraries of its own.
class own_libraries {
 public:
  /// Whether a folder is that of a program that was copied.
  static bool is_copied(std::string_view folder) noexcept {
    constexpr std::string_view programs = "/programs/";
    constexpr std::size_t digits = 64;
    if (folder.size() < programs.size() + digits) return false;
    const std::string_view id = folder.substr(folder.size() - digits);
    return folder.substr(folder.size() - digits - programs.size(), programs.size()) == programs &&
           id.find_first_not_of("0123456789abcdef") == id.npos;
  }
  /// Takes them out of this process's environment, for itself. Before anything is started, and by one thread.
  static void take() {
    char path[PATH_MAX];
    const ssize_t size = ::readlink("/proc/self/exe", path, sizeof path);
    const char* given = std::getenv(variable);
    if (size <= 0 || given == nullptr) return;
    const std::string_view program(path, static_cast<std::size_t>(size));
    const std::string_view folder = program.substr(0, program.rfind('/'));
    if (!is_copied(folder)) return;
    // Not by the whole path: its first part may be a link.
    const std::string end(folder.substr(folder.rfind("/programs/")));
    std::string_view rest(given);
    for (;;) {
      const std::string_view first = rest.substr(0, rest.find(':'));
      if (!first.ends_with(end + "/lib") && !first.ends_with(end + "/system")) break;
      folders() += (folders().empty() ? "" : ":") + std::string(first);
      rest.remove_prefix(std::min(first.size() + 1, rest.size()));
    }
    const std::string others(rest);
    if (others.empty()) {
      ::unsetenv(variable);
    } else {
      ::setenv(variable, others.c_str(), 1);
    }
  }
  /// The entries of a search path that begin it and are folders of libraries that were copied, with their colons.
  static std::string_view leading(std::string_view paths) noexcept {
    std::size_t end = 0;
    while (end < paths.size()) {
      const std::string_view first = paths.substr(end, paths.find(':', end) - end);
      const std::string_view folder = first.substr(0, std::min(first.rfind('/'), first.size()));
      if (!is_copied(folder) || (!first.ends_with("/lib") && !first.ends_with("/system"))) break;
      end = std::min(end + first.size() + 1, paths.size());
    }
    return paths.substr(0, end);
  }
  static bool any() noexcept { return !folders().empty(); }
  /// Puts them into the environment of another process of this program. Nothing where none were copied.
  static void add_to(std::vector<std::string>& environment) {
    if (folders().empty()) return;
    std::string begin = variable;
    begin += '=';
    std::string paths = folders();
    std::erase_if(environment, [&](const std::string& each) {
      if (!each.starts_with(begin)) return false;
      if (each.size() > begin.size()) paths.append(1, ':').append(each, begin.size());
      return true;
    });
    environment.push_back(begin.append(paths));
  }

 private:
  static constexpr const char* variable = "LD_LIBRARY_PATH";
  /// Also used before static objects exist.
  [[gnu::visibility("default")]] static std::string& folders() {
    static std::string& only = *new std::string;
    return only;
  }
};

}  // namespace rh::os
