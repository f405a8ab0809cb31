// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/node/call_log.hpp>
#include <runhouse/node/log_format.hpp>
#include <runhouse/node/log_sweep.hpp>
#include <runhouse/os/private_folder.hpp>
#include <runhouse/os/system.hpp>

#include <cerrno>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <unistd.h>
#include <utility>

namespace rh::detail {

/// The logs of one life of a node, in a folder of their own that is made with the first of them. A home that cannot be
/// used costs the logs, not the node. Logs may outlive this. Not thread-safe.
class log_folder {
 public:
  /// `logs_path` is ~/.runhouse/logs, absolute; what is above ~/.runhouse is there.
  log_folder(std::string logs_path, log_time now, const log_bounds& bounds = {})
      : common_(std::make_shared<call_log::common>(std::move(logs_path),
                                                   log_life_name(now, os::host_name(), ::getpid()), bounds)) {}

  /// A log for one call that begins now. `function` is its name as a person writes it.
  call_log log_of(std::uint64_t session, std::uint64_t call_id, std::string_view function, log_time now) const;

  /// Removes old logs: at the start, then at times, and at once again while it returns true. A few milliseconds each.
  bool sweep(log_time now) noexcept;

  /// This life's folder, whether it is there or not.
  std::string path() const { return common_->logs_path + "/" + common_->life; }
  /// What all logs take on the disk, of lives before as far as the sweep has seen them.
  std::uint64_t bytes() const noexcept { return common_->sweep.bytes(); }
  /// What was printed and is in no log.
  std::uint64_t unwritten_bytes() const noexcept { return common_->unwritten; }
  /// Why the last log could not be written; empty if it could.
  const std::string& trouble() const noexcept { return common_->trouble; }

 private:
  std::shared_ptr<call_log::common> common_;
};

// ---- implementation

inline call_log log_folder::log_of(std::uint64_t session, std::uint64_t call_id, std::string_view function,
                                   log_time now) const {
  auto s = std::make_unique<call_log::state>();
  s->shared = common_;
  s->session = session;
  s->call_id = call_id;
  s->function = function.substr(0, 1024);
  for (char& c : s->function) {
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = '?';
  }
  s->begun = now;
  s->last = now;
  return call_log(std::move(s));
}

inline bool log_folder::sweep(log_time now) noexcept {
  call_log::common& c = *common_;
  try {
    if (!c.logs) {
      if (::access(c.logs_path.c_str(), F_OK) != 0) return false;
      c.logs = os::private_folder::open(c.logs_path);
    }
    return c.sweep.step(*c.logs, now);
  } catch (const std::exception& e) {
    c.trouble = e.what();
    return false;
  }
}

}  // namespace rh::detail
