// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rh::detail {

/// One GPU of this machine.
struct gpu {
  std::string uuid;               ///< as in CUDA_VISIBLE_DEVICES: "GPU-8f6a..."
  std::uint64_t free_bytes = 0;   ///< of its memory, when it was last asked; 0 where it does not say
  friend bool operator==(const gpu&, const gpu&) = default;
};

/// The GPUs in what `nvidia-smi --query-gpu=uuid,memory.free --format=csv,noheader,nounits` prints: one line each, the
/// memory in MiB. Lines of any other kind are skipped.
inline std::vector<gpu> parse_gpus(std::string_view text) {
  std::vector<gpu> found;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::size_t comma = line.find(',');
    const std::string_view uuid = line.substr(0, comma);
    // A name of a file is made of it.
    if (!uuid.starts_with("GPU-") || uuid.find('/') != std::string_view::npos) continue;
    gpu g{std::string(uuid), 0};
    if (comma != std::string_view::npos) {
      std::string_view mebibytes = line.substr(comma + 1);
      mebibytes.remove_prefix(std::min(mebibytes.find_first_not_of(' '), mebibytes.size()));
      std::uint64_t number = 0;
      std::from_chars(mebibytes.data(), mebibytes.data() + mebibytes.size(), number);
      g.free_bytes = number << 20;
    }
    found.push_back(std::move(g));
  }
  return found;
}

/// Those that a program may use whose CUDA_VISIBLE_DEVICES is `visible` (null: it is not set): a list of uuids, or of
/// beginnings of them, or of places in `all`. As CUDA reads it, what follows the first unknown one counts for nothing.
inline std::vector<gpu> visible_gpus(const std::vector<gpu>& all, const char* visible) {
  if (visible == nullptr) return all;
  std::vector<gpu> seen;
  std::string_view rest = visible;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find(','), rest.size());
    std::string_view word = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    while (word.starts_with(' ')) word.remove_prefix(1);
    while (word.ends_with(' ')) word.remove_suffix(1);
    auto found = all.end();
    if (word.starts_with("GPU-")) {
      found = std::find_if(all.begin(), all.end(), [&](const gpu& g) { return g.uuid.starts_with(word); });
    } else {
      std::size_t place = 0;
      const auto [stop, error] = std::from_chars(word.data(), word.data() + word.size(), place);
      if (error == std::errc() && stop == word.data() + word.size() && place < all.size()) {
        found = all.begin() + static_cast<std::ptrdiff_t>(place);
      }
    }
    if (found == all.end() || std::find(seen.begin(), seen.end(), *found) != seen.end()) break;
    seen.push_back(*found);
  }
  return seen;
}

}  // namespace rh::detail
