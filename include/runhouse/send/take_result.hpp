// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/function/pretty_name.hpp>
#include <runhouse/rpc/call_state.hpp>
#include <runhouse/wire/archive.hpp>

#include <functional>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <variant>
#include <vector>

namespace rh::detail {

/// Throws what the call ended with. Precondition: its outcome is no value.
[[noreturn]] inline void throw_outcome(call_state& call);

/// The result of a call that has ended, or throws its error.
template <class R>
R take_result(call_state& call) {
  call_outcome& outcome = call.outcome();
  if (outcome.head.kind != wire::outcome_kind::value) throw_outcome(call);
  if constexpr (!std::is_void_v<R>) {
    std::vector<std::span<const std::byte>> segments;
    wire::payload_view value;
    wire::view_payloads({&outcome.head.result, 1}, outcome.body.bytes(), segments, {&value, 1});
    return wire::decode<R>(value);
  }
}

// ---- implementation

inline remote_details details_of(call_outcome& outcome, call_origin origin) {
  return remote_details(std::move(outcome.head.type_name), std::move(outcome.head.what), std::move(outcome.output), std::move(origin));
}

inline void throw_outcome(call_state& call) {
  call_outcome& outcome = call.outcome();
  call_origin origin{pretty_name(call.function_name), call.where().host(), call.id, outcome.reached};
  const std::string where = origin.function + " on " + origin.host + ": ";
  const std::string output = outcome.output.empty() ? "" : "\nits last output:\n" + outcome.output;
  if (outcome.head.kind == wire::outcome_kind::error) {
    const auto code = static_cast<errc>(outcome.head.code);
    const std::string reached = outcome.reached == stage::may_have_run ? " while it ran this call" : "";
    throw error(code, where + outcome.head.what + reached + output, std::move(origin));
  }
  const auto kind = static_cast<wire::exception_kind>(outcome.head.code);
  const std::string message = where + "threw " + outcome.head.type_name +
                              (outcome.head.what.empty() ? "" : ": " + outcome.head.what) + output;
  remote_details details = details_of(outcome, std::move(origin));
  switch (kind) {
    using wire::exception_kind;
    case exception_kind::std_exception: throw remote<std::exception>(std::move(details));
    case exception_kind::logic_error: throw remote<std::logic_error>(std::move(details));
    case exception_kind::invalid_argument: throw remote<std::invalid_argument>(std::move(details));
    case exception_kind::domain_error: throw remote<std::domain_error>(std::move(details));
    case exception_kind::length_error: throw remote<std::length_error>(std::move(details));
    case exception_kind::out_of_range: throw remote<std::out_of_range>(std::move(details));
    case exception_kind::runtime_error: throw remote<std::runtime_error>(std::move(details));
    case exception_kind::range_error: throw remote<std::range_error>(std::move(details));
    case exception_kind::overflow_error: throw remote<std::overflow_error>(std::move(details));
    case exception_kind::underflow_error: throw remote<std::underflow_error>(std::move(details));
    case exception_kind::bad_alloc: throw remote<std::bad_alloc>(std::move(details));
    case exception_kind::bad_cast: throw remote<std::bad_cast>(std::move(details));
    case exception_kind::bad_typeid: throw remote<std::bad_typeid>(std::move(details));
    case exception_kind::bad_optional_access: throw remote<std::bad_optional_access>(std::move(details));
    case exception_kind::bad_variant_access: throw remote<std::bad_variant_access>(std::move(details));
    case exception_kind::bad_function_call: throw remote<std::bad_function_call>(std::move(details));
    case exception_kind::other: break;
  }
  throw remote_error(message, std::move(details));
}

}  // namespace rh::detail
