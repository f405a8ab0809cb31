// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/driver.hpp>

#include <algorithm>
#include <atomic>
#include <coroutine>
#include <cstddef>
#include <limits>
#include <mutex>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

namespace rh {

/// A suspended coroutine that somebody will make ready; lives in its awaiter.
struct resumption {
  std::coroutine_handle<> coroutine;
  resumption* next = nullptr;
};

/// The coroutines of one root task that are ready to go on, and the trampoline that resumes them: an await never
/// resumes another coroutine from inside its own resume(), so neither a long loop nor a deep chain grows the stack,
/// on any compiler and at any optimisation.
///
/// All of a root's coroutines run on the thread that runs its queue. Everything but post() belongs to that thread.
class run_queue {
 public:
  explicit run_queue(driver& owner) noexcept : owner_(&owner) {}
  run_queue(const run_queue&) = delete;
  run_queue& operator=(const run_queue&) = delete;
  /// Waits until threads that are still inside post() have left it.
  ~run_queue();

  driver& owner() const noexcept { return *owner_; }

  /// Makes `h` the next to run: what a coroutine that suspends in favour of another does.
  void transfer(std::coroutine_handle<> h) noexcept { next_ = h; }

  /// Makes a coroutine ready, in the order of the posts of one thread. Any thread.
  void post(resumption& r) noexcept;

  bool has_ready() const noexcept { return next_ || local_ || inbox_.load(std::memory_order_acquire); }

  /// Resumes until nothing is ready, or so many were resumed.
  void run_ready(std::size_t at_most = std::numeric_limits<std::size_t>::max());

  /// The queue that this thread is running, or null outside every task.
  static run_queue* current();

  /// Marks this thread as running `q` for as long as the object lives.
  class running {
   public:
    explicit running(run_queue& q);
    ~running();
    running(const running&) = delete;
    running& operator=(const running&) = delete;
  };

 private:
  void take_inbox() noexcept;

  driver* owner_;
  std::coroutine_handle<> next_;
  resumption* local_ = nullptr;  // oldest first
  std::atomic<resumption*> inbox_{nullptr};  // newest first
  std::atomic<int> posters_{0};
};

namespace detail {

/// What a coroutine knows of its surroundings; handed down at each await.
struct task_context {
  run_queue* queue = nullptr;
  const std::stop_token* stop = nullptr;
};

/// Which threads run which queues. A table and not a thread_local: coroutines may move between threads, and compilers
/// cache the address of a thread_local over a suspension.
struct running_table {
  struct row {
    std::thread::id thread;
    run_queue* queue;
  };
  std::mutex mutex;
  std::vector<row> rows;

  [[gnu::visibility("default")]] static running_table& instance() {
    static running_table& table = *new running_table;  // never destroyed: used by static objects at exit
    return table;
  }
};

}  // namespace detail

// ---- implementation

inline run_queue::~run_queue() {
  while (posters_.load(std::memory_order_acquire) != 0) std::this_thread::yield();
}

inline void run_queue::post(resumption& r) noexcept {
  // Once `r` is in, its coroutine may run to its end and this queue may be destroyed: posters_ holds it.
  posters_.fetch_add(1, std::memory_order_acq_rel);
  resumption* head = inbox_.load(std::memory_order_relaxed);
  do {
    r.next = head;
  } while (!inbox_.compare_exchange_weak(head, &r, std::memory_order_release, std::memory_order_relaxed));
  if (head == nullptr) owner_->wake(*this);
  posters_.fetch_sub(1, std::memory_order_release);
}

inline void run_queue::take_inbox() noexcept {
  resumption* newest = inbox_.exchange(nullptr, std::memory_order_acquire);
  while (newest != nullptr) {
    resumption* older = std::exchange(newest->next, local_);
    local_ = std::exchange(newest, older);
  }
}

inline void run_queue::run_ready(std::size_t at_most) {
  for (;;) {
    while (next_) {
      if (at_most-- == 0) return;
      const std::coroutine_handle<> h = std::exchange(next_, nullptr);
      h.resume();
    }
    if (local_ == nullptr) take_inbox();
    if (local_ == nullptr) return;
    next_ = std::exchange(local_, local_->next)->coroutine;
  }
}

inline run_queue* run_queue::current() {
  auto& table = detail::running_table::instance();
  const std::thread::id self = std::this_thread::get_id();
  const std::lock_guard lock(table.mutex);
  for (auto row = table.rows.rbegin(); row != table.rows.rend(); ++row) {
    if (row->thread == self) return row->queue;
  }
  return nullptr;
}

inline run_queue::running::running(run_queue& q) {
  auto& table = detail::running_table::instance();
  const std::lock_guard lock(table.mutex);
  table.rows.push_back({std::this_thread::get_id(), &q});
}

inline run_queue::running::~running() {
  auto& table = detail::running_table::instance();
  const std::thread::id self = std::this_thread::get_id();
  const std::lock_guard lock(table.mutex);
  const auto last = std::find_if(table.rows.rbegin(), table.rows.rend(), [&](const auto& row) { return row.thread == self; });
  table.rows.erase(std::next(last).base());
}

}  // namespace rh
