// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/ssh/key_file.hpp>
#include <runhouse/ssh/known_hosts.hpp>
#include <runhouse/ssh/ssh_config.hpp>
#include <runhouse/ssh/ssh_host.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rh::detail {

/// What libssh2 is made to use: what its every version has, and no flaw of it is known in.
/// Source: the tables of its releases; CVE-2023-48795 for what is left out.
struct libssh2_methods {
  static constexpr std::array<std::string_view, 2> ciphers{"aes256-ctr", "aes128-ctr"};
  static constexpr std::array<std::string_view, 2> macs{"hmac-sha2-256", "hmac-sha2-512"};
  static constexpr std::array<std::string_view, 6> key_exchanges{"curve25519-sha256",  "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256", "ecdh-sha2-nistp384",
                                                                 "ecdh-sha2-nistp521", "diffie-hellman-group-exchange-sha256"};
  static constexpr std::array<std::string_view, 4> host_keys{"ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"};
};

/// What the choice depends on, beside the configuration.
struct transport_facts {
  std::optional<ssh_transport> wanted;        ///< by the user
  std::string wanted_by;                      ///< "RUNHOUSE_SSH", say
  bool has_program = true;                    ///< there is an ssh program
  bool has_libssh2 = true;                    ///< this machine has the library
  std::vector<key_facts> key_files;           ///< those of the configuration that are there
  std::vector<std::string> agent_key_types;   ///< what the agent has
  bool has_certificate = false;               ///< beside a key file
  bool has_password = false;                  ///< the user's code answers for it
  bool has_passphrase = false;                ///< the same for the passphrase of a key
  bool has_master = false;                    ///< a connection that others share is there
  std::vector<std::string> known_key_types;   ///< of the host
  bool by_authority = false;                  ///< an authority signs the host's keys
};

inline constexpr const char* no_ssh_program = "there is no program 'ssh'";

struct transport_choice {
  ssh_transport by;
  std::string why;  ///< "the configuration has a ProxyCommand"
};

/// Which of the two is to carry a session: libssh2, unless something in the configuration needs the program.
inline transport_choice choose_transport(const ssh_config& config, const transport_facts& facts);

// ---- implementation

namespace transport {

/// Whether one of ours is among those that the configuration allows; also where it says nothing of them.
inline bool allows_one(const ssh_config& config, std::string_view keyword, std::span<const std::string_view> ours) {
  const std::vector<std::string> allowed = config.words(keyword);
  return allowed.empty() || std::ranges::any_of(allowed, [&](const std::string& a) { return std::ranges::find(ours, a) != ours.end(); });
}

/// Whether libssh2 signs with keys of this type in all its versions.
inline bool signs_with(std::string_view type) { return type == "ssh-ed25519" || type.starts_with("ecdsa-sha2-nistp"); }

/// What says whether a host is to be trusted, or how it is reached, and libssh2 would pass over; empty if nothing does.
inline std::string need_of_trust(const ssh_config& config) {
  if (!config.value("proxycommand").empty()) return "the configuration has a ProxyCommand";
  struct asked {
    const char* keyword;
    const char* name;
  };
  for (const asked& a : {asked{"knownhostscommand", "KnownHostsCommand"}, {"revokedhostkeys", "RevokedHostKeys"}}) {
    if (!config.value(a.keyword).empty()) return std::string("the configuration has a ") + a.name;
  }
  if (const std::string dns = config.value("verifyhostkeydns"); !dns.empty() && dns != "no" && dns != "false") return "the configuration has VerifyHostKeyDNS " + dns;
  for (const char* keyword : {"userknownhostsfile", "globalknownhostsfile"}) {
    for (const std::string& file : config.files(keyword)) {
      if (file.front() != '/' && !file.starts_with("~/") && file.front() != '%') {
        return "the configuration's files of known hosts (" + config.value(keyword) + ") may have blanks in their names";
      }
    }
  }
  return {};
}

/// Why the program is needed; empty if it is not.
inline std::string need_of_program(const ssh_config& config, const transport_facts& facts) {
  if (std::string why = need_of_trust(config); !why.empty()) return why;
  if (facts.has_master) return "a connection that is shared by ControlMaster is there";
  if (const std::string master = config.text("controlmaster"); !master.empty() && master != "false" && master != "no") {
    return "the configuration shares connections (ControlMaster " + master + ")";
  }
  struct asked {
    const char* keyword;
    const char* name;
  };
  for (const asked& a : {asked{"pkcs11provider", "PKCS11Provider"}, {"certificatefile", "CertificateFile"}, {"bindaddress", "BindAddress"}, {"bindinterface", "BindInterface"}}) {
    if (!config.value(a.keyword).empty()) return std::string("the configuration has a ") + a.name;
  }
  for (const asked& a : {asked{"compression", "Compression"}, {"forwardagent", "ForwardAgent"}, {"checkhostip", "CheckHostIP"},
                         {"nohostauthenticationforlocalhost", "NoHostAuthenticationForLocalhost"}, {"hostbasedauthentication", "HostbasedAuthentication"}}) {
    if (const std::string text = config.value(a.keyword); !text.empty() && text != "no" && text != "false") return std::string("the configuration has ") + a.name + " " + text;
  }
  if (const std::string strict = config.text("stricthostkeychecking"); strict == "no" || strict == "off" || strict == "false") {
    return "the configuration does not check host keys (StrictHostKeyChecking " + strict + ")";
  }
  if (!allows_one(config, "ciphers", libssh2_methods::ciphers)) return "the configuration's Ciphers have none of libssh2's";
  if (!allows_one(config, "macs", libssh2_methods::macs)) return "the configuration's MACs have none of libssh2's";
  if (!allows_one(config, "kexalgorithms", libssh2_methods::key_exchanges)) return "the configuration's KexAlgorithms have none of libssh2's";
  if (!allows_one(config, "hostkeyalgorithms", libssh2_methods::host_keys)) return "the configuration's HostKeyAlgorithms have none of libssh2's";

  if (facts.by_authority) return "an authority signs the host's keys (@cert-authority)";
  const auto verifies = [](std::string_view type) { return std::ranges::find(libssh2_methods::host_keys, type) != libssh2_methods::host_keys.end(); };
  if (!facts.known_key_types.empty() && std::ranges::none_of(facts.known_key_types, verifies)) {
    return "the host's key that is known is of a type (" + facts.known_key_types.front() + ") that libssh2 does not take";
  }

  if (facts.has_certificate) return "a key has a certificate";
  const std::vector<std::string> preferred = config.words("preferredauthentications");
  if (!preferred.empty() && std::ranges::find(preferred, "publickey") == preferred.end() && !facts.has_password) {
    return "the configuration's PreferredAuthentications are " + config.text("preferredauthentications");
  }
  const bool may_use_keys = config.text("pubkeyauthentication") != "no" && config.text("pubkeyauthentication") != "false";
  const bool may_ask = config.text("passwordauthentication") != "no" || config.text("kbdinteractiveauthentication") != "no";
  if (facts.has_password && may_ask) return {};
  if (!may_use_keys) return "the configuration allows no keys, and no password is given";
  if (!config.is_on("identitiesonly") && std::ranges::any_of(facts.agent_key_types, signs_with)) return {};
  const auto opens = [&](const key_facts& k) { return signs_with(k.type) && (!k.is_encrypted || facts.has_passphrase); };
  if (std::ranges::any_of(facts.key_files, opens)) return {};
  return "there is no ed25519 or ecdsa key in the agent, nor in a file without a passphrase, which libssh2 could use";
}

}  // namespace transport

inline transport_choice choose_transport(const ssh_config& config, const transport_facts& facts) {
  if (facts.wanted) return {*facts.wanted, facts.wanted_by + " wants it"};
  if (!facts.has_program) return {ssh_transport::libssh2, no_ssh_program};
  if (!facts.has_libssh2) return {ssh_transport::program, "there is no libssh2.so.1 on this machine"};
  std::string why = transport::need_of_program(config, facts);
  if (!why.empty()) return {ssh_transport::program, std::move(why)};
  return {ssh_transport::libssh2, "nothing in the configuration needs the program 'ssh'"};
}

}  // namespace rh::detail
