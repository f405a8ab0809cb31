// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/config.hpp>

#include <atomic>
#include <utility>

namespace rh::detail {

/// Something to be done by whoever drives the I/O; lives in what it is about.
class strand_work {
 public:
  virtual void run() noexcept = 0;

 protected:
  ~strand_work() = default;

 private:
  friend class strand_inbox;
  strand_work* next_ = nullptr;
};

/// Work from any thread to the one that drives, in the order of each thread's posts.
class strand_inbox {
 public:
  /// True if it was empty before.
  bool push(strand_work& w) noexcept {
    strand_work* head = newest_.load(std::memory_order_relaxed);
    do {
      w.next_ = head;
    } while (!newest_.compare_exchange_weak(head, &w, std::memory_order_release, std::memory_order_relaxed));
    return head == nullptr;
  }
  bool empty() const noexcept { return newest_.load(std::memory_order_acquire) == nullptr; }

  /// Runs what is there; each may be destroyed, or pushed again, by its own run().
  void run_all() noexcept {
    strand_work* newest = newest_.exchange(nullptr, std::memory_order_acquire);
    strand_work* oldest = nullptr;
    while (newest != nullptr) {
      strand_work* older = std::exchange(newest->next_, oldest);
      oldest = std::exchange(newest, older);
    }
    while (oldest != nullptr) std::exchange(oldest, oldest->next_)->run();
  }

 private:
  std::atomic<strand_work*> newest_{nullptr};
};

}  // namespace rh::detail
