// SPDX-License-Identifier: Apache-2.0
//
// The same without coroutines. Prints:
//
//   hello, all
#include <runhouse/runhouse.hpp>

#include <cstdio>
#include <string>

std::string greet(const std::string& name) { return "hello, " + name; }

int main(int argc, char** argv) {
  rh::serve_if_asked(argc, argv);  // first of all: workers are this program, started again
  auto cluster = rh::local();
  auto greet_there = cluster.send<&greet>();
  std::printf("%s\n", greet_there("all").get().c_str());
}
