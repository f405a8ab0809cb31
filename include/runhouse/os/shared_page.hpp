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

/// One zeroed T in memory that two processes share. T is made of lock-free atomics.
template <class T>
class shared_page {
 public:
  static constexpr std::size_t page_bytes = 4096;
  static_assert(sizeof(T) <= page_bytes);

  shared_page() noexcept = default;
  shared_page(shared_page&& other) noexcept : value_(std::exchange(other.value_, nullptr)) {}
  shared_page& operator=(shared_page&& other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  ~shared_page() {
    if (value_ != nullptr) ::munmap(value_, page_bytes);
  }

  T* operator->() const noexcept { return value_; }
  explicit operator bool() const noexcept { return value_ != nullptr; }

  /// A new one, and the descriptor by which another process maps it.
  static std::pair<shared_page, unique_fd> make() {
    unique_fd fd = checked(static_cast<int>(::syscall(SYS_memfd_create, "runhouse", 1u /* MFD_CLOEXEC */)), "making shared memory");
    if (::ftruncate(fd.get(), page_bytes) != 0) fail_errno("sizing shared memory");
    shared_page page = map(fd.get());
    ::new (static_cast<void*>(page.value_)) T;
    return {std::move(page), std::move(fd)};
  }
  /// What another process has made. Precondition: `fd` is of at least page_bytes.
  static shared_page map(int fd) {
    void* at = ::mmap(nullptr, page_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED) fail_errno("mapping shared memory");
    shared_page page;
    page.value_ = static_cast<T*>(at);
    return page;
  }

 private:
  T* value_ = nullptr;
};

}  // namespace rh::os
