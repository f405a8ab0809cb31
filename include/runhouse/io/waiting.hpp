// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/limits.hpp>

#include <algorithm>
#include <chrono>
#include <sched.h>

namespace rh::io {

/// Whether, and for how long, a thread that waits for an answer may spin for it: a spin that succeeds saves two context
/// switches (some 50 us), one that fails costs what it took of a core.
///
/// While answers come within limits::spin, each wait spins for that long. After one that did not, the next may spin
/// for limits::slow_spin: the peer may have blocked too, and a wake-up takes longer than most answers. Where that does
/// not bring the fast answers back soon, the thread blocks, and tries again after a few waits, then more and more.
class waiting_policy {
 public:
  using clock = std::chrono::steady_clock;
  waiting_policy() = default;
  /// For answers that come as fast as that at their best.
  explicit waiting_policy(clock::duration fast) noexcept : fast_(fast) {}

  /// For how long this wait may spin; zero: block.
  clock::duration next_spin() noexcept {
    if (credit_ <= 0) {
      if (++blocked_ < trial_interval_) return clock::duration::zero();
      blocked_ = 0;
      trial_interval_ = std::min(2 * trial_interval_, longest_trial_interval);
      credit_ = trial_credit;
    }
    return was_fast_ ? fast_ : std::max<clock::duration>(fast_, limits::slow_spin);
  }
  /// An answer came after so long.
  void spin_succeeded(clock::duration took) noexcept {
    was_fast_ = took <= fast_;
    if (!was_fast_) {
      --credit_;
    } else if (credit_ < most_credit) {
      ++credit_;
    } else {
      trial_interval_ = first_trial_interval;
    }
  }
  /// The spin came to its end with nothing.
  void spin_failed() noexcept {
    was_fast_ = false;
    credit_ -= cost_of_failure;
  }

 private:
  static constexpr int most_credit = 8;
  static constexpr int trial_credit = 4;
  static constexpr int cost_of_failure = 4;
  static constexpr int first_trial_interval = 4;
  static constexpr int longest_trial_interval = 64;
  clock::duration fast_ = limits::spin;
  int credit_ = most_credit;
  int blocked_ = 0;
  int trial_interval_ = first_trial_interval;
  bool was_fast_ = true;
};

/// Spins on `ready` as the policy allows; true if it came to be.
template <class Ready>
bool spin_until(waiting_policy& policy, Ready&& ready) {
  const auto limit = policy.next_spin();
  if (limit == waiting_policy::clock::duration::zero()) return false;
  const auto begin = waiting_policy::clock::now();
  waiting_policy::clock::duration took{};
  do {
    if (ready()) {
      policy.spin_succeeded(took);
      return true;
    }
    ::sched_yield();  // to whoever may have the answer: a node, its program and a worker can be more than the cores
    took = waiting_policy::clock::now() - begin;
  } while (took < limit);
  policy.spin_failed();
  return false;
}

}  // namespace rh::io
