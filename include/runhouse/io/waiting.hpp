// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/limits.hpp>

#include <chrono>

namespace rh::io {

/// Whether a thread that waits for an answer may spin for it: a spin that succeeds saves two context switches (some
/// 50 us), one that fails costs limits::spin of a core.
///
/// A thread spins as long as its spins succeed. After one that failed it blocks, and tries another spin at every
/// eighth wait: what a blocked wait would have gained cannot be known from its length, which the wake-up dominates.
class waiting_policy {
 public:
  using clock = std::chrono::steady_clock;

  /// For how long this wait may spin; zero: block.
  clock::duration next_spin() noexcept {
    if (blocked_ == 0) return limits::spin;
    if (++blocked_ > probe_every) {
      blocked_ = 0;
      return limits::spin;
    }
    return clock::duration::zero();
  }
  /// A spin came to its end with nothing.
  void spin_failed() noexcept { blocked_ = 1; }

 private:
  static constexpr unsigned probe_every = 8;
  unsigned blocked_ = 0;  // waits since the last spin, from 1; 0: spinning
};

/// Spins on `ready` as the policy allows; true if it came to be.
template <class Ready>
bool spin_until(waiting_policy& policy, Ready&& ready) {
  const auto limit = policy.next_spin();
  if (limit == waiting_policy::clock::duration::zero()) return false;
  const auto until = waiting_policy::clock::now() + limit;
  do {
    if (ready()) return true;
  } while (waiting_policy::clock::now() < until);
  policy.spin_failed();
  return false;
}

}  // namespace rh::io
