// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/os/fd.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <fcntl.h>
#include <string>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace rh::detail {

/// Marks where the output of each call ends, for the node that reads it. Source: wire/protocol.md, section 7.4.
class output_marks {
 public:
  /// Empty: no marks are wanted.
  explicit output_marks(std::string token);

  /// Call `number` has returned: flushes stdout, and marks each pipe of which the node has not read all. True if it
  /// marked one.
  bool end_of(std::uint64_t number);

 private:
  bool may_be_unread() const noexcept;

  std::string token_;
  os::unique_fd read_ends_[2];
  os::unique_fd unread_;  // an epoll instance over the read ends; none: the pipes themselves are asked
};

// ---- implementation

/// Read ends of our own pipes: whether both are empty is then one question, with a third of the cost of asking each,
/// and it is asked after every call. Where they are no pipes, or there is no /proc, each is asked.
inline output_marks::output_marks(std::string token) : token_(std::move(token)) {
  if (token_.empty()) return;
  os::unique_fd unread(::epoll_create1(EPOLL_CLOEXEC));
  if (!unread) return;
  for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) {
    struct stat facts {};
    if (::fstat(fd, &facts) != 0 || !S_ISFIFO(facts.st_mode)) return;
    os::unique_fd& end = read_ends_[fd - STDOUT_FILENO];
    end = os::unique_fd(::open(("/proc/self/fd/" + std::to_string(fd)).c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    epoll_event readable{};
    readable.events = EPOLLIN;
    if (!end || ::epoll_ctl(unread.get(), EPOLL_CTL_ADD, end.get(), &readable) != 0) return;
  }
  unread_ = std::move(unread);
}

inline bool output_marks::may_be_unread() const noexcept {
  epoll_event any;
  return !unread_ || ::epoll_wait(unread_.get(), &any, 1, 0) != 0;
}

inline bool output_marks::end_of(std::uint64_t number) {
  std::fflush(stdout);
  if (token_.empty() || !may_be_unread()) return false;
  bool marked = false;
  for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) {
    int unread = 0;
    if (::ioctl(fd, FIONREAD, &unread) != 0 || unread == 0) continue;
    const std::string mark = token_ + std::to_string(number) + "\n";
    std::size_t done = 0;
    while (done < mark.size()) {
      const ssize_t n = ::write(fd, mark.data() + done, mark.size() - done);
      if (n < 0 && errno != EINTR) break;
      if (n > 0) done += static_cast<std::size_t>(n);
    }
    marked = true;
  }
  return marked;
}

}  // namespace rh::detail
