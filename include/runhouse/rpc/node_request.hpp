// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/rpc/value_holder.hpp>
#include <runhouse/wire/session_question.hpp>

#include <memory>

namespace rh::detail {

/// Something else than a call that is asked of a node, and has an outcome as a call has.
struct node_request {
  enum class kind {
    put,      ///< to take its argument as a value
    fetch,    ///< for the value `of`
    question  ///< which is about the value `of`, where there is one
  };
  kind what = kind::question;
  std::shared_ptr<const value_holder> of;
  wire::session_question question;
};

}  // namespace rh::detail
