// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/strand_work.hpp>
#include <runhouse/rpc/pending.hpp>

#include <string>

namespace rh::detail {

class call_state;
using call_ptr = counted<call_state>;

/// Where calls are sent: the caller's end of its dealings with a node.
class session {
 public:
  /// On the strand: takes over the call.
  virtual void begin(call_ptr call) noexcept = 0;
  /// On the strand: its caller no longer wants it. It may have ended already.
  virtual void cancel(call_state& call) noexcept = 0;
  /// Any thread: have `work` run on the strand.
  virtual void defer(strand_work& work) noexcept = 0;
  /// What errors and labels call it: "local", or the machine's name.
  virtual const std::string& host() const noexcept = 0;
  /// How many calls may run there at the same time.
  virtual unsigned workers() const noexcept = 0;

 protected:
  ~session() = default;
};

}  // namespace rh::detail
