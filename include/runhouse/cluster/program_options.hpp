// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>

#include <cstdlib>
#include <string>
#include <string_view>

namespace rh::detail {

/// The cluster that a program is to use: `--cluster NAME` or `--cluster=NAME`, taken out of argv so that the program
/// does not see it; else RUNHOUSE_CLUSTER; else "local".
inline std::string take_cluster_option(int& argc, char** argv) {
  std::string name;
  if (const char* variable = std::getenv("RUNHOUSE_CLUSTER"); variable != nullptr) name = variable;
  if (name.empty()) name = "local";
  constexpr std::string_view option = "--cluster";
  int kept = 0;
  bool options = true;
  for (int i = 0; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (i > 0 && word == "--") options = false;
    if (i > 0 && options && word == option) {
      if (i + 1 == argc) fail(errc::unknown_cluster, "--cluster needs a name behind it, such as --cluster local");
      name = argv[++i];
    } else if (i > 0 && options && word.starts_with(option) && word.size() > option.size() && word[option.size()] == '=') {
      name = word.substr(option.size() + 1);
    } else {
      argv[kept++] = argv[i];
    }
  }
  argv[kept] = nullptr;
  argc = kept;
  return name;
}

}  // namespace rh::detail
