// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/function/function_table.hpp>
#include <runhouse/function/pretty_name.hpp>
#include <runhouse/os/fd.hpp>
#include <runhouse/os/libcrypto.hpp>
#include <runhouse/os/own_libraries.hpp>
#include <runhouse/wire/message.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <fcntl.h>
#include <limits>
#include <link.h>
#include <memory>
#include <new>
#include <openssl/evp.h>
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

/// Whether a loaded file is no part of the program: of the system's library folders, also where they were copied with the program
/// ("programs/ID/system/").
inline bool is_system_path(std::string_view path) noexcept {
  const std::string_view in = path.substr(0, std::min(path.rfind('/'), path.size()));
  constexpr std::string_view copied = "/system";
  if (in.ends_with(copied) && os::own_libraries::is_copied(in.substr(0, in.size() - copied.size()))) return true;
  for (const std::string_view folder : {"/lib/", "/lib64/", "/lib32/", "/usr/lib/", "/usr/lib64/", "/usr/libexec/"}) {
    if (path.starts_with(folder)) return true;
  }
  return path.find('/') == path.npos;  // the vdso has no file
}

/// In the loader's order, the executable first: the same in every process of one program. What was opened with dlopen
/// is no part of the program: a worker has not opened it.
inline std::vector<program_object> program_objects();

/// The rest of what the loader has loaded for it, with the names by which it looks for them; the loader itself among them.
inline std::vector<std::pair<std::string, program_object>> system_objects();

/// Where in the program an address of it lies; nothing if in none of its own objects.
inline std::optional<std::pair<std::uint32_t, std::uint64_t>> locate(const void* address) {
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  const auto objects = program_objects();
  for (std::size_t i = 0; i < objects.size(); ++i) {
    if (at >= objects[i].first && at < objects[i].last)
      return std::pair(static_cast<std::uint32_t>(i), at - objects[i].base);
  }
  return std::nullopt;
}

/// How calls name the function; found once.
/// Errors: errc::unknown_function
inline wire::function_id place_of(const function_entry& function);

/// SHA-256, by libcrypto.
class sha256 {
 public:
  sha256() : context_((os::keep_libcrypto(), EVP_MD_CTX_new()), &EVP_MD_CTX_free) {
    if (!context_ || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1) throw std::bad_alloc();
  }
  void add(const void* bytes, std::size_t size) {
    if (EVP_DigestUpdate(context_.get(), bytes, size) != 1) throw std::bad_alloc();
  }
  wire::hash256 finish() {
    wire::hash256 hash{};
    if (EVP_DigestFinal_ex(context_.get(), reinterpret_cast<unsigned char*>(hash.data()), nullptr) != 1)
      throw std::bad_alloc();
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
    const os::unique_fd file =
        os::checked(::open(object.path.c_str(), O_RDONLY | O_CLOEXEC), "reading this program's own file");
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

// ---- implementation

namespace objects_detail {

/// Any object in memory, with the names that link it to others.
struct loaded_object {
  program_object object;
  std::string_view own_name;
  std::vector<std::string_view> needs;
  bool is_needed = false;
};

inline std::string_view file_name(std::string_view path) noexcept {
  return path.substr(path.rfind('/') + 1);
}

inline void read_dynamic(loaded_object& out, const ElfW(Dyn) * dynamic) {
  const char* names = nullptr;
  for (auto* entry = dynamic; entry->d_tag != DT_NULL; ++entry) {
    if (entry->d_tag != DT_STRTAB) continue;
    const std::uintptr_t at = entry->d_un.d_ptr;  // glibc has added the base, but not everywhere
    names = reinterpret_cast<const char*>(at < out.object.base ? at + out.object.base : at);
  }
  if (names == nullptr) return;
  for (auto* entry = dynamic; entry->d_tag != DT_NULL; ++entry) {
    if (entry->d_tag == DT_NEEDED) out.needs.emplace_back(names + entry->d_un.d_val);
    if (entry->d_tag == DT_SONAME) out.own_name = names + entry->d_un.d_val;
  }
}

inline int add_loaded(dl_phdr_info* info, std::size_t, void* out) {
  auto& list = *static_cast<std::vector<loaded_object>*>(out);
  const bool is_executable = list.empty();
  loaded_object& added = list.emplace_back();
  added.object.path = is_executable ? "/proc/self/exe" : info->dlpi_name != nullptr ? info->dlpi_name : "";
  added.object.base = info->dlpi_addr;
  added.object.first = std::numeric_limits<std::uintptr_t>::max();
  added.is_needed = is_executable;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& segment = info->dlpi_phdr[i];
    const std::uintptr_t begin = info->dlpi_addr + segment.p_vaddr;
    if (segment.p_type == PT_LOAD) {
      added.object.first = std::min(added.object.first, begin);
      added.object.last = std::max(added.object.last, begin + segment.p_memsz);
    } else if (segment.p_type == PT_DYNAMIC && added.object.path.find('/') != std::string::npos) {
      read_dynamic(added, reinterpret_cast<const ElfW(Dyn)*>(begin));
    }
  }
  return 0;
}

/// All that the executable needs, and it.
inline std::vector<loaded_object> needed_objects();

}  // namespace objects_detail

inline wire::function_id place_of(const function_entry& function) {
  constexpr unsigned offset_bits = 48;
  std::uint64_t place = function.place.load(std::memory_order_relaxed);
  if (place == function_entry::unknown_place) {
    const auto found = locate(reinterpret_cast<const void*>(function.run));
    if (!found || found->first > 0xffff || found->second >> offset_bits != 0) {
      fail(errc::unknown_function,
           pretty_name(function.name) +
               " is no part of this program, which is its executable and the shared libraries that it is "
               "linked with, but for those of the system: a worker would not find it; link its library "
               "instead of opening it with dlopen");
    }
    place = std::uint64_t{found->first} << offset_bits | found->second;
    function.place.store(place, std::memory_order_relaxed);
  }
  return {static_cast<std::uint32_t>(place >> offset_bits), place & ((std::uint64_t{1} << offset_bits) - 1), {}};
}

inline std::vector<objects_detail::loaded_object> objects_detail::needed_objects() {
  std::vector<loaded_object> loaded;
  ::dl_iterate_phdr(&add_loaded, &loaded);
  // Needed is what the executable names, and what that names, and so on.
  std::vector<std::size_t> reached{0};
  for (std::size_t next = 0; next < reached.size(); ++next) {
    for (const std::string_view name : loaded[reached[next]].needs) {
      for (std::size_t i = 0; i < loaded.size(); ++i) {
        if (loaded[i].is_needed || (name != loaded[i].own_name && file_name(name) != file_name(loaded[i].object.path)))
          continue;
        loaded[i].is_needed = true;
        reached.push_back(i);
      }
    }
  }
  std::erase_if(loaded, [](const loaded_object& each) { return !each.is_needed; });
  return loaded;
}

inline std::vector<program_object> program_objects() {
  std::vector<program_object> own;
  for (auto& each : objects_detail::needed_objects()) {
    if (own.empty() || !is_system_path(each.object.path)) own.push_back(std::move(each.object));
  }
  return own;
}

inline std::vector<std::pair<std::string, program_object>> system_objects() {
  std::vector<std::pair<std::string, program_object>> rest;
  auto all = objects_detail::needed_objects();
  for (std::size_t i = 1; i < all.size(); ++i) {  // the first is the executable
    if (!is_system_path(all[i].object.path)) continue;
    rest.emplace_back(std::string(objects_detail::file_name(all[i].object.path)), std::move(all[i].object));
  }
  return rest;
}

}  // namespace rh::detail
