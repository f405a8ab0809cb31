// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/function/function_table.hpp>
#include <runhouse/rpc/pending.hpp>
#include <runhouse/wire/payload.hpp>

#include <string>
#include <vector>

namespace rh::detail {

/// Encoded arguments of one call: the callable's state, if it has any, then the parameters in order.
using call_arguments = std::vector<wire::shared_payload>;

/// Where calls are sent: the caller's end of its dealings with a node.
class session {
 public:
  /// Makes a call and starts it. Any thread.
  /// Errors: errc::unknown_function if this program's workers could not find the function.
  virtual counted<pending> call(const function_entry& function, call_arguments arguments) = 0;
  /// The same for many calls, as one that ends when all have.
  virtual counted<pending> call_each(const function_entry& function, std::vector<call_arguments> rows) = 0;
  /// What errors and labels call it: "local", or the machine's name.
  virtual const std::string& host() const noexcept = 0;
  /// How many calls may run there at the same time.
  virtual unsigned workers() const noexcept = 0;

 protected:
  ~session() = default;
};

}  // namespace rh::detail
