// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/ssh/base64.hpp>
#include <runhouse/ssh/ssh_string.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace rh::detail {

/// What a file with a private key says of it without its passphrase.
struct key_facts {
  std::string type;           ///< "ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256" ...; empty if the file does not say
  bool is_encrypted = false;  ///< a passphrase is needed
};

/// Of the text of such a file. Nothing if it is none.
/// Source: OpenSSH's PROTOCOL.key; RFC 7468.
inline std::optional<key_facts> facts_of_key(std::string_view text);

// ---- implementation

namespace key_file {

/// The text between a line that begins so and the line that ends it; nothing if there is none.
inline std::optional<std::string_view> between(std::string_view text, std::string_view label) {
  const std::string begin = "-----BEGIN " + std::string(label) + "-----";
  const std::string end = "-----END " + std::string(label) + "-----";
  const std::size_t from = text.find(begin);
  const std::size_t to = from == text.npos ? text.npos : text.find(end, from + begin.size());
  if (to == text.npos) return std::nullopt;
  return text.substr(from + begin.size(), to - from - begin.size());
}

inline std::optional<key_facts> of_openssh(std::string_view body) {
  std::string packed(body);
  std::erase_if(packed, [](char c) { return c == '\n' || c == '\r' || c == ' '; });
  const std::optional<std::string> bytes = from_base64(packed);
  constexpr std::string_view magic("openssh-key-v1\0", 15);
  if (!bytes || !bytes->starts_with(magic)) return std::nullopt;
  std::string_view rest = std::string_view(*bytes).substr(magic.size());
  const auto cipher = take_ssh_string(rest);
  const auto kdf = take_ssh_string(rest);
  const auto options = take_ssh_string(rest);
  if (!cipher || !kdf || !options || rest.size() < 4) return std::nullopt;
  rest.remove_prefix(4);  // how many keys: always one
  std::optional<std::string_view> key = take_ssh_string(rest);
  if (!key) return std::nullopt;
  const auto type = take_ssh_string(*key);
  if (!type) return std::nullopt;
  return key_facts{std::string(*type), *cipher != "none"};
}

}  // namespace key_file

inline std::optional<key_facts> facts_of_key(std::string_view text) {
  if (const auto body = key_file::between(text, "OPENSSH PRIVATE KEY")) return key_file::of_openssh(*body);
  if (const auto body = key_file::between(text, "RSA PRIVATE KEY")) return key_facts{"ssh-rsa", body->find("ENCRYPTED") != body->npos};
  if (const auto body = key_file::between(text, "EC PRIVATE KEY")) return key_facts{"ecdsa-sha2-nistp256", body->find("ENCRYPTED") != body->npos};
  if (key_file::between(text, "ENCRYPTED PRIVATE KEY")) return key_facts{"", true};
  if (key_file::between(text, "PRIVATE KEY")) return key_facts{"", false};
  return std::nullopt;
}

}  // namespace rh::detail
