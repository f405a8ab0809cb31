// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/limits.hpp>

#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace rh::detail {

/// What comes out of one of a worker's pipes, cut into lines and at the marks that end a call's output.
class call_output {
 public:
  explicit call_output(std::string mark_token) : mark_(std::move(mark_token)) {}

  /// Calls line(text) for each whole line, without its end, and mark(number) where call `number` ended; a line that
  /// the call left open is given before its mark. A very long line is given in parts.
  template <class Line, class Mark>
  void feed(std::string_view text, Line&& line, Mark&& mark) {
    open_ += text;
    std::string_view rest = open_;
    for (std::size_t end; (end = rest.find('\n')) != std::string_view::npos; rest.remove_prefix(end + 1)) {
      const std::string_view whole = rest.substr(0, end);
      const std::size_t at = mark_.empty() ? std::string_view::npos : whole.find(mark_);
      if (at == std::string_view::npos) {
        line(whole);
        continue;
      }
      if (at > 0) line(whole.substr(0, at));
      std::uint64_t number = 0;
      const std::string_view digits = whole.substr(at + mark_.size());
      std::from_chars(digits.data(), digits.data() + digits.size(), number);
      mark(number);
    }
    if (rest.size() > limits::output_line_bytes) {
      const std::size_t part = rest.size() - mark_.size() - 20;  // a mark may have come in half
      line(rest.substr(0, part));
      rest.remove_prefix(part);
    }
    open_.erase(0, open_.size() - rest.size());
  }

  /// The line that is still open, at the end of a call without a mark or of the worker.
  template <class Line>
  void finish(Line&& line) {
    if (!open_.empty()) line(std::string_view(open_));
    open_.clear();
  }

 private:
  std::string mark_;
  std::string open_;
};

}  // namespace rh::detail
