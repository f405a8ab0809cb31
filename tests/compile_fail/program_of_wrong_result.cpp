// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: the program given to rh::main is a coroutine that gives rh::task<> or rh::task<int>
#include <runhouse/main.hpp>

int program(rh::cluster) { return 0; }

int main(int argc, char** argv) { return rh::main(argc, argv, program); }
