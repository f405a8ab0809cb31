// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/function/program_objects.hpp>
#include <runhouse/os/fd.hpp>
#include <runhouse/wire/hash.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <elf.h>
#include <fcntl.h>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace rh::detail {

/// All 64 digits of a hash, as sha256sum writes them.
inline std::string hex_text(std::span<const std::byte> hash);

/// Whether a file of a program may be called so where it is shipped to: "program", or "lib/" or "system/" and a plain name. The names
/// go through a shell and come back from a host.
inline bool is_shipped_name(std::string_view name) noexcept;

/// A program as it travels: its executable, called "program", and the shared objects that belong to it, called
/// "lib/NAME" by the name under which the loader looks for them (so the far side starts it with LD_LIBRARY_PATH, which
/// comes before a RUNPATH, though not before an old-style RPATH). Each file is mapped, not read, and without what only
/// debuggers read: all that follows the last program header's bytes, which are .symtab, .debug_* and the table of
/// sections, as sstrip does it; no address changes. What is not as a linker makes it, such as an executable with an
/// archive at its end, travels as it is.
///
/// A whole image also has the system's libraries, as "system/NAME", and its loader, "system/loader": for a host that has older ones,
/// or none. The name of the loader, which the kernel reads from the executable, is then moved to the end of the file, where there is
/// room for the path that it has over there: `loader_name_bytes`, zeros until then.
///
/// Hashes all bytes once, when it is made: 0.2 to 1 s for 300 MB.
/// Errors: std::system_error where a file cannot be read; errc::shipping_failed for a name that cannot travel.
class program_image {
 public:
  /// A file, and what it is called over there.
  struct source {
    std::string name;
    std::string path;
  };
  struct file {
    std::string name;
    std::uint64_t offset = 0;          ///< in the image: all files, one behind the other
    wire::hash256 hash{};              ///< SHA-256 of the bytes
    std::span<const std::byte> bytes;  ///< valid as long as the image
    std::uint64_t size() const noexcept { return bytes.size(); }
  };

  static constexpr std::size_t loader_name_bytes = 4096;

  /// `is_whole`: the executable gets room for the name of its loader. Errors then also: errc::incompatible_host where it has none.
  explicit program_image(const std::vector<source>& sources, bool is_whole = false);
  program_image(program_image&&) noexcept = default;
  program_image& operator=(program_image&&) = delete;
  /// This program's own: made on first use, never destroyed.
  static inline const program_image& of_this_program();
  /// The same with the system's libraries. Null where it has no loader, as a static program.
  static inline const program_image* whole_of_this_program();

  /// The executable first.
  const std::vector<file>& files() const noexcept { return files_; }
  std::uint64_t size() const noexcept { return size_; }
  /// Names the program wherever it is: SHA-256 over each file's name, size and hash.
  const wire::hash256& identity() const noexcept { return identity_; }
  /// The identity's 64 digits.
  std::string id() const { return hex_text(identity_); }
  /// What it runs on, as `uname -m` says it: "x86_64", "aarch64". Empty if unknown.
  const std::string& machine() const noexcept { return machine_; }
  /// Bytes of the image from `offset` on, at most so many: those that lie together. Empty at the end.
  std::span<const std::byte> bytes(std::uint64_t offset, std::size_t at_most) const noexcept;

 private:
  class mapping {
   public:
    explicit mapping(const std::string& path);
    mapping(mapping&& other) noexcept : at_(std::exchange(other.at_, nullptr)), size_(other.size_) {}
    mapping& operator=(mapping&&) = delete;
    ~mapping() {
      if (at_ != nullptr) ::munmap(at_, size_ + loader_name_bytes);
    }
    /// What travels of it. To be called once.
    std::span<const std::byte> strip(bool makes_room_for_loader) noexcept;

   private:
    void* at_ = nullptr;
    std::size_t size_ = 0;
  };

  std::vector<mapping> mappings_;
  std::vector<file> files_;
  std::uint64_t size_ = 0;
  wire::hash256 identity_{};
  std::string machine_;
};

/// The system's files that it has loaded, and needs, as a whole image has them: without what belongs to the machine, as libcuda.so.1 does to its
/// driver. Empty where there is no loader.
inline std::vector<program_image::source> system_files();

/// This program's own files. The executable is the one that runs, also where its path is another file by now.
inline std::vector<program_image::source> own_program_files();

// ---- implementation

inline std::string hex_text(std::span<const std::byte> hash) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  text.reserve(2 * hash.size());
  for (const std::byte b : hash) {
    text += digits[std::to_integer<unsigned>(b) >> 4];
    text += digits[std::to_integer<unsigned>(b) & 15];
  }
  return text;
}

inline bool is_shipped_name(std::string_view name) noexcept {
  if (name == "program") return true;
  if ((!name.starts_with("lib/") && !name.starts_with("system/")) || name.size() > 200) return false;
  name.remove_prefix(name.find('/') + 1);
  if (name.empty() || name.front() == '.' || name.front() == '-') return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("._+-").find(c) != std::string_view::npos;
  });
}

namespace image_detail {

/// Where a well-made file's segments end, and its sections, which follow; nothing of any other file.
struct extent {
  std::uint64_t loaded_end;
  std::uint64_t file_end;
};

inline std::optional<extent> extent_of(std::span<const std::byte> bytes) noexcept {
  Elf64_Ehdr header;
  if (bytes.size() < sizeof header) return std::nullopt;
  std::memcpy(&header, bytes.data(), sizeof header);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
      header.e_ident[EI_DATA] != ELFDATA2LSB)
    return std::nullopt;
  if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum == 0 || header.e_phnum == PN_XNUM) return std::nullopt;
  // Of `count` things of `each` bytes at `at`: none if that is not in the file.
  const auto end_of = [&](std::uint64_t at, std::uint64_t count, std::uint64_t each) -> std::optional<std::uint64_t> {
    if (at > bytes.size() || count * each > bytes.size() - at) return std::nullopt;
    return at + count * each;
  };
  const auto headers_end = end_of(header.e_phoff, header.e_phnum, sizeof(Elf64_Phdr));
  if (!headers_end) return std::nullopt;
  extent found{std::max<std::uint64_t>(*headers_end, sizeof header), 0};
  for (std::size_t i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    std::memcpy(&segment, bytes.data() + header.e_phoff + i * sizeof segment, sizeof segment);
    if (segment.p_type == PT_NULL || segment.p_filesz == 0) continue;
    if (segment.p_filesz > bytes.size()) return std::nullopt;
    const auto end = end_of(segment.p_offset, 1, segment.p_filesz);
    if (!end) return std::nullopt;
    found.loaded_end = std::max(found.loaded_end, *end);
  }
  found.file_end = found.loaded_end;
  if (header.e_shoff == 0) return found;
  if (header.e_shentsize != sizeof(Elf64_Shdr) || header.e_shnum == 0) return std::nullopt;
  const auto sections_end = end_of(header.e_shoff, header.e_shnum, sizeof(Elf64_Shdr));
  if (!sections_end) return std::nullopt;
  found.file_end = std::max(found.file_end, *sections_end);
  for (std::size_t i = 0; i < header.e_shnum; ++i) {
    Elf64_Shdr section;
    std::memcpy(&section, bytes.data() + header.e_shoff + i * sizeof section, sizeof section);
    if (section.sh_type == SHT_NULL || section.sh_type == SHT_NOBITS) continue;
    if (section.sh_size > bytes.size()) return std::nullopt;
    const auto end = end_of(section.sh_offset, 1, section.sh_size);
    if (!end) return std::nullopt;
    found.file_end = std::max(found.file_end, *end);
  }
  return found;
}

/// Where its program header names its loader; null if it has none. Precondition: it is well made.
inline Elf64_Phdr* loader_of(std::byte* bytes) noexcept {
  Elf64_Ehdr header;
  std::memcpy(&header, bytes, sizeof header);
  for (std::size_t i = 0; i < header.e_phnum; ++i) {
    auto* const segment = reinterpret_cast<Elf64_Phdr*>(bytes + header.e_phoff + i * sizeof(Elf64_Phdr));
    if (segment->p_type == PT_INTERP) return segment;
  }
  return nullptr;
}

/// What goes with the drivers of a machine, or its network cards: of another machine it would be of no use.
inline bool is_of_the_machine(std::string_view name) noexcept {
  constexpr std::string_view begins[] = {"libcuda.so", "libcudadebugger.so", "libnvidia-", "libnvcuvid.so", "libnvoptix.so", "libEGL", "libGL.so", "libGLX", "libGLdispatch", "libGLESv", "libOpenGL", "libOpenCL.so",
                                         "libdrm", "libvulkan", "libibverbs", "librdmacm", "libmlx", "libze_", "libhsa-runtime"};
  return std::ranges::any_of(begins, [&](std::string_view begin) { return name.starts_with(begin); });
}

inline std::string machine_of(std::span<const std::byte> bytes) {
  Elf64_Ehdr header;
  if (bytes.size() < sizeof header) return "";
  std::memcpy(&header, bytes.data(), sizeof header);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return "";
  switch (header.e_machine) {
    case EM_X86_64: return "x86_64";
    case EM_AARCH64: return "aarch64";
    case EM_RISCV: return header.e_ident[EI_CLASS] == ELFCLASS64 ? "riscv64" : "riscv32";
    case EM_PPC64: return "ppc64le";
    default: return "";
  }
}

}  // namespace image_detail

inline program_image::mapping::mapping(const std::string& path) {
  const std::string tried = "reading this program's own file " + path;
  const os::unique_fd opened = os::checked(::open(path.c_str(), O_RDONLY | O_CLOEXEC), tried.c_str());
  struct stat facts {};
  if (::fstat(opened.get(), &facts) != 0) os::fail_errno(tried);
  size_ = static_cast<std::size_t>(facts.st_size);
  if (size_ == 0) return;
  void* const room = ::mmap(nullptr, size_ + loader_name_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (room == MAP_FAILED) os::fail_errno(tried);
  at_ = room;
  // Private and writable: the pages that strip() changes become copies, and no others.
  void* at = ::mmap(room, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED, opened.get(), 0);
  if (at == MAP_FAILED) {
    const int why = errno;
    ::munmap(std::exchange(at_, nullptr), size_ + loader_name_bytes);
    errno = why;
    os::fail_errno(tried);
  }
  ::madvise(at_, size_, MADV_SEQUENTIAL);
}

inline std::span<const std::byte> program_image::mapping::strip(bool makes_room_for_loader) noexcept {
  std::span<const std::byte> bytes(static_cast<const std::byte*>(at_), at_ == nullptr ? 0 : size_);
  const auto extent = image_detail::extent_of(bytes);
  if (extent && extent->file_end == size_ && extent->loaded_end < size_) {
    auto* header = static_cast<Elf64_Ehdr*>(at_);
    header->e_shoff = 0;
    header->e_shnum = 0;
    header->e_shstrndx = SHN_UNDEF;
    bytes = bytes.first(static_cast<std::size_t>(extent->loaded_end));
  }
  if (makes_room_for_loader) {
    Elf64_Phdr* const loader = extent && extent->file_end == size_ ? image_detail::loader_of(static_cast<std::byte*>(at_)) : nullptr;
    if (loader == nullptr) return {};
    auto* const end = static_cast<std::byte*>(at_) + bytes.size();
    std::memset(end, 0, loader_name_bytes);
    loader->p_offset = bytes.size();
    loader->p_filesz = loader->p_memsz = loader_name_bytes;
    bytes = {static_cast<const std::byte*>(at_), bytes.size() + loader_name_bytes};
  }
  if (at_ != nullptr) ::mprotect(at_, size_ + loader_name_bytes, PROT_READ);
  return bytes;
}

inline program_image::program_image(const std::vector<source>& sources, bool is_whole) {
  constexpr std::size_t most_files = 256;  // what a plan has room for, and more than a program is linked with
  if (sources.empty() || sources.size() > most_files) {
    fail(errc::shipping_failed, "a program of " + std::to_string(sources.size()) +
                                    " files cannot be shipped, only one of 1 to " + std::to_string(most_files) +
                                    "; link some of its libraries statically");
  }
  sha256 all;
  const auto add_number = [&](std::uint64_t number) { all.add(&number, sizeof number); };
  for (const source& each : sources) {
    const bool is_twice = std::any_of(files_.begin(), files_.end(), [&](const file& f) { return f.name == each.name; });
    if (!is_shipped_name(each.name) || is_twice) {
      fail(errc::shipping_failed, "the file " + each.path + " of this program cannot be shipped as " + each.name +
                                      (is_twice ? ", as another one has that name" : "") +
                                      "; link it statically or call it otherwise, with letters, digits and ._+-");
    }
    mapping& mapped = mappings_.emplace_back(each.path);
    file& added = files_.emplace_back();
    added.name = each.name;
    added.offset = size_;
    const bool gets_loader = is_whole && files_.size() == 1;
    added.bytes = mapped.strip(gets_loader);
    if (gets_loader && added.bytes.empty()) {
      fail(errc::incompatible_host, "this program is not linked as others are, so it cannot take its libraries with it; build it on an older system");
    }
    if (files_.size() == 1) machine_ = image_detail::machine_of(added.bytes);
    sha256 own;
    own.add(added.bytes.data(), added.bytes.size());
    added.hash = own.finish();
    size_ += added.size();
    add_number(added.name.size());
    all.add(added.name.data(), added.name.size());
    add_number(added.size());
    all.add(added.hash.data(), added.hash.size());
  }
  identity_ = all.finish();
}

inline std::span<const std::byte> program_image::bytes(std::uint64_t offset, std::size_t at_most) const noexcept {
  const auto after =
      std::upper_bound(files_.begin(), files_.end(), offset, [](std::uint64_t o, const file& f) { return o < f.offset; });
  if (offset >= size_ || after == files_.begin()) return {};
  const file& in = *std::prev(after);  // of those with that offset the last, as the others are empty
  const auto rest = in.bytes.subspan(static_cast<std::size_t>(offset - in.offset));
  return rest.first(std::min(rest.size(), at_most));
}

inline const program_image& program_image::of_this_program() {
  static const program_image* image = new program_image(own_program_files());
  return *image;
}

inline const program_image* program_image::whole_of_this_program() {
  static const program_image* const image = []() -> const program_image* {
    auto files = own_program_files();
    const auto system = system_files();
    if (system.empty()) return nullptr;
    files.insert(files.end(), system.begin(), system.end());
    return new program_image(files, true);
  }();
  return image;
}

inline std::vector<program_image::source> system_files() {
  std::vector<program_image::source> files;
  bool has_loader = false;
  for (const auto& [name, object] : system_objects()) {
    const bool is_loader = name.starts_with("ld-linux") || name.starts_with("ld64.so") || name.starts_with("ld.so");
    has_loader = has_loader || is_loader;
    if (object.path.find('/') == object.path.npos || image_detail::is_of_the_machine(name)) continue;
    files.push_back({is_loader ? "system/loader" : "system/" + name, object.path});
  }
  if (!has_loader) files.clear();
  // What comes from the host, as a driver's library or a module of getpwnam, may need the rest of this C library: that of the host would not fit.
  const auto libc = std::ranges::find(files, "system/libc.so.6", &program_image::source::name);
  if (libc != files.end()) {
    const std::string folder = libc->path.substr(0, libc->path.rfind('/') + 1);
    for (const char* name : {"libpthread.so.0", "libdl.so.2", "librt.so.1", "libutil.so.1", "libanl.so.1", "libresolv.so.2", "libm.so.6", "libnss_files.so.2",
                             "libnss_dns.so.2", "libnss_compat.so.2", "libgcc_s.so.1"}) {
      const std::string path = folder + name;
      const bool is_there = std::ranges::any_of(files, [&](const program_image::source& f) { return f.name == std::string("system/") + name; });
      if (!is_there && ::access(path.c_str(), R_OK) == 0) files.push_back({std::string("system/") + name, path});
    }
  }
  return files;
}

inline std::vector<program_image::source> own_program_files() {
  std::vector<program_image::source> files;
  for (const program_object& object : program_objects()) {
    files.push_back({files.empty() ? "program" : "lib/" + object.path.substr(object.path.rfind('/') + 1), object.path});
  }
  return files;
}

}  // namespace rh::detail
