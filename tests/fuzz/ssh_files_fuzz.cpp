// SPDX-License-Identifier: Apache-2.0
#include <runhouse/ssh/base64.hpp>
#include <runhouse/ssh/key_file.hpp>
#include <runhouse/ssh/known_hosts.hpp>
#include <runhouse/ssh/ssh_config.hpp>
#include <runhouse/ssh/transport_choice.hpp>

#include "fuzz/fuzz.hpp"

#include <string>
#include <string_view>

/// Files of ssh that may have anything in them: what known_hosts say of a host, what a key file says of itself, and what
/// the choice of the transport makes of a configuration.
///
///     offset  bytes  field
///     0       1      0: known_hosts, 1: a key file, 2: a configuration, as ssh -G prints it
///     1              its text
namespace {

using namespace rh::detail;
using kind = host_key_verdict::kind;

/// An ed25519 key as the protocol encodes it.
const std::string a_key = std::string("\0\0\0\x0bssh-ed25519\0\0\0\x20", 19) + std::string(32, 'k');

kind verdict_of(std::string_view text, std::uint16_t port) {
  known_hosts known("gpu", port);
  known.add_text(text, "file");
  static_cast<void>(known.types());
  static_cast<void>(known.has_authority());
  return known.check(a_key).is;
}

void read_known_hosts(const std::string& text) {
  for (const std::uint16_t port : {std::uint16_t{22}, std::uint16_t{2222}, std::uint16_t{0}}) {
    const kind is = verdict_of(text, port);
    fuzz::must(verdict_of("# nothing\n\n" + text, port) == is, "comments and empty lines change nothing");
    fuzz::must(verdict_of(text + "\n@revoked * ssh-ed25519 " + to_base64(a_key) + "\n", port) != kind::known, "what is revoked is not known");
    for (const bool hashed : {false, true}) {
      const std::string line = known_hosts("gpu", port).line_for(a_key, hashed);
      const kind after = verdict_of(text + "\n" + line + "\n", port);
      fuzz::must(after == kind::known || ((is == kind::revoked || is == kind::unreadable) && after == is), "the line that makes a key known does so, unless another forbids it");
    }
  }
}

void read_key(const std::string& text) {
  if (const auto key = facts_of_key(text)) fuzz::must(key->type.size() <= text.size(), "a type is in the file");
  const auto decoded = from_base64(text);
  if (decoded) fuzz::must(from_base64(to_base64(*decoded)) == decoded, "base64 comes back");
}

void read_configuration(const std::string& text) {
  const ssh_config config(text);
  fuzz::must(config.port() != 0, "a port is one");
  transport_facts facts;
  facts.key_files = {key_facts{"ssh-ed25519", false}};
  const transport_choice choice = choose_transport(config, facts);
  fuzz::must(!choice.why.empty(), "a choice has a reason");
  if (!config.value("proxycommand").empty()) fuzz::must(choice.by == rh::ssh_transport::program, "a ProxyCommand needs the program");
}

}  // namespace

void fuzz::seeds(const std::function<void(const std::string& name, const bytes& input)>& add) {
  const auto put = [&](const std::string& name, char what, const std::string& text) {
    bytes input{static_cast<std::byte>(what)};
    for (const char c : text) input.push_back(static_cast<std::byte>(c));
    add(name, input);
  };
  const std::string key = " ssh-ed25519 " + to_base64(a_key) + "\n";
  put("known_hosts", 0, "# comment\ngpu,[gpu]:2222,!other,*.lab" + key + known_hosts("gpu", 2222).line_for(a_key, true) + "\n");
  put("marks", 0, "@revoked gpu ssh-ed25519 AAAA\r\n@cert-authority *" + key + "@revoked *" + key);
  put("key", 1, "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZWQyNTUxOQ==\n-----END OPENSSH PRIVATE KEY-----\n");
  put("pem", 1, "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n");
  put("configuration", 2, "host gpu\nuser me\nhostname gpu\nport 22\nproxyjump none\nciphers aes128-ctr,aes256-ctr\nidentityfile ~/.ssh/id_ed25519\nproxycommand nc %h %p\n");
}

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::input in(data, size);
  const std::uint8_t what = in.u8();
  const fuzz::bytes rest = in.rest();
  const std::string text(reinterpret_cast<const char*>(rest.data()), rest.size());
  switch (what % 3) {
    case 0: read_known_hosts(text); break;
    case 1: read_key(text); break;
    default: read_configuration(text); break;
  }
  return 0;
}
