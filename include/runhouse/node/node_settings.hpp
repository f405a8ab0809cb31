// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/os/system.hpp>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <system_error>

/// What the user's environment says of a node, in the program itself or not.
namespace rh::detail {

/// RUNHOUSE_STORE_BYTES: a number, or one with K, M, G or T behind it for powers of 1024. Else half of the memory.
inline std::uint64_t store_bytes() {
  const char* text = std::getenv("RUNHOUSE_STORE_BYTES");
  if (text == nullptr || *text == '\0') return os::usable_memory() / 2;
  std::uint64_t bytes = 0;
  const auto end = text + std::strlen(text);
  auto [stop, error] = std::from_chars(text, end, bytes);
  const std::size_t unit = stop + 1 == end ? std::string_view("KMGT").find(*stop) : std::string_view::npos;
  if (unit != std::string_view::npos) ++stop;
  const unsigned shift = unit == std::string_view::npos ? 0 : 10 * (static_cast<unsigned>(unit) + 1);
  if (error != std::errc() || stop != end || bytes == 0 || bytes > (std::uint64_t{1} << 62 >> shift)) {
    fail(errc::store_full,
         "RUNHOUSE_STORE_BYTES is '" + std::string(text) + "'; it must be a number of bytes, such as 4G");
  }
  return bytes << shift;
}

/// RUNHOUSE_RESOURCES: "license=2,camera=1".
inline std::map<std::string, unsigned> resource_counts() {
  std::map<std::string, unsigned> counts;
  const char* text = std::getenv("RUNHOUSE_RESOURCES");
  std::string_view rest = text != nullptr ? text : "";
  while (!rest.empty()) {
    const std::string_view word = rest.substr(0, rest.find(','));
    rest.remove_prefix(std::min(word.size() + 1, rest.size()));
    const std::size_t equals = word.find('=');
    unsigned count = 0;
    const char* const end = word.data() + word.size();
    const char* const begin = equals < word.size() ? word.data() + equals + 1 : end;
    const auto [stop, error] = std::from_chars(begin, end, count);
    if (error != std::errc() || stop != end || equals == 0) {
      fail(errc::impossible_needs, "RUNHOUSE_RESOURCES is '" + std::string(text) +
                                       "'; it must be names and numbers, such as license=2,camera=1");
    }
    counts[std::string(word.substr(0, equals))] = count;
  }
  return counts;
}

/// RUNHOUSE_WORKERS, or as many as there are CPUs.
inline unsigned worker_count() {
  const char* text = std::getenv("RUNHOUSE_WORKERS");
  if (text == nullptr || *text == '\0') return os::usable_cpus();
  unsigned count = 0;
  const auto end = text + std::strlen(text);
  const auto [stop, error] = std::from_chars(text, end, count);
  if (error != std::errc() || stop != end || count == 0 || count > 4096) {
    fail(errc::worker_not_started,
         "RUNHOUSE_WORKERS is '" + std::string(text) + "'; it must be a number from 1 to 4096");
  }
  return count;
}

}  // namespace rh::detail
