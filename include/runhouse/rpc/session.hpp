// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/function/function_table.hpp>
#include <runhouse/rpc/argument_columns.hpp>
#include <runhouse/rpc/call_argument.hpp>
#include <runhouse/rpc/call_options.hpp>
#include <runhouse/rpc/node_request.hpp>
#include <runhouse/rpc/streaming.hpp>
#include <runhouse/rpc/pending.hpp>
#include <runhouse/rpc/store_account.hpp>
#include <runhouse/rpc/usage.hpp>
#include <runhouse/rpc/value_holder.hpp>
#include <runhouse/wire/payload.hpp>
#include <runhouse/wire/session_question.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace rh::detail {

/// Where calls are sent: the caller's end of its dealings with a node.
class session {
 public:
  /// Makes a call and starts it. Any thread.
  /// Errors: errc::unknown_function if this program's workers could not find the function; errc::ref_elsewhere if an
  /// argument is a value of another session.
  virtual counted<pending> call(const function_entry& function, call_arguments arguments, const call_options& options) = 0;
  /// The same for a call of a generator: what it gives, one by one.
  virtual counted<streaming> generate(const function_entry& function, call_arguments arguments, const call_options& options) = 0;
  /// The same for many calls, as one that ends when all have.
  virtual counted<streaming> map(const function_entry& function, argument_columns arguments, const call_options& options, map_results how) = 0;
  /// Makes a call whose result stays. Errors: as above.
  virtual std::shared_ptr<const value_holder> keep(const function_entry& function, call_arguments arguments,
                                                     const call_options& options) = 0;
  /// Takes a value there. Errors: errc::store_full.
  virtual std::shared_ptr<const value_holder> put(wire::shared_payload value) = 0;
  /// Asks for such a value: ends when it is there. To cancel it leaves the value as it is. `receiver` as in call_options.
  /// Any thread.
  virtual counted<pending> fetch(std::shared_ptr<const value_holder> value, receiver_maker receiver) = 0;
  /// Asks it something about the values and calls that it has. Any thread.
  virtual counted<pending> ask(node_request request) = 0;
  /// A value that has a name there, or will be an error if there is none.
  virtual std::shared_ptr<const value_holder> find(wire::session_question question) = 0;
  /// Nobody here refers to the value any more. Any thread.
  virtual void dropped(pending& value, bool is_detached) noexcept {
    if (!is_detached && !value.has_ended()) value.cancel();
  }
  /// What errors and labels call it: "local", or the machine's name.
  virtual const std::string& host() const noexcept = 0;
  /// What this program has there.
  usage_counts& counts() noexcept { return counts_; }
  usage usage_now() const noexcept {
    usage now = counts_.now();
    now.value_bytes = store_->used_bytes();
    return now;
  }
  /// Room for its values.
  store_account& store() noexcept { return *store_; }
  void free_store(std::uint64_t bytes) noexcept {
    if (bytes != 0 && store_->give_back(bytes)) room_came();
  }
  /// True if its bytes go over a network: then values need not be where other processes of this machine see them.
  virtual bool is_far() const noexcept { return false; }
  /// By what its workers are reached, and why so.
  virtual std::string reached_by() const { return "workers of this process"; }
  /// How many calls may run there at the same time.
  virtual unsigned workers() const noexcept = 0;

 protected:
  /// `store` may be shared with other sessions of the same node.
  explicit session(std::shared_ptr<store_account> store) noexcept : store_(std::move(store)) {}
  ~session() = default;
  /// Somebody waited for room in the store. Any thread.
  virtual void room_came() noexcept = 0;

 private:
  usage_counts counts_;
  const std::shared_ptr<store_account> store_;
};

/// What an errc::store_full says after what did not fit.
inline std::string store_is_full(session& s) {
  return "the values kept on " + s.host() + " take " + std::to_string(s.store().used_bytes()) + " of " +
         std::to_string(s.store().limit_bytes()) + " bytes; let go of refs, or raise RUNHOUSE_STORE_BYTES";
}

inline value_holder::~value_holder() {
  session_->dropped(*value_, detached_.load(std::memory_order_relaxed));
  counts_.values.lower();
}

}  // namespace rh::detail
