// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/runtime.hpp>
#include <runhouse/node/engine.hpp>
#include <runhouse/node/worker_link.hpp>
#include <runhouse/os/system.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rh::detail {

/// Shows one line that a call printed: its function's mangled name (null: no call of ours), whether it came from
/// stderr, and the line. On the strand.
using output_sink = std::function<void(const char* function, bool is_error, std::string_view line)>;

/// Runs calls in worker processes of this program on this machine. On the strand.
///
/// Calls wait in one queue. A worker that is busy gets some of them ahead, so that it never waits for the node; what it
/// has not begun is taken back as soon as another worker has nothing to do, so that sending ahead never delays a call.
class local_engine final : public worker_link::owner, public flushable {
 public:
  /// A worker that has had nothing to do for `idle`, or up to twice that, is ended.
  local_engine(runtime& r, unsigned workers, output_sink sink, std::chrono::steady_clock::duration idle = limits::worker_idle)
      : runtime_(r), max_workers_(std::max(1u, workers)), sink_(std::move(sink)), idle_(idle), idle_timer_(r.io()) {}
  local_engine(const local_engine&) = delete;
  local_engine& operator=(const local_engine&) = delete;
  /// Ends its workers at once.
  ~local_engine();

  void submit(call_ptr call) noexcept;
  void cancel(call_state& call) noexcept;
  void queue_came_free(const std::string& name) noexcept;
  /// There may be room in the store for results that wait for it: first for that of the oldest call.
  void room_came() noexcept {
    auto waiting = workers_;
    std::ranges::sort(waiting, {}, [](const auto& w) { return w->oldest_call(); });
    for (const auto& w : waiting) w->retry_waiting();
  }
  /// Writes to the workers that there are now.
  std::uint64_t writes() const noexcept {
    std::uint64_t sum = 0;
    for (const auto& w : workers_) sum += w->writes();
    return sum;
  }
  engine_resources resources() const noexcept { return {cpus_, max_workers_}; }

 private:
  void worker_changed(worker_link&) noexcept override { schedule_later(); }
  inline void worker_ended(worker_link& w, std::vector<call_ptr> not_started, const std::string& why) noexcept override;
  void call_returned(call_ptr call) noexcept override {
    queue_.push_front(std::move(call));
    schedule_later();
  }
  void printed(const call_state* call, bool is_error, std::string_view line) noexcept override {
    sink_(call != nullptr ? call->function_name : nullptr, is_error, line);
  }
  inline void flush() noexcept override;

  void schedule_later();
  void start_workers();
  void hand_out();
  void rebalance();
  void choose_pollers();
  void watch_idle_workers();
  worker_link* least_loaded() noexcept;
  /// The worker to which the calls were sent whose results it takes; null if there is not one for all.
  worker_link* worker_before(const call_state& call) noexcept;
  bool settle_values();
  static void refuse(call_state& call, errc code, std::string what);

  runtime& runtime_;
  const unsigned cpus_ = os::usable_cpus();
  unsigned max_workers_;
  output_sink sink_;
  std::deque<call_ptr> queue_;
  std::map<std::string, std::deque<call_ptr>> queues_;  // each has a call that holds it, and those behind that
  std::vector<std::shared_ptr<worker_link>> workers_;
  bool scheduled_ = false;
  std::chrono::steady_clock::time_point start_again_{};
  std::chrono::steady_clock::duration idle_;
  asio::steady_timer idle_timer_;
  bool watches_idle_ = false;
  const std::shared_ptr<int> life_ = std::make_shared<int>(0);  // a handler that is under way outlives the timer
};
static_assert(engine<local_engine>);

// ---- implementation

inline local_engine::~local_engine() {
  for (const auto& w : workers_) w->abandon();
  runtime_.forget(*this);
  for (const auto& w : workers_) runtime_.forget(*w);
  workers_.clear();
  choose_pollers();
  for (const call_ptr& call : queue_) refuse(*call, errc::cancelled, "its cluster was closed");
}

inline void local_engine::submit(call_ptr call) noexcept {
  if (!call->queue.empty() && !call->holds_queue) {
    const auto [queue, is_free] = queues_.try_emplace(call->queue);
    if (!is_free) {
      queue->second.push_back(std::move(call));
      return;
    }
    call->holds_queue = true;
  }
  queue_.push_back(std::move(call));
  schedule_later();
}

/// The next of a queue goes on; one that has none is forgotten.
inline void local_engine::queue_came_free(const std::string& name) noexcept {
  const auto queue = queues_.find(name);
  if (queue == queues_.end()) return;
  if (queue->second.empty()) {
    queues_.erase(queue);
    return;
  }
  const call_ptr next = std::move(queue->second.front());
  queue->second.pop_front();
  next->holds_queue = true;
  submit(next);
}

inline void local_engine::schedule_later() {
  if (!std::exchange(scheduled_, true)) runtime_.flush_later(*this);
}

inline void local_engine::flush() noexcept {
  scheduled_ = false;
  hand_out();
  start_workers();
  rebalance();
  watch_idle_workers();
}

/// Looks once in `idle_`, so a worker ends that had nothing to do for once to twice that time.
inline void local_engine::watch_idle_workers() {
  if (watches_idle_ || workers_.empty()) return;
  watches_idle_ = true;
  idle_timer_.expires_after(idle_);
  idle_timer_.async_wait([this, life = std::weak_ptr(life_)](std::error_code error) {
    if (error || life.expired()) return;
    watches_idle_ = false;
    for (const auto& w : workers_) {
      if (w->was_idle()) w->end("had nothing to do");
    }
    watch_idle_workers();
  });
}

inline worker_link* local_engine::least_loaded() noexcept {
  worker_link* least = nullptr;
  for (const auto& w : workers_) {
    if (w->is_ready() && w->has_room() && (least == nullptr || w->in_flight() < least->in_flight())) least = w.get();
  }
  return least;
}

inline void local_engine::hand_out() {
  while (!queue_.empty()) {
    if (queue_.front()->takes_values() && settle_values()) continue;
    worker_link* w = least_loaded();
    if (w == nullptr) return;
    // A worker that runs well stocked is refilled when half is used up, so that calls leave in batches.
    if (w->in_flight() > limits::prefetch_calls / 2 && !w->is_filling()) return;
    w->send(std::exchange(queue_.front(), {}));
    queue_.pop_front();
  }
}

inline worker_link* local_engine::worker_before(const call_state& call) noexcept {
  const void* at = nullptr;
  for (const call_argument& a : call.arguments) {
    for (const auto& held : a.values()) {
      if (held->value()->has_ended()) continue;
      const call_state* maker = held->value()->maker();
      if (maker->sent.to == nullptr || (at != nullptr && at != maker->sent.to)) return nullptr;
      at = maker->sent.to;
    }
  }
  const auto w = std::find_if(workers_.begin(), workers_.end(), [&](const auto& other) { return other.get() == at; });
  return w != workers_.end() && (*w)->is_ready() && (*w)->has_room_to_follow() ? w->get() : nullptr;
}

/// The first call of the queue takes values: false if they are all there. Else it leaves the queue: it follows the calls
/// whose results it takes, or waits for them, or has ended because one of them failed.
inline bool local_engine::settle_values() {
  const call_ptr call = queue_.front();
  if (call->fail_with_argument()) {
    queue_.pop_front();
    return true;
  }
  if (call->values_have_ended()) return false;
  queue_.pop_front();
  if (worker_link* w = worker_before(*call)) {
    w->send(call);
  } else {
    call->wait_for_values();
  }
  return true;
}

/// More workers while there are calls that no worker could begin at once.
inline void local_engine::start_workers() {
  std::size_t waiting = queue_.size();
  std::size_t starting = 0;
  for (const auto& w : workers_) {
    if (!w->is_ready()) {
      ++starting;
    } else if (w->divisible() > 1) {
      waiting += w->divisible() - 1;
    }
  }
  if (waiting <= starting || workers_.size() >= max_workers_) return;
  if (!workers_.empty() && std::chrono::steady_clock::now() < start_again_) return;
  while (waiting > starting && workers_.size() < max_workers_) {
    try {
      auto w = std::make_shared<worker_link>(runtime_, *this, start_worker());
      w->start();
      workers_.push_back(std::move(w));
      ++starting;
    } catch (const std::exception& e) {
      if (workers_.empty()) {
        for (const call_ptr& call : std::exchange(queue_, {})) {
          refuse(*call, errc::worker_not_started, std::string("a worker could not be started: ") + e.what());
        }
      }
      // With fewer than wanted the work goes on; what was refused is likely to be refused again at once.
      start_again_ = std::chrono::steady_clock::now() + limits::start_again;
      break;
    }
    choose_pollers();
  }
}

/// Takes calls from a busy worker that it has not begun, if another has nothing to do.
inline void local_engine::rebalance() {
  if (!queue_.empty()) return;
  const bool idle = std::any_of(workers_.begin(), workers_.end(), [](const auto& w) { return w->is_ready() && w->in_flight() == 0; });
  if (!idle) return;
  const auto busiest = std::max_element(workers_.begin(), workers_.end(),
                                        [](const auto& a, const auto& b) { return a->divisible() < b->divisible(); });
  if ((*busiest)->divisible() < 2) return;
  auto back = (*busiest)->take_back();
  queue_.insert(queue_.end(), std::make_move_iterator(back.begin()), std::make_move_iterator(back.end()));
  hand_out();
}

/// Spinning pays only where each worker and the spinning thread have a core of their own.
inline void local_engine::choose_pollers() {
  std::vector<poller*> pollers;
  if (workers_.size() < cpus_) {
    for (const auto& w : workers_) pollers.push_back(w.get());
  }
  runtime_.set_pollers(std::move(pollers));
}

inline void local_engine::worker_ended(worker_link& w, std::vector<call_ptr> not_started, const std::string& why) noexcept {
  const bool was_ready = w.was_ready();
  const auto place = std::find_if(workers_.begin(), workers_.end(), [&](const auto& other) { return other.get() == &w; });
  const std::shared_ptr<worker_link> keep = *place;
  runtime_.forget(w);
  workers_.erase(place);
  choose_pollers();
  queue_.insert(queue_.begin(), std::make_move_iterator(not_started.begin()), std::make_move_iterator(not_started.end()));
  if (!was_ready && workers_.empty()) {
    // Another would most likely end the same way.
    for (const call_ptr& call : std::exchange(queue_, {})) {
      refuse(*call, errc::worker_not_started, "a worker ended before it could serve: it " + why);
    }
  }
  schedule_later();
}

inline void local_engine::cancel(call_state& call) noexcept {
  const auto is_it = [&](const call_ptr& other) { return other.get() == &call; };
  const call_ptr hold(&call);
  const auto drop_from = [&](std::deque<call_ptr>& queue) {
    const auto queued = std::find_if(queue.begin(), queue.end(), is_it);
    if (queued == queue.end()) return false;
    queue.erase(queued);
    refuse(call, errc::cancelled, "it was cancelled before it began");
    return true;
  };
  const auto drop = [&] { return drop_from(queue_); };
  if (const auto named = queues_.find(call.queue); !call.holds_queue && named != queues_.end()) {
    drop_from(named->second);
    return;
  }
  if (drop()) return;
  for (const auto& w : workers_) {
    if (!w->has(call)) continue;
    auto back = w->take_back();
    queue_.insert(queue_.begin(), std::make_move_iterator(back.begin()), std::make_move_iterator(back.end()));
    schedule_later();
    if (!drop()) w->cancel_running(call);
    return;
  }
}

inline void local_engine::refuse(call_state& call, errc code, std::string what) {
  call_outcome outcome;
  outcome.head.kind = wire::outcome_kind::error;
  outcome.head.code = static_cast<std::uint32_t>(code);
  outcome.head.what = std::move(what);
  call.finish(std::move(outcome));
}

}  // namespace rh::detail
