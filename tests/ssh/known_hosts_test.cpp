// SPDX-License-Identifier: Apache-2.0
#include <runhouse/ssh/known_hosts.hpp>

#include "support/catch.hpp"
#include "support/temporary_file.hpp"

#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <vector>

using rh::detail::from_base64;
using rh::detail::host_key;
using rh::detail::host_key_verdict;
using rh::detail::is_like;
using rh::detail::is_of_host;
using rh::detail::known_hosts;
using rh::detail::to_base64;
using rh::detail::type_of;
using rh::test::temporary_file;
using kind = host_key_verdict::kind;

namespace {

host_key key(const std::string& type, char content) {
  host_key all;
  const auto add = [&](const std::string& text) {
    all.append(3, '\0');
    all.push_back(static_cast<char>(text.size()));
    all += text;
  };
  add(type);
  add(std::string(32, content));
  return all;
}

const host_key ed = key("ssh-ed25519", 'a');
const host_key other_ed = key("ssh-ed25519", 'b');
const host_key rsa = key("ssh-rsa", 'c');

std::string line(const std::string& hosts, const host_key& k) { return hosts + " " + std::string(type_of(k)) + " " + to_base64(k) + "\n"; }

host_key_verdict check(const std::string& text, const host_key& k, std::string_view host = "gpu", std::uint16_t port = 22) {
  known_hosts known(host, port);
  known.add_text(text, "f");
  return known.check(k);
}

}  // namespace

TEST_CASE("base64 is what it is, or nothing", "[ssh][known_hosts]") {
  for (const std::string bytes : {"", "a", "ab", "abc", "abcd"}) {
    if (!bytes.empty()) CHECK(from_base64(to_base64(bytes)) == bytes);
  }
  CHECK(to_base64("ab") == "YWI=");
  for (const std::string_view bad : {"", "YWI", "YW I=", "YWI==", "=WI=", "YW=I", "YWI-", "Y===", "====", "YWI=\n"}) CHECK_FALSE(from_base64(bad));
}

TEST_CASE("patterns of host names", "[ssh][known_hosts]") {
  CHECK(is_like("gpu1.lab", "gpu?.lab"));
  CHECK(is_like("gpu1.lab", "*.lab"));
  CHECK(is_like("gpu1.lab", "*"));
  CHECK(is_like("", "*"));
  CHECK(is_like("aXbXc", "a*X*c"));
  CHECK_FALSE(is_like("gpu.lab", "gpu?.lab"));
  CHECK_FALSE(is_like("gpu1.lab", "gpu1"));
  CHECK_FALSE(is_like(std::string(10'000, 'a'), "*a*a*a*a*a*a*a*a*a*a*b"));  // and in time
  CHECK(is_of_host("a,GPU,b", "gpu"));
  CHECK(is_of_host("*.lab,!bad.lab", "good.lab"));
  CHECK_FALSE(is_of_host("*.lab,!bad.lab", "bad.lab"));
  CHECK_FALSE(is_of_host("!bad.lab", "good.lab"));
  CHECK(is_of_host("[gpu]:2222", "[gpu]:2222"));
  CHECK_FALSE(is_of_host("", "gpu"));
  CHECK(is_of_host(rh::detail::hashed_host("gpu"), "gpu"));
  CHECK_FALSE(is_of_host(rh::detail::hashed_host("gpu"), "gpv"));
  for (const char* bad : {"|1|", "|1|a|b", "|2|YWI=|YWI=", "|1|YWI=", "|"}) CHECK_FALSE(is_of_host(bad, "gpu"));
  // made by ssh-keygen -H
  CHECK(is_of_host("|1|XNqU6r1URHFmUU4/Keo1cbG32qE=|6JonIqBAIm+hcQxhffVWDFt3VTY=", "gpu.lab"));
}

TEST_CASE("what files say of a key", "[ssh][known_hosts]") {
  CHECK(check("", ed).is == kind::unknown);
  CHECK(check(line("gpu", ed), ed).is == kind::known);
  CHECK(check("# a comment\n\n" + line("gpu", ed), ed).where == "f:3");
  CHECK(check(line("other", ed), ed).is == kind::unknown);
  CHECK(check(line("gpu", other_ed), ed).is == kind::changed);
  CHECK(check(line("gpu", rsa), ed).is == kind::changed);  // also of another type: it is not the one that is known
  CHECK(check(line("gpu", other_ed) + line("gpu", ed), ed).is == kind::known);
  CHECK(check(line("GPU", ed), ed, "Gpu").is == kind::known);
  CHECK(check(line(rh::detail::hashed_host("gpu"), ed), ed).is == kind::known);
  CHECK(check("gpu ssh-ed25519 " + to_base64(ed) + " its comment\r\n" + line("x", rsa), ed).is == kind::known);
  CHECK(check("  gpu\tssh-ed25519 \t" + to_base64(ed), ed).is == kind::known);  // with no end of line
}

TEST_CASE("ports", "[ssh][known_hosts]") {
  CHECK(check(line("[gpu]:2222", ed), ed, "gpu", 2222).is == kind::known);
  CHECK(check(line("[gpu]:2222", ed), ed, "gpu", 2223).is == kind::unknown);
  CHECK(check(line("[gpu]:2222", ed), ed, "gpu", 22).is == kind::unknown);
  CHECK(check(line("gpu", ed), ed, "gpu", 2222).is == kind::known);
  CHECK(check(line("gpu", other_ed), ed, "gpu", 2222).is == kind::unknown);
  CHECK(check(line("gpu", ed) + line("[gpu]:2222", other_ed), ed, "gpu", 2222).is == kind::changed);
  CHECK(check(line("@revoked gpu", ed) + line("[gpu]:2222", ed), ed, "gpu", 2222).is == kind::revoked);
}

TEST_CASE("marked lines", "[ssh][known_hosts]") {
  CHECK(check(line("@revoked gpu", ed) + line("gpu", ed), ed).is == kind::revoked);
  CHECK(check(line("gpu", ed) + line("@revoked *", ed), ed).is == kind::revoked);
  CHECK(check(line("@revoked *", other_ed) + line("gpu", ed), ed).is == kind::known);
  CHECK(check(line("@revoked other", ed) + line("gpu", ed), ed).is == kind::known);
  CHECK(check("@revoked * ssh-ed25519 AAAA\n" + line("gpu", ed), ed).is == kind::unreadable);
  CHECK(check(line("@cert-authority *", rsa), ed).is == kind::by_authority);
  CHECK(check(line("@cert-authority *", ed), ed).is == kind::by_authority);  // which signs, and is no host's
  CHECK(check(line("@cert-authority *", rsa) + line("gpu", ed), ed).is == kind::known);
  CHECK(check(line("@something *", ed), ed).is == kind::unknown);
}

TEST_CASE("lines that are broken trust nobody", "[ssh][known_hosts]") {
  const std::string good = line("gpu", ed);
  for (const std::string& bad : std::vector<std::string>{"gpu\n", "gpu ssh-ed25519\n", "gpu ssh-ed25519 !!!!\n", "gpu ssh-rsa " + to_base64(ed) + "\n", "gpu " + to_base64(ed) + "\n",
                                std::string("gpu\0ssh-ed25519\n", 16), std::string("@revoked\n"), std::string(100'000, 'x') + "\n"}) {
    CHECK(check(bad, ed).is == kind::unknown);
    CHECK(check(bad + good, ed).is == kind::known);
  }
  std::string many;
  for (int i = 0; i < 10'000; ++i) many += line("host" + std::to_string(i), other_ed);
  CHECK(check(many + good, ed).where == "f:10001");
}

TEST_CASE("a file that cannot be read trusts nobody; one that is not there is empty", "[ssh][known_hosts]") {
  const temporary_file good;
  std::ofstream(good.path()) << line("gpu", ed);
  known_hosts known("gpu", 22);
  known.add_file(good.path());
  known.add_file(good.path() + ".none");
  CHECK(known.check(ed).is == kind::known);
  known.add_file("/");
  const host_key_verdict verdict = known.check(ed);
  CHECK(verdict.is == kind::unreadable);
  CHECK(verdict.where == "/");
  CHECK_FALSE(verdict.why.empty());
}

TEST_CASE("the types that are known, in order", "[ssh][known_hosts]") {
  known_hosts known("gpu", 2222);
  known.add_text(line("gpu", rsa) + line("[gpu]:2222", ed) + line("[gpu]:2222", other_ed) + line("@revoked [gpu]:2222", key("ecdsa-sha2-nistp256", 'x')), "f");
  CHECK(known.types() == std::vector<std::string>{"ssh-ed25519", "ssh-rsa"});
}

TEST_CASE("a key is made known", "[ssh][known_hosts]") {
  const temporary_file folder;  // which is not there
  const std::string path = folder.path() + "/known_hosts";
  known_hosts before("gpu", 2222);
  rh::detail::add_known_host(path, before.line_for(ed, false));
  struct stat facts {};
  REQUIRE(stat(path.c_str(), &facts) == 0);
  CHECK((facts.st_mode & 0777) == 0600);
  REQUIRE(stat(folder.path().c_str(), &facts) == 0);
  CHECK((facts.st_mode & 0777) == 0700);
  std::ofstream(path, std::ios::app) << "# no end of line";
  rh::detail::add_known_host(path, known_hosts("other", 22).line_for(rsa, true));
  known_hosts gpu("gpu", 2222), other("other", 22);
  gpu.add_file(path);
  other.add_file(path);
  CHECK(gpu.check(ed).is == kind::known);
  CHECK(other.check(rsa).where == path + ":3");
  std::ifstream in(path);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  CHECK(text.starts_with("[gpu]:2222 ssh-ed25519 "));
  CHECK(text.find("other") == text.npos);
}

TEST_CASE("a fingerprint is as ssh shows it", "[ssh][known_hosts]") {
  // made by ssh-keygen
  CHECK(rh::detail::fingerprint_of(*from_base64("AAAAC3NzaC1lZDI1NTE5AAAAIBehK33IVjy5eVOl62DxZs7i2VsO9e7IMo0/4nM04U0I")) ==
        "SHA256:6+x/jqByv9hwMgDtPRRaH4J5wVP2wz+NtvT5gane+bA");
}
