// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/limits.hpp>

#include <chrono>

namespace rh::io {

/// Whether a thread that waits for an answer may spin for it: a spin that succeeds saves two context switches (some
/// 50 us), one that fails costs limits::spin of a core.
///
/// A thread spins while most of its spins succeed: one that fails among many is an accident, for instance of another
/// process on its core. After two that fail in a row it blocks, and every fourth wait tries another: what a blocked
/// wait would have gained cannot be known from its length, which the wake-up dominates.
class waiting_policy {
 public:
  using clock = std::chrono::steady_clock;

  /// For how long this wait may spin; zero: block.
  clock::duration next_spin() noexcept {
    if (credit_ > 0) return limits::spin;
    ++credit_;
    return clock::duration::zero();
  }
  void spin_succeeded() noexcept {
    if (credit_ < most_credit) ++credit_;
  }
  /// A spin came to its end with nothing.
  void spin_failed() noexcept { credit_ -= cost_of_failure; }

 private:
  static constexpr int most_credit = 8;
  static constexpr int cost_of_failure = 4;
  int credit_ = most_credit;
};

/// Spins on `ready` as the policy allows; true if it came to be.
template <class Ready>
bool spin_until(waiting_policy& policy, Ready&& ready) {
  const auto limit = policy.next_spin();
  if (limit == waiting_policy::clock::duration::zero()) return false;
  const auto until = waiting_policy::clock::now() + limit;
  do {
    if (ready()) {
      policy.spin_succeeded();
      return true;
    }
  } while (waiting_policy::clock::now() < until);
  policy.spin_failed();
  return false;
}

}  // namespace rh::io
