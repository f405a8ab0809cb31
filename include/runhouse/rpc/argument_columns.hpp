// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/rpc/call_argument.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace rh::detail {

/// One parameter's arguments for many calls. Small ones stand in one block of bytes, so that a million of them take
/// little more room than they must.
class argument_column {
 public:
  void reserve(std::size_t count) { places_.reserve(count); }
  void add(wire::payload argument) {
    if (!argument.segments.empty() || argument.file || argument.stream.size() > most_small_bytes) {
      return add_large(std::make_shared<const wire::payload>(std::move(argument)));
    }
    const auto size = static_cast<std::uint32_t>(argument.stream.size());
    places_.push_back(bytes_.size());
    const auto* head = reinterpret_cast<const std::byte*>(&size);
    bytes_.insert(bytes_.end(), head, head + sizeof size);
    bytes_.insert(bytes_.end(), argument.stream.begin(), argument.stream.end());
  }
  void add(std::shared_ptr<const value_holder> value) { add_large(std::move(value)); }
  void add(std::vector<std::shared_ptr<const value_holder>> list) { add_large(call_argument(std::move(list))); }

  std::size_t size() const noexcept { return places_.size(); }
  /// Argument `i`; once.
  call_argument take(std::size_t i) {
    if ((places_[i] & is_large) != 0) return std::move(large_[places_[i] & ~is_large]);
    std::uint32_t size = 0;
    const std::byte* at = bytes_.data() + places_[i];
    std::memcpy(&size, at, sizeof size);
    auto argument = std::make_shared<wire::payload>();
    argument->stream.assign(at + sizeof size, at + sizeof size + size);
    return call_argument(wire::shared_payload(std::move(argument)));
  }
  const std::vector<call_argument>& large() const noexcept { return large_; }

 private:
  static constexpr std::size_t most_small_bytes = 1024;
  static constexpr std::uint64_t is_large = std::uint64_t{1} << 63;
  void add_large(call_argument argument) {
    places_.push_back(is_large | large_.size());
    large_.push_back(std::move(argument));
  }

  std::vector<std::uint64_t> places_;
  std::vector<std::byte> bytes_;
  std::vector<call_argument> large_;
};

/// The arguments of many calls, by parameter, as a map has them: some are spread, the others go to every call.
class argument_columns {
 public:
  argument_columns() = default;
  /// The same arguments for so many calls.
  argument_columns(std::size_t calls, call_arguments arguments) : columns_(arguments.size()), broadcast_(std::move(arguments)), length_(calls) {}

  void broadcast(call_argument argument) {
    broadcast_.push_back(std::move(argument));
    columns_.emplace_back();
  }
  /// Errors: errc::length_mismatch, where it has not as many as those before.
  void spread(argument_column column) {
    if (length_ && *length_ != column.size()) {
      fail(errc::length_mismatch, "map: the ranges to be zipped have " + std::to_string(*length_) + " and " +
                                      std::to_string(column.size()) + " elements; nothing was sent");
    }
    length_ = column.size();
    columns_.push_back(std::move(column));
  }

  /// How many calls.
  std::size_t size() const noexcept { return length_.value_or(0); }
  /// The arguments of call `i`; once.
  call_arguments take(std::size_t i) {
    call_arguments row;
    row.reserve(columns_.size());
    std::size_t next = 0;
    for (auto& column : columns_) row.push_back(column ? column->take(i) : broadcast_[next++]);
    return row;
  }
  /// Those that go to every call, to be changed.
  template <class F>
  void for_each_broadcast(F&& change) {
    for (call_argument& a : broadcast_) change(a);
  }
  template <class F>
  void for_each_value(F&& visit) const {
    const auto all = [&](const std::vector<call_argument>& arguments) {
      for (const call_argument& a : arguments) {
        for (const auto& held : a.values()) visit(*held);
      }
    };
    all(broadcast_);
    for (const auto& column : columns_) {
      if (column) all(column->large());
    }
  }

 private:
  std::vector<std::optional<argument_column>> columns_;  // empty: the next of those that go to every call
  std::vector<call_argument> broadcast_;
  std::optional<std::size_t> length_;
};

}  // namespace rh::detail
