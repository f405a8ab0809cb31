// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rh {

/// Who answers what a login asks, where libssh2 carries it; not what hosts on the way there ask. What is empty answers nothing. They are called on a thread of the
/// library's own, one at a time, and again when a connection that was lost is made again.
struct ssh_answers {
  /// The passphrase of a key file; nothing: the key is left out.
  std::function<std::optional<std::string>(const std::string& key_file)> passphrase;
  /// A question of the host, as for a password or a code: nothing gives up. `is_secret`: not to be shown. A password that is
  /// wrong is asked for again, three times in all.
  std::function<std::optional<std::string>(const std::string& prompt, bool is_secret)> question;
};

/// What carries bytes to a machine.
enum class ssh_transport {
  libssh2,  ///< in this process
  program,  ///< the user's ssh
};

/// A machine that is reached over SSH, with what the program says itself beside the user's configuration; what it does not
/// say is as the configuration has it. Two that say the same mean one connection.
///
///     auto gpu = co_await rh::connect(rh::ssh_host("gpu-1").user("me").port(2222).key("~/.ssh/lab"));
class ssh_host {
 public:
  /// As `ssh` takes it: "gpu-1", "me@gpu-1", "ssh://me@gpu-1:2222", or a Host of ~/.ssh/config.
  explicit ssh_host(std::string name) : name_(std::move(name)) {}

  ssh_host& user(std::string name) { return set(user_, std::move(name)); }
  ssh_host& port(std::uint16_t number) { return set(port_, number); }
  /// A private key that is tried first. "~" is the user's home.
  ssh_host& key(std::string file) { return set(key_, std::move(file)); }
  /// Through these machines, as ssh's -J takes them: "me@gate:2222,inner".
  ssh_host& jump(std::string machines) { return set(jump_, std::move(machines)); }
  /// A host of which no key is known is believed, and its key is added to the user's known_hosts. One whose key has changed
  /// is refused all the same.
  ssh_host& accept_new_key(bool accept = true) { return set(accepts_new_key_, accept); }
  /// Instead of the one that would be chosen. RUNHOUSE_SSH=libssh2 and RUNHOUSE_SSH=program go before it.
  ssh_host& transport(ssh_transport wanted) { return set(transport_, std::optional(wanted)); }
  /// Where there is one, libssh2 is chosen even if no key could log in.
  ssh_host& answers(ssh_answers given) { return set(answers_, std::move(given)); }

  const std::string& name() const noexcept { return name_; }
  const std::string& user() const noexcept { return user_; }
  std::uint16_t port() const noexcept { return port_; }  ///< 0: not said
  const std::string& key() const noexcept { return key_; }
  const std::string& jump() const noexcept { return jump_; }
  bool accepts_new_key() const noexcept { return accepts_new_key_; }
  std::optional<ssh_transport> transport() const noexcept { return transport_; }
  const ssh_answers& answers() const noexcept { return answers_; }

 private:
  template <class T>
  ssh_host& set(T& member, T value) {
    member = std::move(value);
    return *this;
  }

  std::string name_;
  std::string user_;
  std::uint16_t port_ = 0;
  std::string key_;
  std::string jump_;
  bool accepts_new_key_ = false;
  std::optional<ssh_transport> transport_;
  ssh_answers answers_;
};

namespace detail {

/// Refuses what ssh, or a shell behind it, could take for something else than a host: "host", "user@host",
/// "ssh://user@host:port". Errors: errc::unknown_cluster.
inline void check_host(std::string_view host) {
  const auto is_plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || std::string_view("._-+@:/[]%").find(c) != std::string_view::npos;
  };
  const std::size_t at = host.rfind('@');
  const bool begins_well = !host.empty() && host.front() != '-' && (at == host.npos || (at + 1 < host.size() && host[at + 1] != '-'));
  if (begins_well && host.size() <= 255 && std::ranges::all_of(host, is_plain)) return;
  fail(errc::unknown_cluster, "'" + std::string(host) + "' is no cluster: a name is 'local', 'here', or what ssh takes, such as host, user@host or " +
                                  "ssh://user@host:port, of letters, digits and . _ - + @ : / [ ] %");
}

/// The same for all that is said of it. Errors: errc::unknown_cluster.
inline void check_host(const ssh_host& host) {
  check_host(host.name());
  const auto is_plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || std::string_view("._-+@\\").find(c) != std::string_view::npos;
  };
  if (host.user().starts_with('-') || host.user().size() > 255 || !std::ranges::all_of(host.user(), is_plain)) {
    fail(errc::unknown_cluster, "'" + host.user() + "' is no user of " + host.name() + ": a name has letters, digits and . _ - + @ \\");
  }
  for (std::string_view rest = host.jump(); !rest.empty();) {
    const std::string_view one = rest.substr(0, rest.find(','));
    check_host(one);
    rest.remove_prefix(std::min(one.size() + 1, rest.size()));
  }
  if (host.key().find('\0') != std::string::npos || host.key().starts_with('-')) {
    fail(errc::unknown_cluster, "'" + host.key() + "' is no file of a key of " + host.name());
  }
}

/// What is said of it, as arguments of `ssh`, before "--" and its name.
inline std::vector<std::string> ssh_arguments(const ssh_host& host) {
  std::vector<std::string> all;
  const auto add = [&](const char* option, std::string value) {
    all.emplace_back(option);
    all.push_back(std::move(value));
  };
  if (!host.user().empty()) add("-l", host.user());
  if (host.port() != 0) add("-p", std::to_string(host.port()));
  if (!host.key().empty()) add("-i", host.key());
  if (!host.jump().empty()) add("-J", host.jump());
  if (host.accepts_new_key()) add("-o", "StrictHostKeyChecking=accept-new");
  return all;
}

/// The same for two that mean one connection.
inline std::string identity_of(const ssh_host& host) {
  std::string all = "ssh " + host.name();
  for (const std::string& argument : ssh_arguments(host)) all += '\0' + argument;
  if (host.transport()) all += *host.transport() == ssh_transport::libssh2 ? " libssh2" : " program";
  return all;
}

}  // namespace detail
}  // namespace rh
