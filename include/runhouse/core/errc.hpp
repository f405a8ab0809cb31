// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/config.hpp>

#include <string>
#include <system_error>

namespace rh {

/// Everything that can go wrong, as one enum. The text of each is its enumerator with spaces;
/// what happened in a particular case is said by the message of the rh::error that carries it.
enum class errc {
  // the caller's side
  cancelled = 1,        ///< the awaiting task was cancelled, or the call was
  timed_out,            ///< with_timeout ran out
  already_taken,        ///< a call's result was awaited twice
  would_deadlock,       ///< a blocking get() inside a task, which would stop the thread that must answer it
  closed,               ///< a send on a closed channel
  length_mismatch,      ///< ranges of unequal length spread by one map
  not_served,           ///< main() calls neither rh::main nor rh::serve_if_asked
  nested,               ///< a send used inside a worker
  unknown_cluster,      ///< no cluster of that name
  // the far side
  unknown_function,     ///< the worker's program has no such function
  signature_mismatch,   ///< it has, but with other parameter or result types
  program_changed,      ///< the worker's program is not the one that calls
  worker_died,          ///< the process that ran the call ended
  worker_not_started,   ///< the process could not be started, or did not answer in time
  remote_exception,     ///< the function threw something that is no standard exception
  // the wire
  bad_payload,          ///< bytes that do not decode to the value they should
  payload_too_large,    ///< a value over limits::body_bytes
  truncated,            ///< a frame's beginning: read more
  frame_too_large,      ///< a frame over the size agreed in hello
  protocol_error,       ///< a frame that the protocol does not allow there
  node_incompatible,    ///< the peer speaks another major version of the protocol
  connection_lost,      ///< the peer went away
  // values that stay where they were made
  ref_elsewhere,        ///< an argument is a ref to a value on another cluster
  store_full,           ///< there is no room for one more value there
  pin_type,             ///< a key is pinned as a value of another type
  // machines
  impossible_needs,     ///< a send needs what the machine does not have
  run_folder,           ///< this user's folder for sockets, locks or logs cannot be used
  // nodes
  node_not_started,     ///< this machine's node could not be started, or did not answer in time
  node_lost,            ///< the node ended, or could not be reached for too long; what it had is gone
  name_taken,           ///< the node has another value of that name
  unknown_name,         ///< it has none
  type_changed,         ///< it has one, of another type
  // other machines
  host_unreachable,     ///< there is no way to the machine: its name, address or port, or it closes the connection
  host_key_refused,     ///< the machine's key is not known, or is not the one that is
  authentication_failed,  ///< the machine does not let this user in
  incompatible_host,    ///< this program cannot run there: another architecture, libraries that are missing or old
  shipping_failed,      ///< this program cannot be put there: no room, or a folder that cannot be used
  node_elsewhere,       ///< the name leads to another machine than before
};

/// What the caller can do about an error; compare a std::error_code with these.
enum class remedy {
  retry_later = 1,  ///< the same call may succeed later
  reconnect,        ///< connect again
  unsupported,      ///< the two programs or machines do not fit
  fix_the_call,     ///< the calling code is wrong
};

/// The category of errc; its name is "runhouse".
// Default visibility, here and wherever a program must have only one: so that its shared libraries share it.
[[gnu::visibility("default")]] inline const std::error_category& error_category() noexcept;
/// The category of remedy.
[[gnu::visibility("default")]] inline const std::error_category& remedy_category() noexcept;

inline std::error_code make_error_code(errc e) noexcept;
inline std::error_condition make_error_condition(remedy r) noexcept;

/// The enumerator's name: "worker_died".
inline const char* name_of(errc e) noexcept;

}  // namespace rh

template <>
struct std::is_error_code_enum<rh::errc> : std::true_type {};
template <>
struct std::is_error_condition_enum<rh::remedy> : std::true_type {};

// ---- implementation

namespace rh {

inline const char* name_of(errc e) noexcept {
  switch (e) {
    case errc::cancelled: return "cancelled";
    case errc::timed_out: return "timed_out";
    case errc::already_taken: return "already_taken";
    case errc::would_deadlock: return "would_deadlock";
    case errc::closed: return "closed";
    case errc::length_mismatch: return "length_mismatch";
    case errc::not_served: return "not_served";
    case errc::nested: return "nested";
    case errc::unknown_cluster: return "unknown_cluster";
    case errc::unknown_function: return "unknown_function";
    case errc::signature_mismatch: return "signature_mismatch";
    case errc::program_changed: return "program_changed";
    case errc::worker_died: return "worker_died";
    case errc::worker_not_started: return "worker_not_started";
    case errc::remote_exception: return "remote_exception";
    case errc::bad_payload: return "bad_payload";
    case errc::payload_too_large: return "payload_too_large";
    case errc::truncated: return "truncated";
    case errc::frame_too_large: return "frame_too_large";
    case errc::protocol_error: return "protocol_error";
    case errc::node_incompatible: return "node_incompatible";
    case errc::connection_lost: return "connection_lost";
    case errc::node_not_started: return "node_not_started";
    case errc::node_lost: return "node_lost";
    case errc::name_taken: return "name_taken";
    case errc::unknown_name: return "unknown_name";
    case errc::type_changed: return "type_changed";
    case errc::ref_elsewhere: return "ref_elsewhere";
    case errc::store_full: return "store_full";
    case errc::pin_type: return "pin_type";
    case errc::impossible_needs: return "impossible_needs";
    case errc::run_folder: return "run_folder";
    case errc::host_unreachable: return "host_unreachable";
    case errc::host_key_refused: return "host_key_refused";
    case errc::authentication_failed: return "authentication_failed";
    case errc::incompatible_host: return "incompatible_host";
    case errc::shipping_failed: return "shipping_failed";
    case errc::node_elsewhere: return "node_elsewhere";
  }
  return "unknown";
}

namespace detail {

inline remedy remedy_of(errc e) noexcept {
  switch (e) {
    case errc::timed_out:
    case errc::worker_died:
    case errc::worker_not_started:
    case errc::node_not_started:
    case errc::host_unreachable:
    case errc::store_full: return remedy::retry_later;
    case errc::node_elsewhere:
    case errc::connection_lost:
    case errc::node_lost: return remedy::reconnect;
    case errc::unknown_function:
    case errc::signature_mismatch:
    case errc::program_changed:
    case errc::type_changed:
    case errc::incompatible_host:
    case errc::node_incompatible: return remedy::unsupported;
    default: return remedy::fix_the_call;
  }
}

class errc_category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "runhouse"; }
  std::string message(int value) const override {
    std::string text = name_of(static_cast<errc>(value));
    for (char& c : text) {
      if (c == '_') c = ' ';
    }
    return text;
  }
};

class remedy_category_t final : public std::error_category {
 public:
  const char* name() const noexcept override { return "runhouse remedy"; }
  std::string message(int value) const override {
    switch (static_cast<remedy>(value)) {
      case remedy::retry_later: return "the same call may succeed later";
      case remedy::reconnect: return "connect again";
      case remedy::unsupported: return "the two programs or machines do not fit";
      case remedy::fix_the_call: return "the calling code is wrong";
    }
    return "unknown";
  }
  bool equivalent(const std::error_code& code, int condition) const noexcept override {
    return code.category() == rh::error_category() &&
           remedy_of(static_cast<errc>(code.value())) == static_cast<remedy>(condition);
  }
};

}  // namespace detail

inline const std::error_category& error_category() noexcept {
  static const detail::errc_category category;
  return category;
}

inline const std::error_category& remedy_category() noexcept {
  static const detail::remedy_category_t category;
  return category;
}

inline std::error_code make_error_code(errc e) noexcept {
  return {static_cast<int>(e), error_category()};
}

inline std::error_condition make_error_condition(remedy r) noexcept {
  return {static_cast<int>(r), remedy_category()};
}

}  // namespace rh
