// SPDX-License-Identifier: Apache-2.0
#include <runhouse/ssh/key_file.hpp>

#include "support/catch.hpp"
#include "support/temporary_file.hpp"

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

using rh::detail::facts_of_key;
using rh::test::temporary_file;

namespace {

/// A file that ssh-keygen makes.
std::string made_key(const std::string& options) {
  const temporary_file file;
  const std::string command = "ssh-keygen -q -f " + file.path() + " " + options;
  REQUIRE(std::system(command.c_str()) == 0);
  std::ifstream in(file.path());
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace

TEST_CASE("what a key file says of itself", "[ssh][key_file]") {
  struct row {
    const char* options;
    const char* type;
    bool is_encrypted;
  };
  for (const row& r : {row{"-t ed25519 -N ''", "ssh-ed25519", false},
                       {"-t ed25519 -N 'a secret'", "ssh-ed25519", true},
                       {"-t ecdsa -b 384 -N ''", "ecdsa-sha2-nistp384", false},
                       {"-t rsa -b 2048 -N ''", "ssh-rsa", false},
                       {"-t rsa -b 2048 -N '' -m PEM", "ssh-rsa", false},
                       {"-t rsa -b 2048 -N 'a secret' -m PEM", "ssh-rsa", true},
                       {"-t ecdsa -N '' -m PEM", "ecdsa-sha2-nistp256", false},
                       {"-t rsa -b 2048 -N '' -m PKCS8", "", false},
                       {"-t rsa -b 2048 -N 'a secret' -m PKCS8", "", true}}) {
    INFO(r.options);
    const auto facts = facts_of_key(made_key(r.options));
    REQUIRE(facts);
    CHECK(facts->type == r.type);
    CHECK(facts->is_encrypted == r.is_encrypted);
  }
}

TEST_CASE("what is no key is none, wherever it ends", "[ssh][key_file]") {
  CHECK_FALSE(facts_of_key(""));
  CHECK_FALSE(facts_of_key("ssh-ed25519 AAAA me@here"));
  CHECK_FALSE(facts_of_key("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"));
  const std::string whole = made_key("-t ed25519 -N ''");
  const std::string end = "-----END OPENSSH PRIVATE KEY-----\n";
  for (std::size_t size = 0; size < whole.size() - 1; ++size) CHECK_FALSE(facts_of_key(whole.substr(0, size)));
  for (std::size_t size = 36; size < 150; ++size) static_cast<void>(facts_of_key(whole.substr(0, size) + "\n" + end));
}
