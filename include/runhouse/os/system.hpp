// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/os/fd.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <sched.h>
#include <string>
#include <string_view>
#include <unistd.h>
#include <vector>

namespace rh::os {

/// CPUs that this process may use: the affinity mask, and the quota of its cgroup rounded up.
inline unsigned usable_cpus() noexcept {
  unsigned count = 1;
  cpu_set_t mask;
  if (::sched_getaffinity(0, sizeof mask, &mask) == 0) count = static_cast<unsigned>(CPU_COUNT(&mask));
  const auto quota = [](const char* path, const char* format, double& used, double& period) {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path, "re"), &std::fclose);
    return file && std::fscanf(file.get(), format, &used, &period) >= 1;
  };
  double used = 0;
  double period = 100000;
  double ignored = 0;
  const bool v2 = quota("/sys/fs/cgroup/cpu.max", "%lf %lf", used, period);
  if (!v2 && quota("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "%lf", used, ignored)) {
    quota("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "%lf", period, ignored);
  }
  if (used > 0 && period > 0) {
    count = std::min(count, static_cast<unsigned>((used + period - 1) / period));
  }
  return std::max(1u, count);
}

/// Memory that this process may use, in bytes: the machine's, or less, if its cgroup has a limit.
inline std::uint64_t usable_memory() noexcept {
  std::uint64_t bytes = static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path, "re"), &std::fclose);
    unsigned long long limit = 0;
    if (file && std::fscanf(file.get(), "%llu", &limit) == 1) bytes = std::min<std::uint64_t>(bytes, limit);
  }
  return bytes;
}

/// This machine's own name.
inline std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "unknown";
  return name.data();
}

/// The environment as NAME=value, but for variables whose names begin so, if that is not empty.
inline std::vector<std::string> environment_without(std::string_view prefix) {
  std::vector<std::string> all;
  for (char** variable = ::environ; *variable != nullptr; ++variable) {
    if (prefix.empty() || !std::string_view(*variable).starts_with(prefix)) all.emplace_back(*variable);
  }
  return all;
}

/// This process's working directory; empty if it was removed.
inline std::string working_folder() {
  std::array<char, 4096> path{};
  return ::getcwd(path.data(), path.size()) != nullptr ? path.data() : "";
}

}  // namespace rh::os
