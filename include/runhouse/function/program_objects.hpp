// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/os/fd.hpp>
#include <runhouse/wire/message.hpp>

#include <array>
#include <cstdint>
#include <cstdio>
#include <fcntl.h>
#include <limits>
#include <link.h>
#include <openssl/evp.h>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace rh::detail {

/// One file that this program is made of: the executable, or a shared object outside the system's library folders.
struct program_object {
  std::string path;  ///< as the loader has it; the executable: /proc/self/exe
  std::uintptr_t base = 0;
  std::uintptr_t first = 0;  ///< its loaded segments lie within [first, last)
  std::uintptr_t last = 0;
};

inline bool is_system_path(std::string_view path) noexcept {
  for (const std::string_view folder : {"/lib/", "/lib64/", "/lib32/", "/usr/lib/", "/usr/lib64/", "/usr/libexec/"}) {
    if (path.starts_with(folder)) return true;
  }
  return path.empty() || path.front() != '/';  // the vdso has no file
}

/// In the loader's order, the executable first: the same in every process of one program.
inline std::vector<program_object> program_objects() {
  std::vector<program_object> objects;
  ::dl_iterate_phdr(
      [](dl_phdr_info* loaded, std::size_t, void* out) {
        auto& list = *static_cast<std::vector<program_object>*>(out);
        const std::string_view name = loaded->dlpi_name != nullptr ? loaded->dlpi_name : "";
        if (!list.empty() && is_system_path(name)) return 0;
        program_object object{list.empty() ? "/proc/self/exe" : std::string(name), loaded->dlpi_addr,
                              std::numeric_limits<std::uintptr_t>::max(), 0};
        for (int i = 0; i < loaded->dlpi_phnum; ++i) {
          const auto& segment = loaded->dlpi_phdr[i];
          if (segment.p_type != PT_LOAD) continue;
          const std::uintptr_t begin = loaded->dlpi_addr + segment.p_vaddr;
          object.first = std::min(object.first, begin);
          object.last = std::max(object.last, begin + segment.p_memsz);
        }
        list.push_back(std::move(object));
        return 0;
      },
      &objects);
  return objects;
}

/// Where in the program an address of it lies; nothing if in none of its own objects.
inline std::optional<std::pair<std::uint32_t, std::uint64_t>> locate(const void* address) {
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  const auto objects = program_objects();
  for (std::size_t i = 0; i < objects.size(); ++i) {
    if (at >= objects[i].first && at < objects[i].last) return std::pair(static_cast<std::uint32_t>(i), at - objects[i].base);
  }
  return std::nullopt;
}

/// SHA-256, by libcrypto.
class sha256 {
 public:
  sha256() : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
    if (!context_ || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1) throw std::bad_alloc();
  }
  void add(const void* bytes, std::size_t size) {
    if (EVP_DigestUpdate(context_.get(), bytes, size) != 1) throw std::bad_alloc();
  }
  wire::hash256 finish() {
    wire::hash256 hash{};
    if (EVP_DigestFinal_ex(context_.get(), reinterpret_cast<unsigned char*>(hash.data()), nullptr) != 1) throw std::bad_alloc();
    return hash;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

/// Which files this process is made of, by inode, size and time: enough to see that a worker on the same machine has
/// loaded the same ones, without reading them. An object that was relinked while the program ran differs.
inline wire::hash256 program_files() {
  sha256 hash;
  for (const program_object& object : program_objects()) {
    struct stat facts {};
    if (::stat(object.path.c_str(), &facts) != 0) facts = {};
    const std::array<std::uint64_t, 5> numbers{facts.st_dev, facts.st_ino, static_cast<std::uint64_t>(facts.st_size),
                                               static_cast<std::uint64_t>(facts.st_mtim.tv_sec),
                                               static_cast<std::uint64_t>(facts.st_mtim.tv_nsec)};
    hash.add(numbers.data(), sizeof numbers);
  }
  return hash.finish();
}

/// The identity of the program: SHA-256 over the bytes of its objects. Reads them all, so ask once.
inline wire::hash256 program_identity() {
  sha256 hash;
  std::vector<char> block(1 << 20);
  for (const program_object& object : program_objects()) {
    const os::unique_fd file = os::checked(::open(object.path.c_str(), O_RDONLY | O_CLOEXEC), "reading this program's own file");
    std::uint64_t size = 0;
    for (;;) {
      const ssize_t n = ::read(file.get(), block.data(), block.size());
      if (n < 0) os::fail_errno("reading this program's own file " + object.path);
      if (n == 0) break;
      hash.add(block.data(), static_cast<std::size_t>(n));
      size += static_cast<std::uint64_t>(n);
    }
    hash.add(&size, sizeof size);  // so that bytes cannot move from one object to the next
  }
  return hash.finish();
}

/// The first characters of a hash, for people.
inline std::string short_text(const wire::hash256& hash) {
  std::string text;
  for (std::size_t i = 0; i < 6; ++i) {
    constexpr std::string_view digits = "0123456789abcdef";
    text += digits[static_cast<unsigned>(hash[i]) >> 4];
    text += digits[static_cast<unsigned>(hash[i]) & 15];
  }
  return text;
}

}  // namespace rh::detail
