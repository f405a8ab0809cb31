// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/function/pretty_name.hpp>
#include <runhouse/rpc/result_receiver.hpp>
#include <runhouse/wire/message.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <typeinfo>
#include <utility>
#include <variant>

namespace rh::detail {

/// How a call ended.
struct call_outcome {
  wire::outcome_head head;
  wire::buffer body;
  std::shared_ptr<const wire::payload_file> file;  ///< of a value that is not in the body
  std::unique_ptr<result_receiver> received;       ///< which has the value, if it is neither there nor in the body
  stage reached = stage::not_started;
  std::string output;   ///< last lines that it printed, where it failed
  std::string because;  ///< "argument 2, the result of render, failed", where that is why it did not start

  /// The same once more. Precondition: it is no value.
  static call_outcome failure_of(const call_outcome& o) {
    call_outcome same;
    same.head = o.head;
    same.reached = o.reached;
    same.output = o.output;
    same.because = o.because;
    return same;
  }
};

/// Throws what a call ended with, as its caller gets it. `mangled` names the callable's type.
/// Precondition: the outcome is no value.
[[noreturn]] inline void throw_outcome(const call_outcome& outcome, const char* mangled, const std::string& host, std::uint64_t call_id);

// ---- implementation

inline void throw_outcome(const call_outcome& outcome, const char* mangled, const std::string& host, std::uint64_t call_id) {
  call_origin origin{pretty_name(mangled), host, call_id, outcome.reached};
  const std::string where =
      origin.function + " on " + origin.host + ": " + (outcome.because.empty() ? "" : outcome.because + ": ");
  std::string output = outcome.output.empty() ? "" : "\nits last output:\n" + outcome.output;
  if (output.ends_with('\n')) output.pop_back();
  if (outcome.head.kind == wire::outcome_kind::error) {
    const auto code = static_cast<errc>(outcome.head.code);
    const std::string reached = outcome.reached == stage::may_have_run ? " while it ran this call" : "";
    throw error(code, where + outcome.head.what + reached + output, std::move(origin));
  }
  const auto kind = static_cast<wire::exception_kind>(outcome.head.code);
  const std::string message = where + "threw " + outcome.head.type_name +
                              (outcome.head.what.empty() ? "" : ": " + outcome.head.what) + output;
  remote_details details(outcome.head.type_name, outcome.head.what, outcome.output, std::move(origin), outcome.because);
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
