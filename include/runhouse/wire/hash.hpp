// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>

namespace rh::wire {

using hash128 = std::array<std::byte, 16>;
using hash256 = std::array<std::byte, 32>;

}  // namespace rh::wire
