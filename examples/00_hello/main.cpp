// SPDX-License-Identifier: Apache-2.0
//
// The shortest complete program. Prints:
//
//   [greet] greeting all from 4711     (the number is the worker's process)
//   hello, all
//   3 squares: 1 4 9
#include <runhouse/runhouse.hpp>

#include <cstdio>
#include <string>
#include <unistd.h>
#include <vector>

std::string greet(const std::string& name) {
  std::printf("greeting %s from %d\n", name.c_str(), getpid());
  return "hello, " + name;
}
int square(int x) { return x * x; }

rh::task<> program(rh::cluster cluster) {    // --cluster HOST; without it, workers of this program
  auto greet_there = cluster.send<&greet>();
  auto call = greet_there("all");            // runs there from now on
  std::string greeting = co_await call;      // an exception of greet's would come out here
  std::printf("%s\n", greeting.c_str());

  auto squares = cluster.send<&square>().map(std::vector<int>{1, 2, 3});
  std::vector<int> s = co_await squares;
  std::printf("3 squares: %d %d %d\n", s[0], s[1], s[2]);
}

int main(int argc, char** argv) { return rh::main(argc, argv, program); }
