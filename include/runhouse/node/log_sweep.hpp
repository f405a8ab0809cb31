// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/limits.hpp>
#include <runhouse/node/log_format.hpp>
#include <runhouse/os/fd.hpp>
#include <runhouse/os/private_folder.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <fcntl.h>
#include <optional>
#include <string>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace rh::detail {

/// The bounds of a node's logs: those of core/limits.hpp; tests have smaller ones.
struct log_bounds {
  std::uint64_t head_bytes = limits::log_head_bytes;
  std::uint64_t segment_bytes = limits::log_segment_bytes;
  std::uint64_t all_bytes = limits::logs_bytes;
  std::chrono::seconds age = limits::logs_age;
  std::size_t open_files = limits::open_logs;
  std::chrono::seconds again = limits::log_again;
  std::size_t sweep_files = limits::log_sweep_files;
};

/// What a file takes on the disk.
inline std::uint64_t disk_bytes(std::uint64_t bytes) noexcept {
  return (bytes + 4095) / 4096 * 4096;
}

/// Keeps the logs of a node, this life's and those before it, within their bounds: removes the oldest of ended calls, a
/// few files at a time. A log that another node may be writing, one that lives or one of another machine with the same
/// home, goes only when nothing was written to it for the whole age.
class log_sweep {
 public:
  log_sweep(const log_bounds& bounds, std::string own_life) : bounds_(bounds), own_life_(std::move(own_life)) {}

  /// Files of this life that grow are counted, and not removed until they have ended.
  void grew(std::uint64_t disk) noexcept { own_bytes_ += disk; }
  void gone(std::uint64_t disk) noexcept { own_bytes_ -= std::min(disk, own_bytes_); }
  void ended(std::string name, std::uint64_t disk, log_time now) { own_.push_back({0, std::move(name), disk, now}); }

  /// Looks at, or removes, at most bounds.sweep_files. True if there is more to do.
  bool step(const os::private_folder& logs, log_time now);

  std::uint64_t bytes() const noexcept { return old_bytes_ + own_bytes_; }
  /// Whether there is something to remove at once.
  bool is_over() const noexcept { return bytes() > bounds_.all_bytes && (!old_.empty() || !own_.empty()); }

 private:
  struct file {
    std::size_t folder;
    std::string name;
    std::uint64_t disk;
    log_time written;
  };

  void begin_scan(const os::private_folder& logs, log_time now);
  void scan_some(const os::private_folder& logs, log_time now, std::size_t& left);
  bool may_be_written(const std::string& folder) const;
  void remove_some(const os::private_folder& logs, log_time now, std::size_t& left);
  void remove(const os::private_folder& logs, const std::string& folder, const file& f);
  static os::unique_fd opened(const os::private_folder& logs, const std::string& folder) {
    return os::unique_fd(::openat(logs.descriptor(), folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  }

  log_bounds bounds_;
  std::string own_life_;
  std::uint64_t old_bytes_ = 0;
  std::uint64_t own_bytes_ = 0;
  std::deque<file> old_;  // of earlier lives, the oldest first
  std::deque<file> own_;

  // The scan of the lives before this: once at the start, and daily, since others may have ended since.
  std::optional<log_time> scanned_;
  std::vector<std::string> folders_;
  std::size_t next_folder_ = 0;
  std::vector<std::string> names_;  // of the folder that is being looked at
  std::vector<file> found_;
  os::unique_fd folder_fd_;
};

// ---- implementation

inline bool log_sweep::step(const os::private_folder& logs, log_time now) {
  std::size_t left = std::max<std::size_t>(bounds_.sweep_files, 1);
  if (!scanned_ || (next_folder_ == folders_.size() && !folder_fd_ && now - *scanned_ > std::chrono::hours(24)))
    begin_scan(logs, now);
  remove_some(logs, now, left);
  scan_some(logs, now, left);
  remove_some(logs, now, left);
  return left == 0 || next_folder_ < folders_.size() || folder_fd_;
}

inline void log_sweep::begin_scan(const os::private_folder& logs, log_time now) {
  scanned_ = now;
  old_.clear();
  old_bytes_ = 0;
  folders_.clear();
  next_folder_ = 0;
  for (std::string& name : logs.names()) {
    if (name != own_life_ && parse_log_life(name)) folders_.push_back(std::move(name));
  }
  std::sort(folders_.begin(), folders_.end());
}

inline bool log_sweep::may_be_written(const std::string& folder) const {
  const std::optional<log_life> life = parse_log_life(folder);
  const std::optional<log_life> own = parse_log_life(own_life_);
  if (!life || !own || life->host != own->host) return true;
  return life->pid != own->pid && (::kill(life->pid, 0) == 0 || errno == EPERM);
}

inline void log_sweep::scan_some(const os::private_folder& logs, log_time now, std::size_t& left) {
  while (left > 0 && (folder_fd_ || next_folder_ < folders_.size())) {
    const std::string& folder = folders_[folder_fd_ ? next_folder_ - 1 : next_folder_];
    if (!folder_fd_) {
      --left;
      ++next_folder_;
      folder_fd_ = opened(logs, folder);
      if (!folder_fd_) continue;
      found_.clear();
      try {
        names_ = logs.folder(folder).names();
      } catch (const error&) {
        folder_fd_.reset();
        continue;
      }
      if (names_.empty() && !may_be_written(folder)) ::unlinkat(logs.descriptor(), folder.c_str(), AT_REMOVEDIR);
    }
    const bool others = may_be_written(folder);
    for (; left > 0 && !names_.empty(); names_.pop_back(), --left) {
      struct stat facts {};
      if (!is_log_file(names_.back()) ||
          ::fstatat(folder_fd_.get(), names_.back().c_str(), &facts, AT_SYMLINK_NOFOLLOW) != 0 ||
          !S_ISREG(facts.st_mode))
        continue;
      const auto written = std::chrono::system_clock::from_time_t(facts.st_mtim.tv_sec) +
                           std::chrono::microseconds(facts.st_mtim.tv_nsec / 1000);
      if (others && now - written <= bounds_.age) continue;
      const std::uint64_t disk = disk_bytes(static_cast<std::uint64_t>(facts.st_size));
      old_bytes_ += disk;
      found_.push_back({next_folder_ - 1, std::move(names_.back()), disk, written});
    }
    if (!names_.empty()) return;
    std::sort(found_.begin(), found_.end(), [](const file& a, const file& b) { return a.written < b.written; });
    // What is too old goes next, in whichever folder it is.
    const auto fresh =
        std::find_if(found_.begin(), found_.end(), [&](const file& f) { return now - f.written <= bounds_.age; });
    old_.insert(old_.begin(), found_.begin(), fresh);
    old_.insert(old_.end(), fresh, found_.end());
    found_.clear();
    folder_fd_.reset();
  }
}

inline void log_sweep::remove_some(const os::private_folder& logs, log_time now, std::size_t& left) {
  for (; left > 0; --left) {
    const bool is_old = !old_.empty();
    std::deque<file>& from = is_old ? old_ : own_;
    if (from.empty()) return;
    if (bytes() <= bounds_.all_bytes && now - from.front().written <= bounds_.age) return;
    const file f = std::move(from.front());
    from.pop_front();
    std::uint64_t& sum = is_old ? old_bytes_ : own_bytes_;
    sum -= std::min(sum, f.disk);
    const std::string& folder = is_old ? folders_[f.folder] : own_life_;
    remove(logs, folder, f);
    if (is_old && (old_.empty() || old_.front().folder != f.folder) && !may_be_written(folder))
      ::unlinkat(logs.descriptor(), folder.c_str(), AT_REMOVEDIR);  // if nothing else is in it
  }
}

inline void log_sweep::remove(const os::private_folder& logs, const std::string& folder, const file& f) {
  const os::unique_fd fd = opened(logs, folder);
  if (fd) ::unlinkat(fd.get(), f.name.c_str(), 0);
}

}  // namespace rh::detail
