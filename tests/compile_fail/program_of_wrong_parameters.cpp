// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: the program given to rh::main takes nothing, an rh::cluster, int and char**, or an rh::cluster, int and char**
#include <runhouse/main.hpp>

rh::task<> program(double) { co_return; }

int main(int argc, char** argv) { return rh::main(argc, argv, program); }
