// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/needs/needs.hpp>
#include <runhouse/node/gpu_claim.hpp>
#include <runhouse/node/worker_program.hpp>
#include <runhouse/os/own_libraries.hpp>
#include <runhouse/os/process.hpp>
#include <runhouse/os/shared_memory.hpp>
#include <runhouse/os/socket.hpp>
#include <runhouse/os/system.hpp>
#include <runhouse/wire/outbox.hpp>

#include <array>
#include <fcntl.h>
#include <map>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rh::detail {

/// A worker that was started, and the node's ends of everything that it was given.
/// Source: wire/protocol.md, section 7.
struct worker_process {
  os::process process;
  os::unique_fd calls;
  os::unique_fd control;
  os::unique_fd out;
  os::unique_fd err;
  os::shared_memory<wire::worker_memory> memory;
  std::string mark_token;
};

/// The environment of a worker for calls of such needs that has these GPUs: `base`, and the variables that the needs name.
inline std::vector<std::string> worker_environment(const std::vector<std::string>& base, const needs& n, std::span<const gpu_claim> gpus) {
  std::map<std::string, std::string> named = n.env;
  if (n.gpus) {
    std::string& visible = named["CUDA_VISIBLE_DEVICES"];
    visible.clear();
    for (const gpu_claim& g : gpus) visible += (visible.empty() ? "" : ",") + g.uuid;
  }
  // Without its own libraries it would not start.
  if (const auto paths = named.find("LD_LIBRARY_PATH"); paths != named.end()) {
    for (const std::string& variable : base) {
      if (!variable.starts_with("LD_LIBRARY_PATH=")) continue;
      std::string own(os::own_libraries::leading(std::string_view(variable).substr(paths->first.size() + 1)));
      if (!own.empty() && !own.ends_with(':')) own += ':';
      paths->second.insert(0, own);
    }
  }
  std::vector<std::string> all;
  for (const std::string& variable : base) {
    if (!named.contains(variable.substr(0, variable.find('=')))) all.push_back(variable);
  }
  for (const auto& [name, value] : named) all.push_back(name + "=" + value);
  return all;
}

/// Starts a worker for calls of such needs, which holds the claims on its GPUs too, as long as any process of its lives.
/// `program` is what it runs; null: this process's own executable. Neither is started from its path, which a relink may
/// have replaced. Errors: std::system_error.
inline worker_process start_worker(const worker_program* program, const needs& n, std::span<const gpu_claim> gpus) {
  worker_process w;
  auto [calls, their_calls] = os::socket_pair();
  auto [control, their_control] = os::socket_pair();
  auto [out, their_out] = os::make_pipe();
  auto [err, their_err] = os::make_pipe();
  auto [memory, memory_fd] = os::shared_memory<wire::worker_memory>::make();
  const os::unique_fd nothing = os::checked(::open("/dev/null", O_RDONLY | O_CLOEXEC), "opening /dev/null");
  for (const int fd : {calls.get(), control.get(), out.get(), err.get()}) os::set_nonblocking(fd);

  std::random_device random;
  w.mark_token = "\x1e";  // the token only has to be something that no function prints
  for (int i = 0; i < 3; ++i) w.mark_token += std::to_string(random());
  w.mark_token += ":";

  os::spawn_request request;
  request.path = program != nullptr ? "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(program->executable.get()) : "/proc/self/exe";
  request.arguments = {"runhouse-worker"};
  request.environment = worker_environment(program != nullptr ? program->environment : os::environment_without("RUNHOUSE_"), n, gpus);
  request.folder = n.cwd.empty() && program != nullptr ? program->folder : n.cwd;
  request.environment.push_back("RUNHOUSE_WORKER=" + w.mark_token);
  request.descriptors = {nothing.get(),     their_out.get(),     their_err.get(),
                         their_calls.get(), their_control.get(), memory_fd.get()};
  for (const gpu_claim& g : gpus) request.descriptors.push_back(g.file.descriptor());
  w.process = os::spawn(request);
  w.calls = std::move(calls);
  w.control = std::move(control);
  w.out = std::move(out);
  w.err = std::move(err);
  w.memory = std::move(memory);
  return w;
}

}  // namespace rh::detail
