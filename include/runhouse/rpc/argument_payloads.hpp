// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/rpc/call_state.hpp>
#include <runhouse/wire/message.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace rh::detail {

/// The payloads of a call's arguments, one after the other, where they are. Reused from call to call.
/// Lifetime: the arguments' memory. On the strand.
class argument_payloads {
 public:
  /// Also sets the shapes in the call's head. Precondition: a value among them that has not ended without an error is
  /// of a call that was sent to the same worker.
  void view(call_state& call) {
    payloads_.clear();
    files_.clear();
    std::size_t count = 0;
    for (const call_argument& a : call.arguments) count += a.bytes() ? 1 : a.values().size();
    if (segments_.size() < count) segments_.resize(count);
    if (call.takes_values()) call.head.parameters.clear();
    for (const call_argument& a : call.arguments) {
      if (a.bytes()) {
        if (a.bytes()->file) {
          add(a.bytes()->file, call);
        } else {
          add(wire::view(*a.bytes(), segments_[payloads_.size()]), call);
        }
        continue;
      }
      if (a.is_list()) call.head.parameters.push_back({a.values().size(), {}, wire::payload_kind::list});
      for (const auto& held : a.values()) {
        pending& value = *held->value();
        if (!value.has_ended()) {
          call.head.parameters.push_back({value.maker()->sent.number, {}, wire::payload_kind::result_of});
        } else if (auto file = value.in_file()) {
          add(std::move(file), call);
        } else {
          add(value.result(0, segments_[payloads_.size()]), call);
        }
      }
    }
  }
  /// Those that are in files, in their order.
  const std::vector<std::shared_ptr<const wire::payload_file>>& files() const noexcept { return files_; }
  /// Those that are not.
  std::span<const wire::payload_view> all() const noexcept { return payloads_; }
  std::uint64_t size_bytes() const noexcept {
    std::uint64_t sum = 0;
    for (const wire::payload_view& p : payloads_) {
      sum += p.stream.size();
      for (const auto& segment : p.segments) sum += segment.size();
    }
    return sum;
  }

 private:
  void add(std::shared_ptr<const wire::payload_file> file, call_state& call) {
    if (call.takes_values()) call.head.parameters.push_back(wire::shape_of(*file));
    files_.push_back(std::move(file));
  }
  void add(const wire::payload_view& payload, call_state& call) {
    payloads_.push_back(payload);
    if (call.takes_values()) call.head.parameters.push_back(wire::shape_of(payload));
  }

  std::vector<wire::payload_view> payloads_;
  std::vector<std::shared_ptr<const wire::payload_file>> files_;
  std::vector<std::vector<std::span<const std::byte>>> segments_;
};

}  // namespace rh::detail
