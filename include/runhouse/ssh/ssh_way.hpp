// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/ssh/libssh2_command.hpp>
#include <runhouse/ssh/ssh_host.hpp>
#include <runhouse/ssh/ssh_process.hpp>
#include <runhouse/ssh/transport_choice.hpp>
#include <runhouse/ssh/user_configuration.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unistd.h>
#include <utility>
#include <vector>

namespace rh::detail {

/// How commands are run on a host: by libssh2 or by the ssh program, as the user's configuration allows.
class ssh_way {
 public:
  /// Errors: errc::unknown_cluster.
  explicit ssh_way(ssh_host host) : host_(std::move(host)) { check_host(host_); }

  const std::string& name() const noexcept { return host_.name(); }
  /// Blocks until it is logged in, where libssh2 does that. Where libssh2 finds that it cannot do it, the program is tried.
  /// One thread at a time. Errors: those of libssh2_command::start and ssh_process::start.
  std::shared_ptr<ssh_command> run(const std::string& command);
  /// What the last command was run by, and why: "libssh2: nothing in the configuration needs the program 'ssh'". Any thread.
  std::string text() const {
    const std::lock_guard lock(mutex_);
    return text_;
  }

 private:
  transport_choice choose(std::vector<ssh_target>& way) const;
  std::string add_jumps(const std::string& list, std::vector<ssh_target>& way) const;
  void is_by(const transport_choice& choice) {
    const std::lock_guard lock(mutex_);
    text_ = (choice.by == ssh_transport::libssh2 ? "libssh2: " : "the ssh program: ") + choice.why;
  }

  const ssh_host host_;
  mutable std::mutex mutex_;
  std::string text_;  // empty until then
};

// ---- implementation

/// What the user wants by RUNHOUSE_SSH; nothing where that is not set. Errors: errc::unknown_cluster.
inline std::optional<ssh_transport> transport_of_environment() {
  const char* variable = std::getenv("RUNHOUSE_SSH");
  const std::string_view text(variable != nullptr ? variable : "");
  if (text.empty()) return std::nullopt;
  if (text == "libssh2") return ssh_transport::libssh2;
  if (text == "program") return ssh_transport::program;
  fail(errc::unknown_cluster, "RUNHOUSE_SSH is '" + std::string(text) + "'; it may be 'libssh2' or 'program'");
}

/// `way` is what libssh2 goes over.
inline transport_choice ssh_way::choose(std::vector<ssh_target>& way) const {
  std::optional<ssh_transport> wanted = transport_of_environment();
  std::string by = "RUNHOUSE_SSH";
  if (!wanted && host_.transport()) {
    wanted = host_.transport();
    by = "the program that connects";
  }
  if (!host_.key().empty()) {
    const std::string path = host_.key().starts_with("~/") ? user_configuration::home() + host_.key().substr(1) : host_.key();
    if (path.find('%') == path.npos && ::access(path.c_str(), R_OK) != 0) {
      fail(errc::authentication_failed, "the key " + path + ", by which " + name() + " is to let this user in, cannot be read: " + std::strerror(errno));
    }
  }
  if (wanted == ssh_transport::program) return {ssh_transport::program, by + " wants it"};
  const std::optional<ssh_config> given = configuration_of(host_);
  const ssh_config config = given ? *given : default_configuration(host_);
  ssh_target target = target_of(config, host_);
  transport_facts facts = facts_of(config, target);
  facts.has_program = given.has_value();
  facts.wanted = wanted;
  facts.wanted_by = by;
  transport_choice choice = choose_transport(config, facts);
  if (choice.by != ssh_transport::libssh2) return choice;
  std::string why = transport::need_of_trust(config);
  if (!why.empty()) fail(errc::unknown_cluster, name() + " is not reached by libssh2, though " + choice.why + ": " + why + ", which only the ssh program heeds");
  why = add_jumps(config.value("proxyjump"), way);
  if (!why.empty() && wanted) fail(errc::unknown_cluster, name() + " is not reached by libssh2, though " + by + " wants it: " + why + "; only the ssh program goes that way");
  if (!why.empty()) return {ssh_transport::program, std::move(why)};
  way.push_back(std::move(target));
  return choice;
}

/// "user@host:port,host". Why one of them needs the program; empty if none does.
inline std::string ssh_way::add_jumps(const std::string& list, std::vector<ssh_target>& way) const {
  for (std::size_t begin = 0; begin < list.size();) {
    const std::size_t end = std::min(list.find(',', begin), list.size());
    const std::string hop = list.substr(begin, end - begin);
    begin = end + 1;
    const bool has_port = hop.find("://") == hop.npos && hop.rfind(':') != hop.npos;
    const ssh_host host(has_port ? "ssh://" + hop : hop);  // whose questions are not those of the host
    const auto config = configuration_of(host);
    ssh_target target = target_of(config ? *config : default_configuration(host), host);
    target.name = hop;
    if (config) {
      if (!config->value("proxyjump").empty()) return "the way there leads over " + hop + ", to which another jump leads";
      const transport_choice own = choose_transport(*config, facts_of(*config, target));
      if (own.by != ssh_transport::libssh2) return "the way there leads over " + hop + ", where " + own.why;
    }
    way.push_back(std::move(target));
  }
  return {};
}

inline std::shared_ptr<ssh_command> ssh_way::run(const std::string& command) {
  std::vector<ssh_target> way;
  transport_choice choice = choose(way);
  is_by(choice);
  if (choice.by == ssh_transport::libssh2) {
    try {
      return libssh2_command::start(way, command);
    } catch (const libssh2_incapable& e) {
      if (choice.why.ends_with(" wants it") || choice.why == no_ssh_program) throw;
      is_by({ssh_transport::program, e.what()});
    }
  }
  return ssh_process::start(host_, command);
}

}  // namespace rh::detail
