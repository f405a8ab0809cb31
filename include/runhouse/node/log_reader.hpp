// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/node/log_format.hpp>
#include <runhouse/os/fd.hpp>
#include <runhouse/os/private_folder.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <fcntl.h>
#include <optional>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace rh::detail {

struct log_piece {
  std::string text;             ///< empty: nothing more yet
  std::uint64_t next = 0;       ///< the offset to go on from
  std::uint64_t missing = 0;    ///< bytes that are gone between the offset and the text
};

/// At most `max` bytes of a log from an offset, whether its call has ended or not; it disturbs no writer. An offset
/// counts all that was ever written to the log, also what is gone of a long one, so `next` stays good while it grows.
/// Nothing if there is no such log. `path` is of its first file.
inline std::optional<log_piece> read_log(const std::string& path, std::uint64_t offset, std::size_t max);

struct log_entry {
  std::string path;       ///< of the first file
  std::uint64_t call_id = 0;
  std::uint64_t session = 0;
  std::string function;   ///< in full
  log_time begun{};
  std::uint64_t bytes = 0;
  bool ended = false;     ///< its last line says so; one without it may run, or its node was killed
};

/// The logs of one life, those that were written last first, at most so many.
inline std::vector<log_entry> list_logs(const std::string& life_path, std::size_t at_most = 1000);

// ---- implementation

namespace log_detail {

struct part {
  os::unique_fd fd;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

inline std::string read_at(int fd, std::uint64_t at, std::size_t max) {
  std::string text(max, '\0');
  const ssize_t n = ::pread(fd, text.data(), max, static_cast<off_t>(at));
  text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  return text;
}

inline std::optional<part> open_part(const std::string& path, bool is_first) {
  part p{os::unique_fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)), 0, 0};
  struct stat facts {};
  if (!p.fd || ::fstat(p.fd.get(), &facts) != 0 || !S_ISREG(facts.st_mode)) return std::nullopt;
  if (!is_first) {
    constexpr std::string_view mark = " log from byte ";
    const std::string line = read_at(p.fd.get(), 0, 80);
    const std::size_t at = 24 + mark.size();
    const std::size_t end = line.find('\n');
    if (end == std::string::npos || end <= at || line.compare(24, mark.size(), mark) != 0) return std::nullopt;
    const auto begin = number_in<std::uint64_t>(std::string_view(line).substr(at, end - at));
    if (!begin) return std::nullopt;
    p.begin = *begin;
  }
  p.end = p.begin + static_cast<std::uint64_t>(facts.st_size);
  return p;
}

}  // namespace log_detail

inline std::optional<log_piece> read_log(const std::string& path, std::uint64_t offset, std::size_t max) {
  // The newest first: if it becomes the older one meanwhile it is seen twice, and never missed.
  std::optional<log_detail::part> newer = log_detail::open_part(path + ".2", false);
  std::optional<log_detail::part> older = log_detail::open_part(path + ".1", false);
  std::optional<log_detail::part> head = log_detail::open_part(path, true);
  if (!head) return std::nullopt;
  log_piece piece;
  piece.next = offset;
  for (std::optional<log_detail::part>* p : {&head, &older, &newer}) {
    if (!*p || piece.next >= (*p)->end) continue;
    const std::uint64_t begin = std::max(piece.next, (*p)->begin);
    piece.missing = begin - piece.next;
    piece.text = log_detail::read_at((*p)->fd.get(), begin - (*p)->begin,
                                     static_cast<std::size_t>(std::min<std::uint64_t>(max, (*p)->end - begin)));
    piece.next = begin + piece.text.size();
    break;
  }
  return piece;
}

inline std::vector<log_entry> list_logs(const std::string& life_path, std::size_t at_most) {
  struct found {
    std::string name;
    std::int64_t written;
  };
  std::vector<found> all;
  struct stat there {};
  if (::lstat(life_path.c_str(), &there) != 0) return {};
  const os::private_folder folder = os::private_folder::open(life_path);
  const auto facts_of = [&](const std::string& name, struct stat& facts) {
    return ::fstatat(folder.descriptor(), name.c_str(), &facts, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(facts.st_mode);
  };
  for (std::string& name : folder.names()) {
    struct stat facts {};
    if (!parse_log_name(name) || !facts_of(name, facts)) continue;
    struct stat later {};
    if (facts_of(name + ".2", later))
      facts.st_mtim = std::max(facts.st_mtim, later.st_mtim, [](const timespec& a, const timespec& b) {
        return std::pair(a.tv_sec, a.tv_nsec) < std::pair(b.tv_sec, b.tv_nsec);
      });
    all.push_back({std::move(name), std::int64_t{facts.st_mtim.tv_sec} * 1'000'000'000 + facts.st_mtim.tv_nsec});
  }
  std::sort(all.begin(), all.end(), [](const found& a, const found& b) { return a.written > b.written; });
  if (all.size() > at_most) all.resize(at_most);

  std::vector<log_entry> entries;
  for (const found& f : all) {
    const log_name name = *parse_log_name(f.name);
    log_entry entry{folder.path_of(f.name), name.call_id, name.session, name.function, {}, 0, false};
    for (const char* ending : {"", ".1", ".2"}) {
      const os::unique_fd fd = folder.try_open_file(f.name + ending, O_RDONLY | O_NONBLOCK);
      struct stat facts {};
      if (!fd || ::fstat(fd.get(), &facts) != 0) continue;
      const auto size = static_cast<std::uint64_t>(facts.st_size);
      entry.bytes += size;
      if (*ending == '\0') {
        const std::string line = log_detail::read_at(fd.get(), 0, 2048);
        const std::size_t colon = line.find(": ", log_prefix_bytes);
        const std::size_t end = line.find('\n');
        if (const auto begun = parse_log_stamp(line)) entry.begun = *begun;
        if (colon != std::string::npos && end != std::string::npos && colon < end &&
            line.compare(24, 10, " log call ") == 0)
          entry.function = line.substr(colon + 2, end - colon - 2);
      }
      constexpr std::size_t end_bytes = 36;  // with the end of the line before it: no function can print such a line
      const std::string last =
          log_detail::read_at(fd.get(), size - std::min<std::uint64_t>(size, end_bytes), end_bytes);
      entry.ended = last.size() == end_bytes && last.front() == '\n' && last.ends_with("Z log ended\n");
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace rh::detail
