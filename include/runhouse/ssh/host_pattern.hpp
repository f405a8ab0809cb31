// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/os/libcrypto.hpp>
#include <runhouse/ssh/base64.hpp>

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <new>
#include <optional>
#include <string>
#include <string_view>

namespace rh::detail {

/// As OpenSSH does it: ASCII only.
inline std::string in_lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

/// Whether a name is as a pattern says, in which * stands for any text and ? for any character.
inline bool is_like(std::string_view name, std::string_view pattern) noexcept {
  std::size_t n = 0, p = 0;
  std::size_t star = pattern.npos, after_star = 0;  // where to go on with one character more for the last *
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      after_star = n;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == name[n])) {
      ++p;
      ++n;
    } else if (star != pattern.npos) {
      p = star + 1;
      n = ++after_star;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

/// The HMAC-SHA1 of a name, with which known_hosts files hide names. Errors: std::bad_alloc.
inline std::string hash_of_host(std::string_view name, std::string_view salt) {
  os::keep_libcrypto();
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned size = 0;
  const auto* const made = HMAC(EVP_sha1(), salt.data(), static_cast<int>(salt.size()), reinterpret_cast<const unsigned char*>(name.data()), name.size(),
                                digest.data(), &size);
  if (made == nullptr) throw std::bad_alloc();
  return {reinterpret_cast<const char*>(digest.data()), size};
}

/// "|1|salt|hash", with a salt of its own. Errors: std::bad_alloc.
inline std::string hashed_host(std::string_view name) {
  os::keep_libcrypto();
  std::string salt(20, '\0');
  if (RAND_bytes(reinterpret_cast<unsigned char*>(salt.data()), static_cast<int>(salt.size())) != 1) throw std::bad_alloc();
  return "|1|" + to_base64(salt) + "|" + to_base64(hash_of_host(name, salt));
}

/// Whether the first field of a line of a known_hosts file is about a host: a hashed name, or patterns between commas, of
/// which none that begins with ! may fit. `name` in lower case: "host", or "[host]:port".
inline bool is_of_host(std::string_view hosts, const std::string& name) {
  if (hosts.starts_with('|')) {
    if (!hosts.starts_with("|1|")) return false;
    hosts.remove_prefix(3);
    const std::size_t bar = hosts.find('|');
    if (bar == hosts.npos) return false;
    const std::optional<std::string> salt = from_base64(hosts.substr(0, bar));
    const std::optional<std::string> hash = from_base64(hosts.substr(bar + 1));
    return salt && hash && *hash == hash_of_host(name, *salt);
  }
  bool fits = false;
  for (bool more = true; more;) {
    const std::size_t comma = hosts.find(',');
    more = comma != hosts.npos;
    std::string_view pattern = hosts.substr(0, comma);
    if (more) hosts.remove_prefix(comma + 1);
    const bool is_negated = pattern.starts_with('!');
    if (is_negated) pattern.remove_prefix(1);
    if (!is_like(name, in_lower_case(pattern))) continue;
    if (is_negated) return false;
    fits = true;
  }
  return fits;
}

}  // namespace rh::detail
