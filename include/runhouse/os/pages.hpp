// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <sys/mman.h>

namespace rh::os {

/// Has the kernel provide the whole pages of memory that is about to be written, by one call instead of by a fault for
/// each of them, which takes half as long again. What they hold stays. Nothing where the kernel is older than 5.14.
inline void provide_pages(void* begin, std::size_t size_bytes) noexcept {
  constexpr int populate_write = 23;  // MADV_POPULATE_WRITE, which older headers have not
  constexpr std::uintptr_t page = 4096;
  const auto from = (reinterpret_cast<std::uintptr_t>(begin) + page - 1) / page * page;
  const auto to = (reinterpret_cast<std::uintptr_t>(begin) + size_bytes) / page * page;
  if (from < to) static_cast<void>(::madvise(reinterpret_cast<void*>(from), to - from, populate_write));
}

}  // namespace rh::os
