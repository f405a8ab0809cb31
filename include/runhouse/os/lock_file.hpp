// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/os/fd.hpp>
#include <runhouse/os/private_folder.hpp>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstddef>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <optional>
#include <string>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace rh::os {

/// What only one process of this user on this machine may be at a time: the holder of a locked file, whose text is the
/// holder's pid. It lasts until this object goes, or the process, however it ends. The file stays: who removed it could
/// remove one that another has just locked.
///
/// A process that is started from here does not hold it, since its descriptor is closed on exec; one that is forked and
/// runs on does if its parent is killed, until it closes descriptor(). After a kill it may take microseconds to be
/// free, while somebody asks for the holder: try again where it is held and has none.
class lock_file {
 public:
  /// Nothing if another has it, in this process or not. Errors: rh::error, errc::run_folder.
  static std::optional<lock_file> try_lock(const private_folder& folder, const std::string& name);

  /// Who has it, found without taking the lock. Nothing if nobody has, or if that is not known yet: one that has just
  /// locked it has not written its pid.
  static std::optional<pid_t> holder(const private_folder& folder, const std::string& name) noexcept;

  lock_file(lock_file&&) noexcept = default;
  lock_file& operator=(lock_file&& other) noexcept {
    unlock();
    fd_ = std::move(other.fd_);
    pid_ = other.pid_;
    return *this;
  }
  ~lock_file() { unlock(); }

  int descriptor() const noexcept { return fd_.get(); }

 private:
  lock_file(unique_fd fd, pid_t pid) noexcept : fd_(std::move(fd)), pid_(pid) {}

  void unlock() noexcept {
    // Not by closing alone: who looks at our descriptors in /proc at this moment keeps the file open a little longer.
    // And not in a process that was forked: it would free its parent's.
    if (fd_ && ::getpid() == pid_) ::flock(fd_.get(), LOCK_UN);
  }

  unique_fd fd_;
  pid_t pid_;
};

// ---- implementation

inline std::optional<lock_file> lock_file::try_lock(const private_folder& folder, const std::string& name) {
  unique_fd fd = folder.open_file(name, O_RDWR | O_CREAT);
  while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno == EWOULDBLOCK) return std::nullopt;
    folder_detail::refuse_errno("lock", folder.path_of(name), errno);
  }
  // First the text, then the length: there is always a whole first line.
  const std::string text = std::to_string(::getpid()) + "\n";
  const auto bytes = static_cast<ssize_t>(text.size());
  if (::pwrite(fd.get(), text.data(), text.size(), 0) != bytes || ::ftruncate(fd.get(), bytes) != 0)
    folder_detail::refuse_errno("write", folder.path_of(name), errno);
  return lock_file(std::move(fd), ::getpid());
}

inline std::optional<pid_t> lock_file::holder(const private_folder& folder, const std::string& name) noexcept {
  const unique_fd fd = folder.try_open_file(name, O_RDONLY);
  struct stat wanted {};
  std::array<char, 32> text{};
  if (!fd || ::fstat(fd.get(), &wanted) != 0) return std::nullopt;
  const ssize_t size = ::pread(fd.get(), text.data(), text.size(), 0);
  pid_t pid = 0;
  if (size <= 0) return std::nullopt;
  const auto number = std::from_chars(text.data(), text.data() + size, pid);
  if (number.ec != std::errc{} || number.ptr == text.data() + size || *number.ptr != '\n' || pid <= 0)
    return std::nullopt;

  // The pid may be that of a holder who is gone, and be another's by now: the holder is who has the file open to write
  // in it. To try the lock instead could make one fail that is just being taken.
  const std::string process = "/proc/" + std::to_string(pid);
  const std::unique_ptr<DIR, int (*)(DIR*)> open_files(::opendir((process + "/fd").c_str()), &::closedir);
  if (!open_files) return std::nullopt;
  while (const dirent* entry = ::readdir(open_files.get())) {
    struct stat has {};
    struct stat link {};
    if (::fstatat(::dirfd(open_files.get()), entry->d_name, &has, 0) == 0 && has.st_dev == wanted.st_dev &&
        has.st_ino == wanted.st_ino &&
        ::fstatat(::dirfd(open_files.get()), entry->d_name, &link, AT_SYMLINK_NOFOLLOW) == 0 &&
        (link.st_mode & S_IWUSR) != 0)
      return pid;
  }
  return std::nullopt;
}

}  // namespace rh::os
