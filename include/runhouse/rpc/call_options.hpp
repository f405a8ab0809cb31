// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/needs/needs.hpp>

#include <memory>
#include <string>

namespace rh::detail {

/// How calls are made.
struct call_options {
  unsigned retries = 0;    ///< after the death of a worker
  std::string queue;       ///< which one, if it is queued
  bool is_queued = false;  ///< one at a time, after those before it
  std::shared_ptr<const rh::needs> needs;  ///< null: nothing special

  void set(const rh::needs& n) { needs = n == rh::needs() ? nullptr : std::make_shared<const rh::needs>(n); }
};

}  // namespace rh::detail
