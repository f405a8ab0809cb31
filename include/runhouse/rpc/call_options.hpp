// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/needs/needs.hpp>
#include <runhouse/rpc/result_receiver.hpp>

#include <memory>
#include <string>

namespace rh::detail {

/// How calls are made.
struct call_options {
  explicit call_options(receiver_maker r = nullptr) noexcept : receiver(r) {}
  unsigned retries = 0;    ///< after the death of a worker
  std::string queue;       ///< which one, if it is queued
  bool is_queued = false;  ///< one at a time, after those before it
  std::shared_ptr<const rh::needs> needs;  ///< null: nothing special
  receiver_maker receiver;                 ///< for a large result; null: it is decoded when it has come

  void set(const rh::needs& n) { needs = n == rh::needs() ? nullptr : std::make_shared<const rh::needs>(n); }
};

}  // namespace rh::detail
