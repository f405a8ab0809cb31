// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/core/limits.hpp>
#include <runhouse/os/fd.hpp>
#include <runhouse/os/process.hpp>
#include <runhouse/os/socket.hpp>
#include <runhouse/os/system.hpp>
#include <runhouse/ssh/key_file.hpp>
#include <runhouse/ssh/libssh2_login.hpp>
#include <runhouse/ssh/ssh_config.hpp>
#include <runhouse/ssh/ssh_host.hpp>
#include <runhouse/ssh/ssh_target.hpp>
#include <runhouse/ssh/transport_choice.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <poll.h>
#include <pwd.h>
#include <span>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

namespace rh::detail {

/// What the user's ssh says of its configuration for a host: `ssh -G`. Nothing where there is no ssh.
/// Errors: errc::unknown_cluster where it refuses the host; errc::timed_out, as where a Match exec hangs.
inline std::optional<ssh_config> configuration_of(const ssh_host& host);

/// The same as of an ssh that has no configuration: from "host", "user@host" or "ssh://user@host:port", and what is said of it.
inline ssh_config default_configuration(const ssh_host& host);

/// What libssh2 needs to reach a host of this configuration, which the user calls `name`.
inline ssh_target target_of(const ssh_config& config, const ssh_host& host);

/// What the choice of the transport depends on, beside the configuration.
inline transport_facts facts_of(const ssh_config& config, const ssh_target& target);

// ---- implementation

namespace user_configuration {

/// A field of this user's entry in the list of accounts.
inline std::string of_account(char* passwd::* field) {
  std::vector<char> text(16 * 1024);
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwuid_r(::getuid(), &entry, text.data(), text.size(), &found) != 0 || found == nullptr || entry.*field == nullptr) return {};
  return entry.*field;
}

/// The account's, as ssh has it, not $HOME.
inline std::string home() {
  const std::string folder = of_account(&passwd::pw_dir);
  const char* variable = std::getenv("HOME");
  return !folder.empty() || variable == nullptr ? folder : variable;
}

/// A path with ssh's tokens; empty where it has one that is not known here.
inline std::string expanded(std::string_view path, const ssh_config& config, const std::string& name) {
  std::string all;
  if (path.starts_with("~/")) {
    all = home();
    path.remove_prefix(1);
  }
  for (std::size_t i = 0; i < path.size(); ++i) {
    if (path[i] != '%') {
      all += path[i];
      continue;
    }
    switch (++i < path.size() ? path[i] : '\0') {
      case '%': all += '%'; break;
      case 'd': all += home(); break;
      case 'h': all += config.host_name(); break;
      case 'n': all += name; break;
      case 'p': all += std::to_string(config.port()); break;
      case 'r': all += config.user(); break;
      default: return {};
    }
  }
  return all;
}

inline std::string read_file(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline std::string user_name() { return of_account(&passwd::pw_name); }

/// Of those of ours that the configuration allows; all where it says nothing of them.
inline std::vector<std::string> allowed(const ssh_config& config, std::string_view keyword, std::span<const std::string_view> ours) {
  const std::vector<std::string> said = config.words(keyword);
  std::vector<std::string> both;
  for (const std::string_view one : ours) {
    if (said.empty() || std::ranges::find(said, one) != said.end()) both.emplace_back(one);
  }
  return both;
}

}  // namespace user_configuration

inline std::optional<ssh_config> configuration_of(const ssh_host& host) {
  check_host(host);
  auto [out, their_out] = os::make_pipe();
  auto [err, their_err] = os::make_pipe();
  const os::unique_fd nothing = os::checked(::open("/dev/null", O_RDONLY | O_CLOEXEC), "opening /dev/null");
  os::spawn_request request;
  request.path = "ssh";
  // What a configuration may have that does not go with a command does not matter.
  request.arguments = {"ssh", "-G", "-o", "RemoteCommand=none"};
  for (const std::string& a : ssh_arguments(host)) request.arguments.push_back(a);
  request.arguments.emplace_back("--");
  request.arguments.push_back(host.name());
  request.arguments.emplace_back("true");
  request.environment = os::environment_without("RUNHOUSE_");
  request.descriptors = {nothing.get(), their_out.get(), their_err.get()};
  request.place = os::spawn_request::terminal::none;
  os::process process;
  try {
    process = os::spawn(request);
  } catch (const std::system_error& e) {
    if (e.code() == std::errc::no_such_file_or_directory) return std::nullopt;
    throw;
  }
  their_out.reset();
  their_err.reset();
  std::string printed, said;
  const auto deadline = std::chrono::steady_clock::now() + limits::connect;
  std::array<char, 16 * 1024> block;
  pollfd both[2] = {{out.get(), POLLIN, 0}, {err.get(), POLLIN, 0}};
  while (both[0].fd >= 0 || both[1].fd >= 0) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    if (left <= 0 || printed.size() + said.size() > 1024 * 1024) {
      process.signal_group(SIGKILL);
      pollfd killed{process.pidfd(), POLLIN, 0};
      ::poll(&killed, 1, 1000);
      process.try_wait();
      fail(errc::timed_out, "'ssh -G " + host.name() + "' did not end; a Match exec of its configuration may hang");
    }
    if (::poll(both, 2, static_cast<int>(left)) <= 0) continue;
    for (pollfd& p : both) {
      if (p.fd < 0 || p.revents == 0) continue;
      const ssize_t n = ::read(p.fd, block.data(), block.size());
      if (n > 0) (p.fd == out.get() ? printed : said).append(block.data(), static_cast<std::size_t>(n));
      if (n == 0 || (n < 0 && errno != EINTR)) p.fd = -1;
    }
  }
  pollfd end{process.pidfd(), POLLIN, 0};
  while (::poll(&end, 1, static_cast<int>(std::chrono::milliseconds(limits::connect).count())) < 0 && errno == EINTR) {
  }
  const os::exit_status ended = process.try_wait().value_or(os::exit_status{});
  const ssh_config config(printed);
  // Where SIGCHLD is ignored nobody knows how it ended.
  const bool is_well = ended.kind == os::exit_status::how::exited ? ended.number == 0 : ended.kind == os::exit_status::how::unknown;
  if (is_well && !config.host_name().empty()) return config;
  while (said.ends_with('\n') || said.ends_with('\r')) said.pop_back();
  fail(errc::unknown_cluster, "ssh does not take '" + host.name() + "': " + (said.empty() ? "'ssh -G' " + ended.text() : said));
}

inline ssh_config default_configuration(const ssh_host& given) {
  std::string_view host = given.name();
  if (host.starts_with("ssh://")) host.remove_prefix(6);
  const bool has_port = host.rfind(':') != host.npos && host.rfind(':') == host.find(':', host.rfind(']') == host.npos ? 0 : host.rfind(']'));
  std::string text;
  if (given.port() != 0) text += "port " + std::to_string(given.port()) + "\n";  // of several the first counts
  if (has_port) {
    text += "port " + std::string(host.substr(host.rfind(':') + 1)) + "\n";
    host = host.substr(0, host.rfind(':'));
  }
  const std::size_t at = host.rfind('@');
  if (!given.user().empty()) text += "user " + given.user() + "\n";
  text += "user " + (at != host.npos ? std::string(host.substr(0, at)) : user_configuration::user_name()) + "\n";
  if (at != host.npos) host.remove_prefix(at + 1);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  text += "hostname " + std::string(host) + "\n";
  if (!given.jump().empty()) text += "proxyjump " + given.jump() + "\n";
  if (given.accepts_new_key()) text += "stricthostkeychecking accept-new\n";
  if (!given.key().empty()) text += "identityfile " + given.key() + "\n";
  for (const char* type : {"rsa", "ecdsa", "ed25519"}) text += std::string("identityfile ~/.ssh/id_") + type + "\n";
  text += "userknownhostsfile " + user_configuration::home() + "/.ssh/known_hosts\nglobalknownhostsfile /etc/ssh/ssh_known_hosts\n";
  return ssh_config(text);
}

inline ssh_target target_of(const ssh_config& config, const ssh_host& host) {
  const std::string& name = host.name();
  ssh_target target;
  target.answers = host.answers();
  target.name = name;
  target.host = config.host_name();
  target.port = config.port();
  const std::string family = config.text("addressfamily");
  target.family = family == "inet" ? AF_INET : family == "inet6" ? AF_INET6 : AF_UNSPEC;
  target.user = config.user();
  const std::string alias = config.value("hostkeyalias");
  target.known_as = alias.empty() ? target.host : alias;
  target.known_port = alias.empty() ? target.port : std::uint16_t{0};
  for (const char* keyword : {"userknownhostsfile", "globalknownhostsfile"}) {
    for (const std::string& file : config.files(keyword)) target.known_hosts_files.push_back(user_configuration::expanded(file, config, name));
  }
  const auto of_user = config.files("userknownhostsfile");
  if (!of_user.empty()) target.new_keys_file = user_configuration::expanded(of_user.front(), config, name);
  std::erase(target.known_hosts_files, "");
  target.accepts_new_keys = config.text("stricthostkeychecking") == "accept-new";
  target.hashes_new_keys = config.is_on("hashknownhosts");
  for (const std::string& file : config.values("identityfile")) {
    const std::string path = user_configuration::expanded(file, config, name);
    if (!path.empty() && ::access(path.c_str(), R_OK) == 0) target.key_files.push_back(path);
  }
  const std::string agent = config.text("identityagent");
  const std::string variable = agent.empty() || agent == "SSH_AUTH_SOCK" ? "SSH_AUTH_SOCK" : agent.starts_with('$') ? agent.substr(1) : "";
  if (!variable.empty()) {
    const char* path = std::getenv(variable.c_str());
    target.agent = path != nullptr ? path : "";
  } else if (agent != "none") {
    target.agent = user_configuration::expanded(agent, config, name);
  }
  target.only_key_files = config.is_on("identitiesonly");
  for (const std::string& set : config.values("setenv")) {
    const std::size_t sign = std::min(set.find('='), set.size());
    target.variables.emplace_back(set.substr(0, sign), set.substr(std::min(sign + 1, set.size())));
  }
  target.ciphers = user_configuration::allowed(config, "ciphers", libssh2_methods::ciphers);
  target.macs = user_configuration::allowed(config, "macs", libssh2_methods::macs);
  target.key_exchanges = user_configuration::allowed(config, "kexalgorithms", libssh2_methods::key_exchanges);
  target.host_key_types = user_configuration::allowed(config, "hostkeyalgorithms", libssh2_methods::host_keys);
  target.key_types = config.words("pubkeyacceptedalgorithms");
  const std::vector<std::string> preferred = config.words("preferredauthentications");
  const auto is_allowed = [&](const char* keyword, const char* method) {
    const std::string said = config.text(keyword);
    return said != "no" && said != "false" && (preferred.empty() || std::ranges::find(preferred, method) != preferred.end());
  };
  target.may_ask = is_allowed("kbdinteractiveauthentication", "keyboard-interactive");
  target.may_send_password = is_allowed("passwordauthentication", "password");
  if (const std::string keys = config.text("pubkeyauthentication"); keys == "no" || keys == "false") {
    target.key_files.clear();
    target.agent.clear();
  }
  return target;
}

inline transport_facts facts_of(const ssh_config& config, const ssh_target& target) {
  transport_facts facts;
  facts.has_libssh2 = libssh2_api::find() != nullptr;
  for (const std::string& path : target.key_files) {
    if (const auto key = facts_of_key(user_configuration::read_file(path))) facts.key_files.push_back(*key);
    if (::access((path + "-cert.pub").c_str(), F_OK) == 0) facts.has_certificate = true;
  }
  const std::string master = config.value("controlpath");
  facts.has_master = !master.empty() && std::filesystem::is_socket(master);
  facts.agent_key_types = key_types_of_agent(target.agent);
  facts.has_password = static_cast<bool>(target.answers.question);
  facts.has_passphrase = static_cast<bool>(target.answers.passphrase);
  known_hosts known(target.known_as, target.known_port);
  for (const std::string& file : target.known_hosts_files) known.add_file(file);
  facts.known_key_types = known.types();
  facts.by_authority = facts.known_key_types.empty() && known.has_authority();
  return facts;
}

}  // namespace rh::detail
