// SPDX-License-Identifier: Apache-2.0
#include "checks.hpp"

#include <runhouse/send.hpp>

int only_in_plugin(int a) {
  return a;
}

extern "C" [[gnu::visibility("default")]] void check_plugin(const rh::cluster& there) {
  try {
    there.send<&only_in_plugin>()(1).get();
    EQUAL(1, 2);
  } catch (const rh::error& e) {
    EQUAL(e.code().value(), static_cast<int>(rh::errc::unknown_function));
  }
}
