// SPDX-License-Identifier: Apache-2.0
//
// What libssh2.py has a session of libssh2 do: what it is told, a line at a time, to which it answers with a line.
//
//     libssh2_program HOST PORT USER KNOWN_HOSTS KEY AGENT PASSPHRASE [ALIAS]
//
// KNOWN_HOSTS may be several files, between commas. PASSPHRASE answers each question, also that for a password.
#include <runhouse/os/tcp.hpp>
#include <runhouse/ssh/libssh2_link.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <memory>
#include <poll.h>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace d = rh::detail;
using namespace std::chrono_literals;

namespace {

std::uint64_t mixed(std::uint64_t hash, std::span<const std::byte> bytes) {
  for (const std::byte b : bytes) hash = (hash ^ std::to_integer<std::uint64_t>(b)) * 0x100000001b3;
  return hash;
}

/// Sends so many bytes, then says that no more come, and reads until the far side does: how many, and their hash.
void exchange(d::libssh2_channel& channel, std::uint64_t up) {
  rh::os::duplex stream = channel.take_stream();
  std::vector<std::byte> out(100'000);
  std::vector<std::byte> in(100'000);
  rh::os::received_fds none;
  std::uint64_t sent = 0, got = 0, sent_hash = 0, got_hash = 0;
  bool more_out = true;
  for (;;) {
    if (more_out && sent == up) {
      ::shutdown(stream.out(), SHUT_WR);
      more_out = false;
    }
    pollfd waits[2] = {{stream.in(), POLLIN, 0}, {more_out ? stream.out() : -1, POLLOUT, 0}};
    if (::poll(waits, 2, 8'000) < 1) {
      std::printf("nothing in 8 s\n");
      return;
    }
    if (more_out && (waits[1].revents & POLLOUT) != 0) {
      const std::size_t now = static_cast<std::size_t>(std::min<std::uint64_t>(out.size(), up - sent));
      for (std::size_t i = 0; i < now; ++i) out[i] = static_cast<std::byte>((sent + i) * 2654435761u >> 11);
      const auto done = stream.send(std::span(out).first(now));
      if (done.how == rh::os::transfer::closed) more_out = false;
      if (done.how == rh::os::transfer::some) {
        sent_hash = mixed(sent_hash, std::span(out).first(done.bytes));
        sent += done.bytes;
      }
    }
    if ((waits[0].revents & (POLLIN | POLLHUP)) == 0) continue;
    const auto done = stream.receive(in, none);
    if (done.how == rh::os::transfer::closed) break;
    if (done.how != rh::os::transfer::some) continue;
    got_hash = mixed(got_hash, std::span(in).first(done.bytes));
    got += done.bytes;
  }
  const auto ended = channel.wait(5s);
  std::printf("%llu %s, %s, said '%s'%s\n", static_cast<unsigned long long>(got), got == sent && got_hash == sent_hash ? "same" : "other",
              ended ? ended->text().c_str() : "not ended", channel.said().c_str(), channel.why().empty() ? "" : (", " + channel.why()).c_str());
}

std::size_t descriptor_count() {
  return static_cast<std::size_t>(std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {}));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 8 && argc != 9) return 2;
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  d::ssh_target target;
  target.name = "far";
  target.host = target.known_as = argv[1];
  target.port = target.known_port = static_cast<std::uint16_t>(std::atoi(argv[2]));
  target.user = argv[3];
  if (argc == 9) {
    target.known_as = argv[8];
    target.known_port = 0;
  }
  for (std::string_view files = argv[4]; !files.empty();) {
    const std::string_view one = files.substr(0, files.find(','));
    target.known_hosts_files.emplace_back(one);
    files.remove_prefix(std::min(one.size() + 1, files.size()));
  }
  target.ciphers = {"aes256-ctr", "aes128-ctr"};
  target.macs = {"hmac-sha2-256", "hmac-sha2-512"};
  for (const std::string_view one : d::libssh2_methods::key_exchanges) target.key_exchanges.emplace_back(one);
  for (const std::string_view one : d::libssh2_methods::host_keys) target.host_key_types.emplace_back(one);
  target.new_keys_file = target.known_hosts_files.empty() ? "" : target.known_hosts_files.front();
  if (*argv[5] != '\0') target.key_files = {argv[5]};
  target.agent = argv[6];
  const std::string passphrase = argv[7];
  if (!passphrase.empty()) target.answers.passphrase = [&](const std::string&) { return passphrase; };
  if (!passphrase.empty()) target.answers.question = [&](const std::string&, bool) { return passphrase; };
  try {
    const auto deadline = std::chrono::steady_clock::now() + 5s;
    auto connection = rh::os::connect_tcp(target.host, target.port, 0, deadline, 45s);
    auto session = d::libssh2_login(target, std::move(connection), deadline).run();
    std::printf("logged in\n");
    const auto link = d::libssh2_link::start(std::move(session));
    char line[4096];
    while (std::fgets(line, sizeof line, stdin) != nullptr) {
      line[std::strcspn(line, "\n")] = '\0';
      char* rest = nullptr;
      const std::uint64_t number = std::strtoull(line + 1, &rest, 10);
      rest += *rest == ' ';
      if (line[0] == 'r') {  // bytes to send, command
        const auto channel = link->run(rest);
        exchange(*channel, number);
      } else if (line[0] == 'c') {  // bytes to send, port: a connection from there
        const auto channel = link->connect("127.0.0.1", static_cast<std::uint16_t>(std::atoi(rest)));
        exchange(*channel, number);
      } else if (line[0] == 'm') {  // so many commands at once
        std::vector<std::shared_ptr<d::libssh2_channel>> all;
        for (std::uint64_t i = 0; i < number; ++i) all.push_back(link->run(rest));
        std::size_t well = 0, refused = 0;
        for (const auto& channel : all) {
          const auto ended = channel->wait(10s);
          well += ended && ended->kind == rh::os::exit_status::how::exited && ended->number == 0;
          refused += !channel->why().empty();
        }
        std::printf("%zu well, %zu refused\n", well, refused);
      } else if (line[0] == 'e') {  // how long the session lasts after its last command
        const std::size_t before = descriptor_count();
        const auto channel = link->run("cat");
        link->finish();
        channel->take_stream();
        const bool has_ended = channel->wait(5s).has_value();
        const auto begun = std::chrono::steady_clock::now();
        while (descriptor_count() >= before && std::chrono::steady_clock::now() - begun < 5s) std::this_thread::sleep_for(1ms);
        std::printf("%s\n", has_ended && std::chrono::steady_clock::now() - begun < 1s ? "ended" : "stays");
      } else if (line[0] == 'x') {  // a command that is given up after so many milliseconds
        const auto channel = link->run(rest);
        channel->wait(std::chrono::milliseconds(number));
        link->close(*channel);
        std::printf("%s\n", channel->wait(5s) ? "ended" : "not ended");
      }
    }
    link->finish();
  } catch (const rh::error& e) {
    std::printf("%s: %s\n", rh::name_of(e.kind()), e.what());
    return 1;
  }
}
