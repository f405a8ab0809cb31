// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/ssh/libssh2_command.hpp>
#include <runhouse/ssh/ssh_process.hpp>
#include <runhouse/ssh/transport_choice.hpp>
#include <runhouse/ssh/user_configuration.hpp>

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rh::detail {

/// How commands are run on a host: by libssh2 or by the ssh program, as the user's configuration allows.
class ssh_way {
 public:
  /// Errors: errc::unknown_cluster.
  explicit ssh_way(std::string host) : host_(std::move(host)) { check_host(host_); }

  /// Blocks until it is logged in, where libssh2 does that. Where libssh2 finds that it cannot do it, the program is tried.
  /// Errors: those of libssh2_command::start and ssh_process::start.
  std::shared_ptr<ssh_command> run(const std::string& command);
  /// What the last command was run by, and why.
  const transport_choice& choice() const noexcept { return choice_; }

 private:
  void choose();
  bool add_jumps(const std::string& list);

  const std::string host_;
  transport_choice choice_{ssh_transport::program, ""};
  std::vector<ssh_target> way_;  // for libssh2
};

// ---- implementation

inline void ssh_way::choose() {
  way_.clear();
  const char* wish = std::getenv("RUNHOUSE_SSH");
  std::optional<ssh_transport> wanted;
  if (wish != nullptr && *wish != '\0') {
    const std::string_view text(wish);
    if (text == "libssh2") {
      wanted = ssh_transport::libssh2;
    } else if (text == "program") {
      wanted = ssh_transport::program;
    } else {
      fail(errc::unknown_cluster, "RUNHOUSE_SSH is '" + std::string(text) + "'; it may be 'libssh2' or 'program'");
    }
  }
  if (wanted == ssh_transport::program) {
    choice_ = {ssh_transport::program, "RUNHOUSE_SSH wants it"};
    return;
  }
  const std::optional<ssh_config> given = configuration_of(host_);
  const ssh_config config = given ? *given : default_configuration(host_);
  ssh_target target = target_of(config, host_);
  transport_facts facts = facts_of(config, target);
  facts.has_program = given.has_value();
  facts.wanted = wanted;
  facts.wanted_by = "RUNHOUSE_SSH";
  choice_ = choose_transport(config, facts);
  if (choice_.by != ssh_transport::libssh2) return;
  if (!add_jumps(config.value("proxyjump"))) return;
  way_.push_back(std::move(target));
}

/// "user@host:port,host". False where one of them needs the program.
inline bool ssh_way::add_jumps(const std::string& list) {
  for (std::size_t begin = 0; begin < list.size();) {
    const std::size_t end = std::min(list.find(',', begin), list.size());
    const std::string hop = list.substr(begin, end - begin);
    begin = end + 1;
    const std::string name = hop.find("://") == hop.npos && hop.rfind(':') != hop.npos ? "ssh://" + hop : hop;
    const auto config = configuration_of(name);
    ssh_target target = target_of(config ? *config : default_configuration(name), hop);
    if (config) {
      const bool jumps_too = !config->value("proxyjump").empty();
      const transport_choice own = choose_transport(*config, facts_of(*config, target));
      if (jumps_too || own.by != ssh_transport::libssh2) {
        choice_ = {ssh_transport::program, "the way there leads over " + hop + (jumps_too ? ", to which another jump leads" : ", where " + own.why)};
        return false;
      }
    }
    way_.push_back(std::move(target));
  }
  return true;
}

inline std::shared_ptr<ssh_command> ssh_way::run(const std::string& command) {
  choose();
  if (choice_.by == ssh_transport::libssh2) {
    try {
      return libssh2_command::start(way_, command);
    } catch (const libssh2_incapable& e) {
      if (choice_.why.starts_with("RUNHOUSE_SSH")) throw;
      choice_ = {ssh_transport::program, e.what()};
    }
  }
  return ssh_process::start(host_, command);
}

}  // namespace rh::detail
