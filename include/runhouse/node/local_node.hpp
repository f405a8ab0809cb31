// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/runtime.hpp>
#include <runhouse/node/local_engine.hpp>
#include <runhouse/node/name_table.hpp>
#include <runhouse/rpc/call_state.hpp>
#include <runhouse/rpc/kept_name.hpp>
#include <runhouse/wire/archive.hpp>

#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <set>
#include <string>
#include <utility>

namespace rh::detail {

/// What runs calls and keeps values on this machine, for all sessions of one node. On the strand.
class local_node {
 public:
  local_node(runtime& r, local_resources has, output_sink sink, std::chrono::steady_clock::duration idle)
      : engine(r, std::move(has), std::move(sink), idle) {}

  /// Ends the call, which is a question, with its answer. `program` is who asks. Errors: none; they are outcomes.
  void answer(call_state& call, const wire::hash256& program) noexcept;

  local_engine engine;
  name_table names;

  /// A name of a function that lives as long as the node; null if it would be too many of them.
  const char* intern(std::string name) {
    if (function_name_bytes_ + name.size() > limits::function_name_bytes) return nullptr;
    const auto [at, is_new] = function_names_.insert(std::move(name));
    if (is_new) function_name_bytes_ += at->size();
    return at->c_str();
  }

 private:
  /// One who waits for the value that has a name, to give its bytes to who asked.
  struct found_value final : end_waiter {
    inline void ended() noexcept override;
    call_ptr call;
    std::shared_ptr<const value_holder> value;
  };
  void answer_or_throw(call_state& call, const wire::hash256& program);
  static void check(const wire::session_question& q, std::size_t numbers, std::size_t texts);
  template <class T>
  static void finish(call_state& call, const T& value);
  static void finish(call_state& call);

  std::set<std::string> function_names_;
  std::size_t function_name_bytes_ = 0;
};

// ---- implementation

inline void local_node::answer(call_state& call, const wire::hash256& program) noexcept {
  const call_ptr hold(&call);
  try {
    answer_or_throw(call, program);
  } catch (const error& e) {
    refuse(call, e.kind(), e.what());
  } catch (const std::exception& e) {
    refuse(call, errc::store_full, e.what());
  }
}

inline void local_node::check(const wire::session_question& q, std::size_t numbers, std::size_t texts) {
  if (q.numbers.size() < numbers || q.texts.size() < texts) fail(errc::protocol_error, "the question is not whole");
}

inline void local_node::answer_or_throw(call_state& call, const wire::hash256& program) {
  const wire::session_question& q = call.request->question;
  const auto now = name_table::clock::now();
  switch (static_cast<wire::session_topic>(q.what)) {
    case wire::session_topic::keep_name:
      check(q, 5, 2);
      names.keep(q.texts[0], call.request->of, type_in(q, 1), program, q.numbers[0] != 0, now);
      return finish(call);
    case wire::session_topic::find_name: {
      check(q, 4, 2);
      auto found = std::make_unique<found_value>();
      found->value = names.find(q.texts[0], type_in(q, 0), program, now);
      found->call = call_ptr(&call);
      found_value& waiter = *found.release();
      if (!waiter.value->value()->wait(waiter)) waiter.ended();
      return;
    }
    case wire::session_topic::forget_name: {
      check(q, 0, 1);
      return finish(call, names.forget(q.texts[0]));
    }
    case wire::session_topic::list_names: return finish(call, names.list(now));
    case wire::session_topic::queue_place:
      check(q, 1, 0);
      return finish(call, engine.queue_place(q.numbers[0]));
  }
  fail(errc::protocol_error, "this node does not know the question " + std::to_string(q.what) + "; it is of an older version");
}

inline void local_node::found_value::ended() noexcept {
  const std::unique_ptr<found_value> self(this);
  pending& from = *value->value();
  call_outcome outcome;
  if (const call_outcome* failed = from.failure()) {
    outcome = call_outcome::failure_of(*failed);
  } else if (auto file = from.in_file()) {
    outcome.head.result = wire::shape_of(*file);
    outcome.file = std::move(file);
  } else {
    std::vector<std::span<const std::byte>> segments;
    const wire::payload_view bytes = from.result(0, segments);
    outcome.head.result = wire::shape_of(bytes);
    outcome.body = wire::body_of(bytes);
  }
  call->finish(std::move(outcome));
}

template <class T>
void local_node::finish(call_state& call, const T& value) {
  const wire::payload encoded = wire::encode(value);
  std::vector<std::span<const std::byte>> segments;
  const wire::payload_view bytes = wire::view(encoded, segments);
  call_outcome outcome;
  outcome.head.result = wire::shape_of(bytes);
  outcome.body = wire::body_of(bytes);
  outcome.reached = stage::ran;
  call.finish(std::move(outcome));
}

inline void local_node::finish(call_state& call) {
  call_outcome outcome;
  outcome.reached = stage::ran;
  call.finish(std::move(outcome));
}

}  // namespace rh::detail
