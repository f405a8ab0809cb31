// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/os/fd.hpp>
#include <runhouse/wire/hash.hpp>

#include <string>
#include <vector>

namespace rh::detail {

/// The program whose functions calls name, as a node that runs another one starts its workers.
struct worker_program {
  os::unique_fd executable;              ///< readable; its path may have been replaced since
  wire::hash256 files{};                 ///< as its workers will say in their hello
  std::string folder;                    ///< where they run
  std::vector<std::string> environment;  ///< NAME=value

  /// Whether one's workers can do the other's calls.
  bool is_same(const worker_program& other) const {
    return files == other.files && folder == other.folder && environment == other.environment;
  }
};

}  // namespace rh::detail
