// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/function/function_table.hpp>
#include <runhouse/rpc/call_argument.hpp>
#include <runhouse/rpc/pending.hpp>
#include <runhouse/rpc/usage.hpp>
#include <runhouse/rpc/value_holder.hpp>
#include <runhouse/wire/payload.hpp>

#include <memory>
#include <string>
#include <vector>

namespace rh::detail {

/// Where calls are sent: the caller's end of its dealings with a node.
class session {
 public:
  /// Makes a call and starts it. Any thread.
  /// Errors: errc::unknown_function if this program's workers could not find the function; errc::ref_elsewhere if an
  /// argument is a value of another session.
  virtual counted<pending> call(const function_entry& function, call_arguments arguments) = 0;
  /// The same for many calls, as one that ends when all have.
  virtual counted<pending> call_each(const function_entry& function, std::vector<call_arguments> rows) = 0;
  /// Makes a call whose result stays. Errors: as above.
  virtual std::shared_ptr<const value_holder> keep(const function_entry& function, call_arguments arguments) = 0;
  /// Takes a value there.
  virtual std::shared_ptr<const value_holder> put(wire::shared_payload value) = 0;
  /// Asks for such a value: ends when it is there. To cancel it leaves the value as it is. Any thread.
  virtual counted<pending> fetch(std::shared_ptr<const value_holder> value) = 0;
  /// What errors and labels call it: "local", or the machine's name.
  virtual const std::string& host() const noexcept = 0;
  /// What this program has there.
  usage_counts& counts() noexcept { return counts_; }
  /// How many calls may run there at the same time.
  virtual unsigned workers() const noexcept = 0;

 protected:
  ~session() = default;

 private:
  usage_counts counts_;
};

}  // namespace rh::detail
