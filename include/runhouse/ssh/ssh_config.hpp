// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/ssh/host_pattern.hpp>

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace rh::detail {

/// The user's configuration for a host, as `ssh -G HOST` prints it: files, patterns, tokens and defaults are resolved, so
/// nothing here has to know their rules.
class ssh_config {
 public:
  ssh_config() = default;
  /// Lines of a keyword and its value. What is none is passed over.
  explicit ssh_config(std::string_view printed) {
    while (!printed.empty()) {
      const std::string_view line = printed.substr(0, printed.find('\n'));
      printed.remove_prefix(std::min(line.size() + 1, printed.size()));
      const std::size_t blank = line.find(' ');
      if (blank == line.npos || blank == 0) continue;
      lines_.emplace_back(in_lower_case(line.substr(0, blank)), line.substr(blank + 1));
    }
  }

  /// What is printed for a keyword, which is in lower case; empty if nothing is.
  std::string text(std::string_view keyword) const {
    const auto line = std::ranges::find(lines_, keyword, &line_type::first);
    return line != lines_.end() ? line->second : std::string();
  }
  /// The same, empty for "none".
  std::string value(std::string_view keyword) const {
    std::string all = text(keyword);
    if (all == "none") all.clear();
    return all;
  }
  /// All of one that may come several times.
  std::vector<std::string> values(std::string_view keyword) const {
    std::vector<std::string> all;
    for (const auto& [key, text] : lines_) {
      if (key == keyword && text != "none") all.push_back(text);
    }
    return all;
  }
  /// The words of one whose value is a list, between blanks or commas.
  std::vector<std::string> words(std::string_view keyword) const { return parts(keyword, " ,"); }
  /// The files of one whose value is a list of them. It is printed without quotes: a name with a blank in it cannot be told from two.
  std::vector<std::string> files(std::string_view keyword) const { return parts(keyword, " "); }
  /// True for yes and true.
  bool is_on(std::string_view keyword) const {
    const std::string text = value(keyword);
    return text == "yes" || text == "true";
  }

  std::string host_name() const { return text("hostname"); }
  std::string user() const { return text("user"); }
  /// 22 where that is no port.
  std::uint16_t port() const {
    const std::string text = value("port");
    std::uint16_t number = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), number);
    return read.ec == std::errc() && read.ptr == text.data() + text.size() && number != 0 ? number : std::uint16_t{22};
  }

 private:
  using line_type = std::pair<std::string, std::string>;
  std::vector<std::string> parts(std::string_view keyword, const char* between) const {
    std::vector<std::string> all;
    const std::string text = value(keyword);
    for (std::size_t begin = 0; begin < text.size();) {
      const std::size_t end = std::min(text.find_first_of(between, begin), text.size());
      if (end > begin) all.push_back(text.substr(begin, end - begin));
      begin = end + 1;
    }
    return all;
  }
  std::vector<line_type> lines_;
};

}  // namespace rh::detail
