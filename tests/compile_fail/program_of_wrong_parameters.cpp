// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: the program given to rh::main takes nothing, an rh::cluster, or int and char**
#include <runhouse/main.hpp>

rh::task<> program(double) { co_return; }

int main(int argc, char** argv) { return rh::main(argc, argv, program); }
