// SPDX-License-Identifier: Apache-2.0
#include "checks.hpp"

#include <runhouse/send.hpp>

static int named_alike(int a) {
  return a + 4;
}

void check_static(const rh::cluster& there) {
  EQUAL(there.send<&named_alike>()(1).get(), 5);
  EQUAL(there.send<&thrice>()(5).get(), 15);
}
