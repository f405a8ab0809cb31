// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/os/fd.hpp>

#include <cstddef>
#include <new>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

namespace rh::os {

inline constexpr std::size_t page_bytes = 4096;

/// One zeroed T in memory that two processes share. T is made of lock-free atomics and bytes.
template <class T>
class shared_memory {
 public:
  /// In whole pages.
  static constexpr std::size_t size_bytes = (sizeof(T) + page_bytes - 1) / page_bytes * page_bytes;

  shared_memory() noexcept = default;
  shared_memory(shared_memory&& other) noexcept : value_(std::exchange(other.value_, nullptr)) {}
  shared_memory& operator=(shared_memory&& other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  ~shared_memory() {
    if (value_ != nullptr) ::munmap(value_, size_bytes);
  }

  T* operator->() const noexcept { return value_; }
  T& operator*() const noexcept { return *value_; }
  explicit operator bool() const noexcept { return value_ != nullptr; }

  /// A new one, and the descriptor by which another process maps it.
  static std::pair<shared_memory, unique_fd> make() {
    unique_fd fd = checked(static_cast<int>(::syscall(SYS_memfd_create, "runhouse", 1u /* MFD_CLOEXEC */)), "making shared memory");
    if (::ftruncate(fd.get(), static_cast<off_t>(size_bytes)) != 0) fail_errno("sizing shared memory");
    shared_memory memory = map(fd.get());
    ::new (static_cast<void*>(memory.value_)) T;
    return {std::move(memory), std::move(fd)};
  }
  /// What another process has made. Precondition: `fd` has size_bytes from `offset` on, which is that of a page.
  static shared_memory map(int fd, std::size_t offset = 0) {
    void* at = ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, static_cast<off_t>(offset));
    if (at == MAP_FAILED) fail_errno("mapping shared memory");
    shared_memory memory;
    memory.value_ = static_cast<T*>(at);
    return memory;
  }

 private:
  T* value_ = nullptr;
};

}  // namespace rh::os
