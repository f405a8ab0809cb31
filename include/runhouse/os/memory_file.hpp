// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/limits.hpp>
#include <runhouse/os/fd.hpp>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <memory>
#include <mutex>
#include <new>
#include <span>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

namespace rh::os {

/// Bytes in memory that other processes can map by descriptor: written once, then sealed, so that nobody changes them
/// while they are read. Any thread may use a sealed one.
class memory_file {
 public:
  memory_file(const memory_file&) = delete;
  memory_file& operator=(const memory_file&) = delete;
  ~memory_file() {
    if (mapped_ != nullptr) ::munmap(mapped_, static_cast<std::size_t>(size_));
    live().fetch_sub(1, std::memory_order_relaxed);
  }

  /// Null where there can be no more of them: each takes a descriptor, of which a process has few. Also where the size of
  /// files is limited (ulimit -f), which is true of these too.
  static std::shared_ptr<memory_file> try_make();
  /// One that another process has sealed. Null if it is none, or is not sealed against every change.
  static std::shared_ptr<const memory_file> adopt(unique_fd fd);
  /// How many this process has.
  static std::size_t count() noexcept { return live().load(std::memory_order_relaxed); }

  /// Before seal(). Errors: std::bad_alloc.
  void write(std::span<const std::byte> from, std::uint64_t at);
  /// No more writes, of anybody. May wait a little, while the kernel moves its pages. Errors: std::bad_alloc.
  void seal();

  int descriptor() const noexcept { return fd_.get(); }
  std::uint64_t size_bytes() const noexcept { return size_; }
  /// All of it, mapped when this is first called, until the end of this object. Precondition: sealed.
  /// Errors: std::bad_alloc, where there is no address space.
  std::span<const std::byte> bytes() const;

 private:
  memory_file(unique_fd fd, std::uint64_t size_bytes) noexcept : fd_(std::move(fd)), size_(size_bytes) {
    live().fetch_add(1, std::memory_order_relaxed);
  }
  [[gnu::visibility("default")]] static std::atomic<std::size_t>& live() noexcept {
    static std::atomic<std::size_t> count{0};
    return count;
  }
  static constexpr int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

  unique_fd fd_;
  std::uint64_t size_ = 0;
  mutable std::mutex mutex_;
  mutable void* mapped_ = nullptr;
};

// ---- implementation

inline std::shared_ptr<memory_file> memory_file::try_make() {
  if (count() >= limits::memory_files) return nullptr;
  rlimit largest{};
  if (::getrlimit(RLIMIT_FSIZE, &largest) != 0 || largest.rlim_cur != RLIM_INFINITY) return nullptr;
  constexpr unsigned flags = 3;  // MFD_CLOEXEC | MFD_ALLOW_SEALING
  unique_fd fd(static_cast<int>(::syscall(SYS_memfd_create, "runhouse value", flags)));
  if (!fd) return nullptr;
  return std::shared_ptr<memory_file>(new memory_file(std::move(fd), 0));
}

inline std::shared_ptr<const memory_file> memory_file::adopt(unique_fd fd) {
  const int has = ::fcntl(fd.get(), F_GET_SEALS);
  struct stat facts {};
  if (has < 0 || (has & seals) != seals || ::fstat(fd.get(), &facts) != 0) return nullptr;
  return std::shared_ptr<const memory_file>(new memory_file(std::move(fd), static_cast<std::uint64_t>(facts.st_size)));
}

inline void memory_file::write(std::span<const std::byte> from, std::uint64_t at) {
  while (!from.empty()) {
    const ssize_t n = ::pwrite(fd_.get(), from.data(), from.size(), static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) throw std::bad_alloc();
    from = from.subspan(static_cast<std::size_t>(n));
    at += static_cast<std::uint64_t>(n);
    if (at > size_) size_ = at;
  }
}

inline void memory_file::seal() {
  // EBUSY: somebody holds a page for a moment, such as the kernel that compacts memory. It has waited for that itself,
  // but not for long.
  for (int tries = 0; ::fcntl(fd_.get(), F_ADD_SEALS, seals | F_SEAL_SEAL) != 0; ++tries) {
    if ((errno != EBUSY && errno != EINTR) || tries == 50) throw std::bad_alloc();
    ::usleep(1000);
  }
}

inline std::span<const std::byte> memory_file::bytes() const {
  if (size_ == 0) return {};
  const std::lock_guard lock(mutex_);
  if (mapped_ == nullptr) {
    void* at = ::mmap(nullptr, static_cast<std::size_t>(size_), PROT_READ, MAP_SHARED, fd_.get(), 0);
    if (at == MAP_FAILED) throw std::bad_alloc();
    mapped_ = at;
  }
  return {static_cast<const std::byte*>(mapped_), static_cast<std::size_t>(size_)};
}

}  // namespace rh::os
