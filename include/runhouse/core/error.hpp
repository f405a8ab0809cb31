// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/errc.hpp>

#include <cstdint>
#include <exception>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

namespace rh {

/// How far a call had come when it failed: whether its function may have had effects.
enum class stage : std::uint8_t {
  not_started,   ///< the function did not run
  may_have_run,  ///< it began; how far it came is unknown
  ran,           ///< it ran to its end
};

/// The stage in words: "not started", "may have run", "ran".
inline const char* name_of(stage s) noexcept;

/// Where a call failed. Empty where it does not apply.
struct call_origin {
  std::string function;              ///< the function's name as a person writes it
  std::string host;                  ///< "local", or the machine's name
  std::uint64_t call_id = 0;         ///< as in logs; 0: no call
  stage reached = stage::not_started;
};

/// Any failure that this library reports. what() is the whole message: what was tried, where, what happened
/// and what to do next; code() is one of rh::errc.
class error : public std::system_error {
 public:
  error(errc code, std::string message, call_origin origin = {})
      : std::system_error(make_error_code(code)), message_(std::move(message)), origin_(std::move(origin)) {}

  const char* what() const noexcept override { return message_.c_str(); }
  /// The errc itself, for a switch.
  errc kind() const noexcept { return static_cast<errc>(code().value()); }
  const call_origin& origin() const noexcept { return origin_; }

 private:
  std::string message_;
  call_origin origin_;
};

/// What is known of an exception that a function threw on the far side.
class remote_details {
 public:
  remote_details(std::string type_name, std::string remote_what, std::string output, call_origin origin, std::string because = {})
      : type_name_(std::move(type_name)),
        remote_what_(std::move(remote_what)),
        output_(std::move(output)),
        origin_(std::move(origin)),
        because_(std::move(because)) {}
  remote_details(const remote_details&) = default;
  remote_details(remote_details&&) = default;
  remote_details& operator=(const remote_details&) = default;
  remote_details& operator=(remote_details&&) = default;
  virtual ~remote_details() = default;

  /// The thrown type as its program names it: "std::invalid_argument", "physics::diverged".
  const std::string& type_name() const noexcept { return type_name_; }
  /// Its own what().
  const std::string& remote_what() const noexcept { return remote_what_; }
  /// The last lines that the call printed; empty if it printed nothing.
  const std::string& output() const noexcept { return output_; }
  /// The call that failed: it threw, or it was not started because of another that did.
  const call_origin& where() const noexcept { return origin_; }
  /// Why it was not started: "argument 2, the result of render, failed". Empty if the call itself threw.
  const std::string& because() const noexcept { return because_; }

 private:
  std::string type_name_;
  std::string remote_what_;
  std::string output_;
  call_origin origin_;
  std::string because_;
};

/// A standard exception that a function threw on the far side: it is an E, so `catch (const E&)` works as it
/// would for a local call, and it is the details. what() is the remote what() itself.
template <class E>
class remote : public E, public remote_details {
 public:
  explicit remote(remote_details details)
    requires std::is_constructible_v<E, const std::string&>
      : E(details.remote_what()), remote_details(std::move(details)) {}
  explicit remote(remote_details details)
    requires(!std::is_constructible_v<E, const std::string&>)
      : E(), remote_details(std::move(details)) {}

  const char* what() const noexcept override { return remote_what().c_str(); }
};

/// Any other exception that a function threw on the far side.
class remote_error : public error, public remote_details {
 public:
  remote_error(std::string message, remote_details details)
      : error(errc::remote_exception, std::move(message), details.where()), remote_details(std::move(details)) {}
};

/// Throws the rh::error; out of line, so that callers stay small.
[[noreturn, gnu::cold]] inline void fail(errc code, std::string message);
/// The same, of a call that had come so far.
[[noreturn, gnu::cold]] inline void fail(errc code, std::string message, stage reached);

// ---- implementation

inline const char* name_of(stage s) noexcept {
  switch (s) {
    case stage::not_started: return "not started";
    case stage::may_have_run: return "may have run";
    case stage::ran: return "ran";
  }
  return "unknown";
}

inline void fail(errc code, std::string message) {
  throw error(code, std::move(message));
}
inline void fail(errc code, std::string message, stage reached) {
  call_origin origin;
  origin.reached = reached;
  throw error(code, std::move(message), std::move(origin));
}

}  // namespace rh
