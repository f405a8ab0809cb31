// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"

#include <runhouse/os/own_libraries.hpp>

#include <string>
#include <vector>

using rh::os::own_libraries;

TEST_CASE("libraries that were copied with a program are told from others by their folder", "[os][own_libraries]") {
  const std::string program = "/home/me/.runhouse/programs/" + std::string(64, '0');
  CHECK(own_libraries::is_copied(program));
  CHECK_FALSE(own_libraries::is_copied(program + "/lib"));
  CHECK_FALSE(own_libraries::is_copied("/home/me/programs/" + std::string(63, '0')));
  CHECK_FALSE(own_libraries::is_copied("/home/me/programs/" + std::string(64, 'g')));
  CHECK_FALSE(own_libraries::is_copied(""));

  const std::string lib = program + "/lib", system = program + "/system";
  CHECK(own_libraries::leading(lib + ":" + system + ":/opt/lib") == lib + ":" + system + ":");
  CHECK(own_libraries::leading(system) == system);
  CHECK(own_libraries::leading("/opt/lib:" + lib).empty());
  CHECK(own_libraries::leading(lib + "::x") == lib + ":");
  CHECK(own_libraries::leading(program + "/bin").empty());
  CHECK(own_libraries::leading("").empty());
  CHECK(own_libraries::leading(":").empty());
}

TEST_CASE("where nothing was copied with this program nothing is added for others of it", "[os][own_libraries]") {
  own_libraries::take();
  std::vector<std::string> environment{"LD_LIBRARY_PATH=/opt/lib", "A=b"};
  own_libraries::add_to(environment);
  CHECK(environment == std::vector<std::string>{"LD_LIBRARY_PATH=/opt/lib", "A=b"});
  CHECK_FALSE(own_libraries::any());
}
