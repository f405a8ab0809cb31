// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/core/limits.hpp>
#include <runhouse/function/program_objects.hpp>
#include <runhouse/host/handshake.hpp>
#include <runhouse/host/node_start.hpp>
#include <runhouse/host/session_start.hpp>
#include <runhouse/os/system.hpp>
#include <runhouse/rpc/node_contact.hpp>

#include <chrono>
#include <fcntl.h>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

namespace rh::detail {

/// The way to this user's node on this machine, which is started where none runs: from this program's own executable.
class here_contact final : public node_contact {
 public:
  explicit here_contact(std::string folder = os::run_folder_path()) : folder_(std::move(folder)) {}
  inline reached_node reach(const wire::open_session& session) override;
  void end_node() override { node_process(folder_).end(); }
  const std::string& name() const noexcept override { return name_; }
  bool is_same_machine() const noexcept override { return true; }
  std::string reached_by() const override { return "a unix socket of this machine"; }

 private:
  const std::string folder_;
  const std::string name_ = "here";
};

// ---- implementation

inline reached_node here_contact::reach(const wire::open_session& session) {
  using clock = std::chrono::steady_clock;
  const node_process node(folder_);
  wire::hello hello = hello_of_program();
  hello.features = wire::feature::files;
  hello.program = program_files();
  const os::unique_fd executable = os::checked(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC), "opening this program's own file");
  const int passed[] = {executable.get()};
  const std::vector<std::byte> first = greeting(hello, session);
  const auto deadline = clock::now() + limits::node_start;
  for (;;) {
    if (os::unique_fd made = node.connect()) {
      try {
        open_connection fresh;
        fresh.stream = os::duplex(std::move(made));
        return shake_hands(std::move(fresh), first, session.resumes, session.resumes ? std::span<const int>() : std::span<const int>(passed), name_);
      } catch (const error& e) {
        if (e.kind() != errc::connection_lost) throw;
        if (session.resumes && node.runs()) throw;
        if (clock::now() >= deadline) throw;
      }
    }
    if (session.resumes) {
      if (node.runs()) fail(errc::connection_lost, "the node of here does not listen");
      fail(errc::node_lost, "the node of here has ended; what it had is gone");
    }
    node.start([] { return os::environment_without("RUNHOUSE_NODE"); });
    if (clock::now() >= deadline) {
      fail(errc::node_not_started, "the node of here could not be reached within " + std::to_string(limits::node_start.count()) + " s; its folder is " + node.folder());
    }
  }
}

}  // namespace rh::detail
