// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>

/// How logs are named and written.
///
///     ~/.runhouse/logs/2026-11-27T212023Z-gpu7-4711/   one life of a node: when it began, its machine, its pid
///       17-physics.step_double-3.log                   call 17 of session 3: all, or the first 32 MiB
///       17-physics.step_double-3.log.1, .log.2         where it printed more: the last 16 to 32 MiB, in this order
///
/// A line is the time (UTC), where it was printed, and the text as it was:
///
///     2026-11-27T21:20:23.123Z log call 17 of session 3: physics::step<double>
///     2026-11-27T21:20:23.456Z out step 1 of 20
///     2026-11-27T21:20:24.001Z err warning: residual 0.3
///     2026-11-27T21:20:25.789Z log ended
///
/// `log` is ours, and no function can write such a line. So `grep ' err '` finds what went to stderr, and `cut -c30-`
/// is what was printed. The machine's name is there since a home may be shared by many.
namespace rh::detail {

using log_time = std::chrono::system_clock::time_point;

enum class printed_on : std::uint8_t { out, err };

/// Where a log's text begins in a line.
inline constexpr std::size_t log_prefix_bytes = 29;

/// "2026-11-27T21:20:23.123Z".
inline std::string log_stamp(log_time at);
/// The time of a line that begins with a stamp.
inline std::optional<log_time> parse_log_stamp(std::string_view line);

/// "17-physics.step_double-3.log": safe for file systems and shells, whatever the function is called.
inline std::string log_file_name(std::uint64_t session, std::uint64_t call_id, std::string_view function);

struct log_name {
  std::uint64_t call_id = 0;
  std::uint64_t session = 0;
  std::string function;
};
/// Nothing if it is no name of a log's first file.
inline std::optional<log_name> parse_log_name(std::string_view file);
/// Whether it is a log's file, first or later.
inline bool is_log_file(std::string_view file);

/// "2026-11-27T212023Z-gpu7-4711".
inline std::string log_life_name(log_time begun, std::string_view host, int pid);
struct log_life {
  std::string host;
  int pid = 0;
};
inline std::optional<log_life> parse_log_life(std::string_view folder);

// ---- implementation

inline std::string log_stamp(log_time at) {
  const auto ms = std::chrono::floor<std::chrono::milliseconds>(at);
  const auto day = std::chrono::floor<std::chrono::days>(ms);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss time(ms - day);
  char text[64];
  std::snprintf(text, sizeof text, "%04d-%02u-%02uT%02d:%02d:%02d.%03dZ", static_cast<int>(date.year()) % 10000,
                static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                static_cast<int>(time.hours().count()), static_cast<int>(time.minutes().count()),
                static_cast<int>(time.seconds().count()), static_cast<int>(time.subseconds().count()));
  return text;
}

inline std::optional<log_time> parse_log_stamp(std::string_view line) {
  int year = 0, hour = 0, minute = 0, second = 0, ms = 0;
  unsigned month = 0, day = 0;
  const std::string text(line.substr(0, 24));
  char end = 0;
  if (std::sscanf(text.c_str(), "%4d-%2u-%2uT%2d:%2d:%2d.%3d%c", &year, &month, &day, &hour, &minute, &second, &ms,
                  &end) != 8 ||
      end != 'Z')
    return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year(year), std::chrono::month(month), std::chrono::day(day)};
  if (!date.ok()) return std::nullopt;
  return std::chrono::sys_days(date) + std::chrono::hours(hour) + std::chrono::minutes(minute) +
         std::chrono::seconds(second) + std::chrono::milliseconds(ms);
}

namespace log_detail {

inline bool is_plain(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/// The number that is all of the text.
template <class Number>
std::optional<Number> number_in(std::string_view text) {
  Number n{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return n;
}

}  // namespace log_detail

inline std::string log_file_name(std::uint64_t session, std::uint64_t call_id, std::string_view function) {
  constexpr std::size_t longest = 64;
  std::string safe;
  for (const char c : function) {
    if (safe.size() == longest) break;
    if (log_detail::is_plain(c)) {
      safe += c;
    } else if (!safe.empty() && safe.back() != '_' && safe.back() != '.') {
      safe += c == ':' ? '.' : '_';
    }
  }
  while (!safe.empty() && (safe.back() == '_' || safe.back() == '.')) safe.pop_back();
  if (safe.empty()) safe = "call";
  return std::to_string(call_id) + "-" + safe + "-" + std::to_string(session) + ".log";
}

inline std::optional<log_name> parse_log_name(std::string_view file) {
  if (!file.ends_with(".log")) return std::nullopt;
  file.remove_suffix(4);
  const std::size_t first = file.find('-');
  const std::size_t last = file.rfind('-');
  if (first == std::string_view::npos || first == last) return std::nullopt;
  const auto id = log_detail::number_in<std::uint64_t>(file.substr(0, first));
  const auto session = log_detail::number_in<std::uint64_t>(file.substr(last + 1));
  if (!id || !session) return std::nullopt;
  return log_name{*id, *session, std::string(file.substr(first + 1, last - first - 1))};
}

inline bool is_log_file(std::string_view file) {
  if (file.ends_with(".log.1") || file.ends_with(".log.2")) file.remove_suffix(2);
  return parse_log_name(file).has_value();
}

inline std::string log_life_name(log_time begun, std::string_view host, int pid) {
  std::string name = log_stamp(begun).substr(0, 19) + "Z-";
  std::erase(name, ':');
  for (const char c : host.substr(0, 64)) name += log_detail::is_plain(c) || c == '.' || c == '-' ? c : '_';
  return name + "-" + std::to_string(pid);
}

inline std::optional<log_life> parse_log_life(std::string_view folder) {
  constexpr std::size_t host_at = 19;  // behind "2026-11-27T212023Z-"
  const std::size_t last = folder.rfind('-');
  if (folder.size() < host_at || folder.substr(17, 2) != "Z-" || last == std::string_view::npos || last < host_at)
    return std::nullopt;
  const auto pid = log_detail::number_in<int>(folder.substr(last + 1));
  if (!pid || *pid <= 0) return std::nullopt;
  return log_life{std::string(folder.substr(host_at, last - host_at)), *pid};
}

}  // namespace rh::detail
