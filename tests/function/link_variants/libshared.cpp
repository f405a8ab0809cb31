// SPDX-License-Identifier: Apache-2.0
#include "checks.hpp"

#include <runhouse/send.hpp>

static int named_alike(int a) {
  return a + 3;
}
int only_here(int a) {
  return -a;
}
void fails(int a) {
  if (a > 0) throw std::out_of_range("over");
  throw rh::error(rh::errc::bad_payload, "from the library");
}

[[gnu::visibility("default")]] void check_shared(const rh::cluster& there) {
  EQUAL(there.send<&named_alike>()(1).get(), 4);
  EQUAL(there.send<&only_here>()(1).get(), -1);
  EQUAL(there.send<&thrice>()(4).get(), 12);
  EQUAL(there.send<&twice<std::string>>()("s").get(), "ss");
  bool caught = false;
  try {
    there.send<&fails>()(1).get();
  } catch (const std::out_of_range&) {
    caught = true;
  }
  EQUAL(caught, true);
  try {
    there.send<&fails>()(0).get();
    EQUAL(1, 2);
  } catch (const rh::error& e) {
    EQUAL(e.code(), make_error_code(rh::errc::bad_payload));
  }
}

[[gnu::visibility("default")]] void check_own_local() {
  const auto there = rh::local(1);
  EQUAL(there.send<&only_here>()(2).get(), -2);
  // In a task, a blocking wait is refused: the library knows that it is in one.
  const auto blocking = [](rh::cluster on) -> rh::task<bool> {
    bool refused = false;
    try {
      on.send<&only_here>()(2).get();
    } catch (const rh::error& e) {
      refused = e.code() == make_error_code(rh::errc::would_deadlock);
    }
    co_return refused;
  };
  EQUAL(rh::sync_wait(blocking(there)), true);
}
