// SPDX-License-Identifier: Apache-2.0
#include <runhouse/ssh/transport_choice.hpp>

#include "support/catch.hpp"

#include <functional>
#include <string>
#include <vector>

using rh::detail::choose_transport;
using rh::detail::key_facts;
using rh::detail::ssh_config;
using rh::ssh_transport;
using rh::detail::transport_facts;

namespace {

/// What OpenSSH 9.2 prints for a host of which nothing is configured, as far as it matters.
const std::string plain =
    "host gpu\n"
    "user me\n"
    "hostname gpu.lab\n"
    "port 22\n"
    "batchmode no\n"
    "checkhostip no\n"
    "compression no\n"
    "controlmaster false\n"
    "gssapiauthentication yes\n"
    "hostbasedauthentication no\n"
    "identitiesonly no\n"
    "kbdinteractiveauthentication yes\n"
    "nohostauthenticationforlocalhost no\n"
    "passwordauthentication yes\n"
    "pubkeyauthentication true\n"
    "stricthostkeychecking ask\n"
    "verifyhostkeydns false\n"
    "ciphers chacha20-poly1305@openssh.com,aes128-ctr,aes192-ctr,aes256-ctr,aes128-gcm@openssh.com,aes256-gcm@openssh.com\n"
    "hostkeyalgorithms ssh-ed25519-cert-v01@openssh.com,ssh-ed25519,ecdsa-sha2-nistp256,rsa-sha2-512,rsa-sha2-256\n"
    "kexalgorithms sntrup761x25519-sha512@openssh.com,curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256\n"
    "macs umac-64-etm@openssh.com,hmac-sha2-256-etm@openssh.com,hmac-sha2-256,hmac-sha2-512,hmac-sha1\n"
    "identityfile ~/.ssh/id_rsa\n"
    "identityfile ~/.ssh/id_ed25519\n"
    "globalknownhostsfile /etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2\n"
    "forwardagent no\n"
    "connecttimeout none\n";

/// With lines that take the place of those of the same keyword.
std::string with(const std::string& line) {
  const std::string keyword = line.substr(0, line.find(' ') + 1);
  std::string text;
  for (std::size_t begin = 0; begin < plain.size();) {
    const std::size_t end = plain.find('\n', begin) + 1;
    if (plain.compare(begin, keyword.size(), keyword) != 0) text += plain.substr(begin, end - begin);
    begin = end;
  }
  return text + line + "\n";
}

transport_facts one_key() {
  transport_facts facts;
  facts.key_files = {{"ssh-ed25519", false}};
  return facts;
}

/// The reason for the program; empty if libssh2 was chosen.
std::string program_because(const std::string& printed, const transport_facts& facts = one_key()) {
  const auto choice = choose_transport(ssh_config(printed), facts);
  CHECK_FALSE(choice.why.empty());
  return choice.by == ssh_transport::program ? choice.why : "";
}

bool has(const std::string& text, const char* word) { return text.find(word) != text.npos; }

}  // namespace

TEST_CASE("what ssh -G prints is read", "[ssh][config]") {
  const ssh_config config(plain);
  CHECK(config.host_name() == "gpu.lab");
  CHECK(config.user() == "me");
  CHECK(config.port() == 22);
  CHECK(config.values("identityfile") == std::vector<std::string>{"~/.ssh/id_rsa", "~/.ssh/id_ed25519"});
  CHECK(config.words("globalknownhostsfile") == std::vector<std::string>{"/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"});
  CHECK(config.value("connecttimeout").empty());
  CHECK(config.value("nothing").empty());
  CHECK(config.is_on("pubkeyauthentication"));
  CHECK_FALSE(config.is_on("compression"));
  CHECK(ssh_config("port 2222\n").port() == 2222);
  for (const char* bad : {"", "port\n", "port x\n", "port 70000\n", "port 0\n", "port 22x\n"}) CHECK(ssh_config(bad).port() == 22);
  CHECK(ssh_config("hostname none\n").host_name() == "none");
  CHECK(ssh_config("no end of line").text("no") == "end of line");
  CHECK(ssh_config(" leading\n\n\n").text("").empty());
}

TEST_CASE("libssh2 is chosen where nothing needs the program", "[ssh][choice]") {
  CHECK(program_because(plain).empty());
  CHECK(program_because(with("proxyjump bastion")).empty());
  CHECK(program_because(with("stricthostkeychecking accept-new")).empty());
  CHECK(program_because(with("proxycommand none")).empty());
  CHECK(program_because("").empty());
}

TEST_CASE("what needs the program, and is named", "[ssh][choice]") {
  struct row {
    const char* line;
    const char* word;
  };
  for (const row& r : {row{"proxycommand nc %h %p", "ProxyCommand"},
                       {"controlmaster auto", "ControlMaster auto"},
                       {"controlmaster yes", "ControlMaster"},
                       {"pkcs11provider /usr/lib/opensc-pkcs11.so", "PKCS11Provider"},
                       {"certificatefile ~/.ssh/id-cert.pub", "CertificateFile"},
                       {"knownhostscommand /bin/x", "KnownHostsCommand"},
                       {"revokedhostkeys /etc/ssh/revoked", "RevokedHostKeys"},
                       {"bindaddress 10.0.0.1", "BindAddress"},
                       {"bindinterface eth1", "BindInterface"},
                       {"compression yes", "Compression"},
                       {"forwardagent yes", "ForwardAgent"},
                       {"checkhostip yes", "CheckHostIP"},
                       {"nohostauthenticationforlocalhost yes", "NoHostAuthenticationForLocalhost"},
                       {"hostbasedauthentication yes", "HostbasedAuthentication"},
                       {"verifyhostkeydns ask", "VerifyHostKeyDNS"},
                       {"stricthostkeychecking no", "StrictHostKeyChecking no"},
                       {"ciphers aes256-gcm@openssh.com", "Ciphers"},
                       {"macs hmac-sha2-256-etm@openssh.com", "MACs"},
                       {"kexalgorithms sntrup761x25519-sha512@openssh.com", "KexAlgorithms"},
                       {"hostkeyalgorithms rsa-sha2-512,rsa-sha2-256", "HostKeyAlgorithms"},
                       {"userknownhostsfile /home/me/known hosts", "blanks"},
                       {"preferredauthentications gssapi-with-mic", "PreferredAuthentications are gssapi-with-mic"},
                       {"pubkeyauthentication false", "no keys"}}) {
    const std::string why = program_because(with(r.line));
    INFO(r.line << ": " << why);
    CHECK(has(why, r.word));
  }
}

TEST_CASE("keys, and what is known of the host", "[ssh][choice]") {
  struct row {
    std::function<void(transport_facts&)> change;
    const char* word;  // null: libssh2
  };
  for (const row& r : std::vector<row>{
           {[](transport_facts& f) { f.key_files = {{"ssh-rsa", false}}; }, "ed25519"},
           {[](transport_facts& f) { f.key_files = {}; }, "ed25519"},
           {[](transport_facts& f) { f.key_files = {{"sk-ssh-ed25519@openssh.com", false}}; }, "ed25519"},
           {[](transport_facts& f) { f.key_files = {{"ssh-ed25519", true}}; }, "passphrase"},
           {[](transport_facts& f) { f.key_files = {{"ssh-ed25519", true}}, f.has_passphrase = true; }, nullptr},
           {[](transport_facts& f) { f.key_files = {{"ssh-rsa", false}, {"ecdsa-sha2-nistp384", false}}; }, nullptr},
           {[](transport_facts& f) { f.key_files = {}, f.agent_key_types = {"ssh-rsa", "ssh-ed25519"}; }, nullptr},
           {[](transport_facts& f) { f.key_files = {}, f.agent_key_types = {"ssh-rsa"}; }, "agent"},
           {[](transport_facts& f) { f.key_files = {}, f.has_password = true; }, nullptr},
           {[](transport_facts& f) { f.has_certificate = true; }, "certificate"},
           {[](transport_facts& f) { f.has_master = true; }, "ControlMaster"},
           {[](transport_facts& f) { f.by_authority = true; }, "authority"},
           {[](transport_facts& f) { f.known_key_types = {"ssh-rsa"}; }, "ssh-rsa"},
           {[](transport_facts& f) { f.known_key_types = {"ssh-rsa", "ssh-ed25519"}; }, nullptr},
       }) {
    transport_facts facts = one_key();
    r.change(facts);
    const std::string why = program_because(plain, facts);
    INFO(why);
    const bool is_as_said = r.word == nullptr ? why.empty() : has(why, r.word);
    CHECK(is_as_said);
  }
  transport_facts agent;
  agent.agent_key_types = {"ssh-ed25519"};
  CHECK(program_because(with("identitiesonly yes"), agent).find("agent") != std::string::npos);
}

TEST_CASE("the user's wish comes first, then what there is", "[ssh][choice]") {
  transport_facts facts = one_key();
  facts.wanted = ssh_transport::program;
  facts.wanted_by = "RUNHOUSE_SSH";
  CHECK(has(program_because(plain, facts), "RUNHOUSE_SSH"));
  facts.wanted = ssh_transport::libssh2;
  CHECK(program_because(with("proxycommand x"), facts).empty());
  facts.wanted.reset();
  facts.has_libssh2 = false;
  CHECK(has(program_because(plain, facts), "libssh2.so.1"));
  facts.has_libssh2 = true;
  facts.has_program = false;
  CHECK(program_because(with("proxycommand x"), facts).empty());
}
