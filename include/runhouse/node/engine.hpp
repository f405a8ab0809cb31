// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/rpc/call_state.hpp>

#include <concepts>

namespace rh::detail {

/// What a node has to run calls on.
struct engine_resources {
  unsigned cpus = 0;
  unsigned workers = 0;  ///< that may run at the same time
};

/// Who runs calls behind a node. All on the strand; none of these waits.
template <class E>
concept engine = requires(E& e, const E& const_e, call_ptr call, call_state& submitted) {
  /// Takes over the call, and will finish() it.
  { e.submit(call) } noexcept;
  /// Ends a submitted call as soon as it can.
  { e.cancel(submitted) } noexcept;
  { const_e.resources() } -> std::same_as<engine_resources>;
};

}  // namespace rh::detail
