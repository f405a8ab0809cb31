// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>
#include <cstdlib>

/// What the files of this program ask of each other.
namespace rh {
class cluster;
}

void check_a(const rh::cluster& there);
void check_b(const rh::cluster& there);
void check_shared(const rh::cluster& there);
void check_own_local();  // of the shared library: calls rh::local() itself
void check_static(const rh::cluster& there);

/// Both files instantiate a send of it.
inline int thrice(int a) noexcept {
  return 3 * a;
}
template <class T>
T twice(T a) {
  return a + a;
}

inline void equal_or_exit(const char* file, int line, bool same) {
  if (same) return;
  std::fprintf(stderr, "%s:%d: the call gave something else\n", file, line);
  std::exit(1);
}
#define EQUAL(a, b) equal_or_exit(__FILE__, __LINE__, (a) == (b))
