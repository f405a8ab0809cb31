// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>

#include <cerrno>
#include <string>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace rh::os {

/// An owned file descriptor.
class unique_fd {
 public:
  unique_fd() noexcept = default;
  explicit unique_fd(int fd) noexcept : fd_(fd) {}
  unique_fd(unique_fd&& other) noexcept : fd_(other.release()) {}
  unique_fd& operator=(unique_fd&& other) noexcept {
    reset(other.release());
    return *this;
  }
  ~unique_fd() { reset(); }

  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  int release() noexcept { return std::exchange(fd_, -1); }
  void reset(int fd = -1) noexcept {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }

 private:
  int fd_ = -1;
};

/// Throws the system's own error, from errno, for what was tried.
[[noreturn]] inline void fail_errno(const std::string& tried) {
  throw std::system_error(errno, std::system_category(), "runhouse: " + tried);
}

/// The descriptor, or throws.
inline unique_fd checked(int fd, const char* tried) {
  if (fd < 0) fail_errno(tried);
  return unique_fd(fd);
}

}  // namespace rh::os
