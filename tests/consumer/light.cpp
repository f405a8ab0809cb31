// SPDX-License-Identifier: Apache-2.0
// One of the files of a program that only sends, and is linked with the one that has main.
#include <runhouse/send.hpp>

int twice(int a) { return 2 * a; }

rh::task<int> twice_there(rh::cluster there) {
  auto remote_twice = there.send<&twice>();
  auto call = remote_twice(4);
  int eight = co_await call;
  co_return eight;
}
