// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/errc.hpp>
#include <runhouse/os/memory_file.hpp>
#include <runhouse/os/socket.hpp>
#include <runhouse/rpc/throw_outcome.hpp>
#include <runhouse/wire/message_stream.hpp>
#include <runhouse/wire/session_message.hpp>

#include <memory>
#include <utility>

namespace rh::detail {

/// How a call ended that is no value, as it travels from a node to the program.
inline wire::session_outcome outcome_on_the_way(const call_outcome& o) {
  wire::session_outcome out;
  out.how = o.head.kind == wire::outcome_kind::exception ? wire::session_outcome::kind::exception : wire::session_outcome::kind::error;
  out.reached = o.reached;
  out.code = o.head.code;
  out.ran = o.head.ran;
  out.type_name = o.head.type_name;
  out.what = o.head.what;
  out.output = o.output;
  out.because = o.because;
  return out;
}

/// The file of a payload that came, taken from the front of `files`; null if there is none, or not such a one.
inline std::shared_ptr<const wire::payload_file> take_file(const wire::payload_shape& shape, os::received_fds& files) {
  if (files.empty()) return nullptr;
  wire::payload_file filed;
  filed.file = os::memory_file::adopt(std::move(files.front()));
  files.pop_front();
  filed.stream_bytes = shape.stream_bytes;
  filed.segment_bytes = shape.segment_bytes;
  if (!filed.file || filed.file->size_bytes() < filed.size_bytes()) return nullptr;
  return std::make_shared<const wire::payload_file>(std::move(filed));
}

/// The other way. False where a file that it names has not come.
inline bool outcome_that_came(wire::session_outcome&& in, incoming_result::value_type body, os::received_fds& files, call_outcome& out) {
  using kind = wire::session_outcome::kind;
  out.reached = in.reached;
  out.head.code = in.code;
  out.head.ran = in.ran;
  switch (in.how) {
    case kind::value: out.head.kind = wire::outcome_kind::value; break;
    case kind::item: out.head.kind = wire::outcome_kind::item; break;
    case kind::stays: out.head.kind = wire::outcome_kind::value; return true;
    case kind::exception: out.head.kind = wire::outcome_kind::exception; break;
    case kind::error: out.head.kind = wire::outcome_kind::error; break;
  }
  out.head.result = std::move(in.result);
  out.head.type_name = std::move(in.type_name);
  out.head.what = std::move(in.what);
  out.output = std::move(in.output);
  out.because = std::move(in.because);
  out.body = std::move(body.body);
  out.received = std::move(body.received);
  if (!wire::has_payload(out.head.kind) || out.head.result.kind != wire::payload_kind::in_file) return true;
  out.file = take_file(out.head.result, files);
  return out.file != nullptr;
}

}  // namespace rh::detail
