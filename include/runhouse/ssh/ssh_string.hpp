// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace rh::detail {

/// Takes a string with its length in front off bytes that are as the SSH protocol has them; nothing if there is none.
/// Source: RFC 4251, section 5.
inline std::optional<std::string_view> take_ssh_string(std::string_view& from) noexcept {
  if (from.size() < 4) return std::nullopt;
  const auto byte = [&](std::size_t i) { return static_cast<std::size_t>(static_cast<unsigned char>(from[i])); };
  const std::size_t size = byte(0) << 24 | byte(1) << 16 | byte(2) << 8 | byte(3);
  if (size > from.size() - 4) return std::nullopt;
  const std::string_view taken = from.substr(4, size);
  from.remove_prefix(4 + size);
  return taken;
}

}  // namespace rh::detail
