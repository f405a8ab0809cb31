// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/node/gpu_list.hpp>
#include <runhouse/os/claim_file.hpp>

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace rh::detail {

/// A GPU that is one worker's alone, among all programs of this user on this machine.
struct gpu_claim {
  std::string uuid;
  os::claim_file file;
};

/// Claims `count` of them, those with most free memory first. Fewer if the others are taken. Errors: std::system_error.
inline std::vector<gpu_claim> claim_gpus(std::vector<gpu> from, std::size_t count) {
  std::stable_sort(from.begin(), from.end(), [](const gpu& a, const gpu& b) { return a.free_bytes > b.free_bytes; });
  std::vector<gpu_claim> claimed;
  for (const gpu& g : from) {
    if (claimed.size() == count) break;
    if (auto file = os::claim_file::try_claim(g.uuid)) claimed.push_back({g.uuid, std::move(*file)});
  }
  return claimed;
}

}  // namespace rh::detail
