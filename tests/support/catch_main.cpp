// SPDX-License-Identifier: Apache-2.0
#define CATCH_CONFIG_RUNNER
#include "support/catch.hpp"

#if __has_include(<runhouse/runhouse.hpp>)
#include <runhouse/runhouse.hpp>
#endif

/// The one main of all test programs. A test program is also the program of the workers that its tests start.
int main(int argc, char** argv) {
#if __has_include(<runhouse/runhouse.hpp>)
  rh::serve_if_asked(argc, argv);
#endif
  return Catch::Session().run(argc, argv);
}
