// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/cluster/backend.hpp>
#include <runhouse/function/pretty_name.hpp>
#include <runhouse/node/local_session.hpp>
#include <runhouse/os/system.hpp>

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>

namespace rh::detail {

/// Shows what calls print on this program's own stdout and stderr, each line behind the function's name.
inline void print_output(const char* function, bool is_error, std::string_view line) {
  std::string text = "[" + (function != nullptr ? pretty_name(function) : "worker") + "] ";
  text.append(line).push_back('\n');
  std::FILE* to = is_error ? stderr : stdout;
  std::fwrite(text.data(), 1, text.size(), to);
  if (!is_error) std::fflush(to);
}

/// The half of the library that starts processes.
class local_backend final : public backend {
 public:
  [[gnu::visibility("default")]] static local_backend& instance() {
    static local_backend& only = *new local_backend;
    return only;
  }

  std::shared_ptr<session> local(unsigned workers) override {
    if (workers != 0) return std::make_shared<local_session>(workers, &print_output);
    const std::lock_guard lock(mutex_);
    auto shared = shared_.lock();
    if (!shared) {
      shared = std::make_shared<local_session>(default_workers(), &print_output);
      shared_ = shared;
    }
    return shared;
  }

 private:
  static unsigned default_workers() {
    const char* text = std::getenv("RUNHOUSE_WORKERS");
    if (text == nullptr || *text == '\0') return os::usable_cpus();
    unsigned count = 0;
    const auto end = text + std::strlen(text);
    const auto [stop, error] = std::from_chars(text, end, count);
    if (error != std::errc() || stop != end || count == 0 || count > 4096) {
      fail(errc::worker_not_started, "RUNHOUSE_WORKERS is '" + std::string(text) + "'; it must be a number from 1 to 4096");
    }
    return count;
  }
  std::mutex mutex_;
  std::weak_ptr<local_session> shared_;
};

}  // namespace rh::detail
