// SPDX-License-Identifier: Apache-2.0
#include <runhouse/runhouse.hpp>

#include <cstdio>

int add(int a, int b) { return a + b; }

rh::task<> program(rh::cluster here) {
  auto there = here.send<&add>();
  auto call = there(2, 3);
  int five = co_await call;
  std::printf("%d\n", five);
}

int main(int argc, char** argv) { return rh::main(argc, argv, program); }
