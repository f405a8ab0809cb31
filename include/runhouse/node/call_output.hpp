// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/limits.hpp>

#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace rh::detail {

/// What comes out of one of a worker's pipes, cut into lines and at the marks that end a call's output.
class call_output {
 public:
  explicit call_output(std::string mark_token) : mark_(std::move(mark_token)) {}

  /// Takes what was read, during which call `unmarked` was the last that had been started: text that no mark follows is
  /// of that call. Calls owner(number) whenever text of another call begins, and line(text) for each whole line,
  /// without its end; a line that a call left open is given when its mark comes, and a very long line in parts.
  template <class Owner, class Line>
  void feed(std::string_view text, std::uint32_t unmarked, Owner&& owner, Line&& line) {
    const auto may_mark = [&](std::string_view t) { return !mark_.empty() && t.find(mark_.front()) != std::string_view::npos; };
    if (!may_mark(open_)) {
      // Whose text this is, before it is put behind a line that an earlier call has left open.
      if (const auto first = next_mark(text, 0)) {
        owner(first->number);
      } else if (!may_mark(text)) {
        owner(unmarked);
      }
    }
    open_ += text;
    std::string rest = std::exchange(open_, {});
    std::size_t begin = 0;
    while (const auto next = next_mark(rest, begin)) {
      owner(next->number);
      cut(std::string_view(rest).substr(begin, next->begin - begin), line);
      finish(line);
      begin = next->end;
    }
    if (begin > 0) owner(unmarked);
    cut(std::string_view(rest).substr(begin), line);
  }

  /// The line that is still open, at the end of a call without a mark or of the worker.
  template <class Line>
  void finish(Line&& line) {
    if (!open_.empty()) line(std::string_view(open_));
    open_.clear();
  }

 private:
  struct found_mark {
    std::size_t begin;
    std::size_t end;
    std::uint32_t number;
  };
  /// The first whole mark at or after `from`.
  std::optional<found_mark> next_mark(std::string_view text, std::size_t from) const {
    const std::size_t at = mark_.empty() ? std::string_view::npos : text.find(mark_, from);
    const std::size_t end = at == std::string_view::npos ? at : text.find('\n', at);
    if (end == std::string_view::npos) return std::nullopt;
    std::uint32_t number = 0;
    std::from_chars(text.data() + at + mark_.size(), text.data() + end, number);
    return found_mark{at, end + 1, number};
  }
  template <class Line>
  void cut(std::string_view rest, Line&& line) {
    for (std::size_t end; (end = rest.find('\n')) != std::string_view::npos; rest.remove_prefix(end + 1)) line(rest.substr(0, end));
    while (rest.size() > limits::output_line_bytes) {
      const std::size_t part = limits::output_line_bytes - mark_.size() - 20;  // a mark may have come in half
      line(rest.substr(0, part));
      rest.remove_prefix(part);
    }
    open_ += rest;
  }

  std::string mark_;
  std::string open_;
};

}  // namespace rh::detail
