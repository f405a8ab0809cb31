// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/limits.hpp>
#include <runhouse/os/fd.hpp>
#include <runhouse/os/libcrypto.hpp>
#include <runhouse/ssh/base64.hpp>
#include <runhouse/ssh/host_pattern.hpp>
#include <runhouse/ssh/ssh_string.hpp>

#include <openssl/evp.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace rh::detail {

/// A public key as the protocol encodes it. The name of its type is its first field: "ssh-ed25519".
using host_key = std::string;

/// The name of a key's type; empty if it is no key.
inline std::string_view type_of(const host_key& key) noexcept {
  std::string_view rest = key;
  return take_ssh_string(rest).value_or(std::string_view());
}

/// As ssh shows it: "SHA256:..." of the key.
inline std::string fingerprint_of(const host_key& key) {
  os::keep_libcrypto();
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  if (EVP_Digest(key.data(), key.size(), digest, &size, EVP_sha256(), nullptr) != 1) throw std::bad_alloc();
  std::string text = to_base64({reinterpret_cast<const char*>(digest), size});
  while (text.ends_with('=')) text.pop_back();
  return "SHA256:" + text;
}

/// What known_hosts files say of a key that a host has shown.
struct host_key_verdict {
  enum class kind {
    known,
    unknown,     ///< nothing is known of this host
    changed,     ///< other keys are
    revoked,     ///< this one is not to be trusted
    by_authority,  ///< keys of this host are to be signed by an authority, which the ssh program checks
    unreadable,  ///< a file is there that cannot be read, or a line that may revoke this key
  };
  kind is = kind::unknown;
  std::string where;  ///< "FILE:LINE" of what says so; the file of what is unreadable
  std::string why;    ///< of what is unreadable
};

/// The lines of known_hosts files that are about one host, by OpenSSH's rules. Where those leave doubt, it refuses.
/// Source: sshd(8), SSH_KNOWN_HOSTS FILE FORMAT.
class known_hosts {
 public:
  /// `host` as it is looked up: HostKeyAlias, or the name to connect to. `port` 0: with an alias, which has none.
  known_hosts(std::string_view host, std::uint16_t port) : plain_(in_lower_case(host)) {
    name_ = port == 0 || port == 22 ? plain_ : "[" + plain_ + "]:" + std::to_string(port);
  }

  /// As it is looked up: "host", or "[host]:port".
  const std::string& name() const noexcept { return name_; }
  /// Reads a file; nothing if there is none.
  void add_file(const std::string& path);
  /// The same of its text.
  void add_text(std::string_view text, const std::string& path);

  host_key_verdict check(const host_key& key) const;
  /// The types of the keys that are known of this host, in the order of the files: one of these is to be asked for.
  std::vector<std::string> types() const;
  /// Whether an authority is to sign this host's keys.
  bool has_authority() const { return find(marker::authority, true, nullptr) != nullptr || find(marker::authority, false, nullptr) != nullptr; }
  /// The line that would make `key` known. `hashed`: as HashKnownHosts wants it. Errors: std::bad_alloc.
  std::string line_for(const host_key& key, bool hashed) const;

 private:
  enum class marker { none, authority, revoked };
  struct entry {
    marker marked;
    bool is_for_name;   // else it is for the host at port 22
    host_key key;       // empty: it could not be read
    std::string where;
  };
  void add_line(std::string_view line, const std::string& where);
  const entry* find(marker marked, bool is_for_name, const host_key* key) const;

  std::string plain_;
  std::string name_;
  std::vector<entry> entries_;
  std::string unreadable_;
  std::string why_unreadable_;
};

/// Adds a line to the end of a known_hosts file, which is made if there is none, with its folder, for this user alone.
/// Errors: std::system_error.
inline void add_known_host(const std::string& path, const std::string& line);

// ---- implementation

inline void known_hosts::add_file(const std::string& path) {
  const auto fail = [&](const char* why) {
    if (unreadable_.empty()) {
      unreadable_ = path;
      why_unreadable_ = why;
    }
  };
  struct close_file {
    void operator()(std::FILE* f) const noexcept { std::fclose(f); }
  };
  const std::unique_ptr<std::FILE, close_file> file(std::fopen(path.c_str(), "re"));
  if (!file) {
    if (errno != ENOENT && errno != ENOTDIR) fail(std::strerror(errno));
    return;
  }
  std::string text;
  char part[64 * 1024];
  for (std::size_t n; (n = std::fread(part, 1, sizeof part, file.get())) > 0;) {
    text.append(part, n);
    if (text.size() > limits::known_hosts_bytes) return fail("it is too large for a file of known hosts");
  }
  if (std::ferror(file.get()) != 0) return fail(std::strerror(errno));
  add_text(text, path);
}

inline void known_hosts::add_text(std::string_view text, const std::string& path) {
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    add_line(text.substr(0, end), path + ":" + std::to_string(number));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

inline void known_hosts::add_line(std::string_view line, const std::string& where) {
  constexpr std::string_view blanks = " \t\r";
  const auto next = [&] {
    line.remove_prefix(std::min(line.find_first_not_of(blanks), line.size()));
    const std::string_view word = line.substr(0, line.find_first_of(blanks));
    line.remove_prefix(word.size());
    return word;
  };
  std::string_view hosts = next();
  if (hosts.empty() || hosts.starts_with('#')) return;
  marker marked = marker::none;
  if (hosts.starts_with('@')) {
    if (hosts == "@revoked") {
      marked = marker::revoked;
    } else if (hosts == "@cert-authority") {
      marked = marker::authority;
    } else {
      return;
    }
    hosts = next();
  }
  const bool is_for_name = is_of_host(hosts, name_);
  if (!is_for_name && (name_ == plain_ || !is_of_host(hosts, plain_))) return;
  const std::string_view type = next();
  std::optional<host_key> key = from_base64(next());
  if (!key || type.empty() || type_of(*key) != type) key.emplace();
  // A line that trusts nothing it can name is of no use; one that may forbid is not to be passed over.
  if (key->empty() && marked != marker::revoked) return;
  entries_.push_back({marked, is_for_name, std::move(*key), where});
}

/// The first such line; of any key if `key` is null.
inline const known_hosts::entry* known_hosts::find(marker marked, bool is_for_name, const host_key* key) const {
  const auto found = std::ranges::find_if(entries_, [&](const entry& e) {
    return e.marked == marked && e.is_for_name == is_for_name && (key == nullptr || e.key == *key);
  });
  return found != entries_.end() ? &*found : nullptr;
}

inline host_key_verdict known_hosts::check(const host_key& key) const {
  using kind = host_key_verdict::kind;
  if (!unreadable_.empty()) return {kind::unreadable, unreadable_, why_unreadable_};
  for (const entry& e : entries_) {
    if (e.marked != marker::revoked) continue;
    if (e.key == key) return {kind::revoked, e.where, {}};
    if (e.key.empty()) return {kind::unreadable, e.where, "it revokes a key that cannot be read"};
  }
  if (const entry* same = find(marker::none, true, &key)) return {kind::known, same->where, {}};
  if (const entry* other = find(marker::none, true, nullptr)) return {kind::changed, other->where, {}};
  if (const entry* authority = find(marker::authority, true, nullptr)) return {kind::by_authority, authority->where, {}};
  // What is known of the host at port 22 counts for its other ports if it is the same.
  if (const entry* same = find(marker::none, false, &key)) return {kind::known, same->where, {}};
  if (const entry* authority = find(marker::authority, false, nullptr)) return {kind::by_authority, authority->where, {}};
  return {};
}

inline std::vector<std::string> known_hosts::types() const {
  std::vector<std::string> all;
  for (const bool is_for_name : {true, false}) {
    for (const entry& e : entries_) {
      if (e.marked != marker::none || e.is_for_name != is_for_name) continue;
      const std::string type(type_of(e.key));
      if (std::ranges::find(all, type) == all.end()) all.push_back(type);
    }
  }
  return all;
}

inline void add_known_host(const std::string& path, const std::string& line) {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  if (!folder.empty() && ::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) os::fail_errno("making " + folder.string());
  const os::unique_fd file = os::checked(::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600), ("opening " + path).c_str());
  struct stat facts {};
  char last = '\n';
  if (::fstat(file.get(), &facts) == 0 && facts.st_size > 0 && ::pread(file.get(), &last, 1, facts.st_size - 1) != 1) last = '\0';
  const std::string text = (last == '\n' ? "" : "\n") + line + "\n";
  if (::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) os::fail_errno("writing to " + path);
}

inline std::string known_hosts::line_for(const host_key& key, bool hashed) const {
  return (hashed ? hashed_host(name_) : name_) + " " + std::string(type_of(key)) + " " + to_base64(key);
}

}  // namespace rh::detail
