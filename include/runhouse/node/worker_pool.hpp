// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/runtime.hpp>
#include <runhouse/needs/needs.hpp>
#include <runhouse/node/gpu_claim.hpp>
#include <runhouse/node/machine_resources.hpp>
#include <runhouse/node/worker_link.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rh::detail {

/// The calls of one program and of equal needs, and the workers that run them. On the strand.
///
/// A worker works while it has a share: what one of these calls takes of the machine. Its owner gives shares, and may
/// want one back: then the worker ends the call that it runs, and gives it back.
///
/// Calls wait in one queue. A worker that is busy gets some of them ahead, so that it never waits for the node; what it
/// has not begun is taken back as soon as another worker has nothing to do, so that sending ahead never delays a call.
class worker_pool final : public worker_link::owner {
 public:
  class owner {
   public:
    /// It has more to do, or less: schedule() it.
    virtual void pool_changed() noexcept = 0;
    /// A worker has given its share back, or came to an end with it.
    virtual void share_came_back(const worker_pool& from) noexcept = 0;
    virtual void workers_changed() noexcept = 0;
    /// A line that a call printed.
    virtual void printed(const call_state* call, bool is_error, std::string_view line) noexcept = 0;

   protected:
    ~owner() = default;
  };

  /// `program` is the workers'; null: this process's own.
  worker_pool(runtime& r, owner& o, std::shared_ptr<const worker_program> program, std::shared_ptr<const rh::needs> n)
      : runtime_(r), owner_(o), program_(std::move(program)), needs_(std::move(n)), takes_(amounts::of(*needs_)) {}
  worker_pool(const worker_pool&) = delete;
  worker_pool& operator=(const worker_pool&) = delete;
  /// Ends its workers at once.
  ~worker_pool();

  const rh::needs& needs() const noexcept { return *needs_; }
  const worker_program* program() const noexcept { return program_.get(); }
  /// What a share is.
  const amounts& takes() const noexcept { return takes_; }
  /// GPUs that its workers have.
  std::size_t gpus() const noexcept;

  void add(call_ptr call) { queue_.push_back(std::move(call)); }
  /// Ends a call of its as soon as it can. Not if it has no such call.
  void cancel(call_state& call);
  /// Gives calls to workers that can take them.
  void hand_out();
  /// Takes calls from a busy worker that it has not begun, if another has nothing to do.
  void rebalance();
  /// Ends all calls that wait.
  void refuse_all(errc code, const std::string& what);
  /// True if it has neither calls nor workers.
  bool is_empty() const noexcept { return queue_.empty() && members_.empty(); }

  bool has_calls() const noexcept {
    return !queue_.empty() || std::any_of(members_.begin(), members_.end(), [](const member& m) { return m.link->in_flight() != 0; });
  }

  /// How many more shares it could use now, for calls that no worker could begin at once.
  std::size_t wanted() const noexcept;
  std::size_t shares() const noexcept { return shares_; }
  /// How many of them are coming back.
  std::size_t yielding() const noexcept { return yielding_; }
  /// One more share: for a worker that has none, or a new one, which gets the GPUs. A worker that cannot be started is
  /// no error while there are others; it is tried again later. Without others the calls end. False: the share is not
  /// used.
  bool take_share(std::vector<gpu_claim> gpus);
  /// Has those give back their share that have nothing to do, and have had it since before this time.
  void yield_idle(std::chrono::steady_clock::time_point before);
  /// Ends those that have nothing to do and a GPU that another program wants.
  void yield_wanted_gpus();
  /// Has one give back its share when it has ended what it runs. False if none has had its share for long enough.
  bool yield_one();
  /// Takes the shares from those that have ended what they ran.
  void settle();

  /// Ends those that had nothing to do since this was last called.
  void end_idle();
  template <class Visit>
  void for_each_worker(Visit visit) const {
    for (const member& m : members_) visit(m.link);
  }

 private:
  using clock = std::chrono::steady_clock;
  struct member {
    std::shared_ptr<worker_link> link;
    std::vector<gpu_claim> gpus;
    clock::time_point share_since;
    bool has_share = true;
    bool yields = false;
    /// Whether it is to get calls.
    bool works() const noexcept { return has_share && !yields && link->is_ready(); }
  };

  void worker_changed(worker_link&) noexcept override { owner_.pool_changed(); }
  inline void worker_ended(worker_link& w, std::vector<call_ptr> not_started, const std::string& why) noexcept override;
  void call_returned(call_ptr call) noexcept override {
    queue_.push_front(std::move(call));
    owner_.pool_changed();
  }
  void printed(const call_state* call, bool is_error, std::string_view line) noexcept override {
    owner_.printed(call, is_error, line);
  }

  member* least_loaded() noexcept;
  worker_link* worker_before(const call_state& call) noexcept;
  bool settle_values();
  bool drop(call_state& call);
  void take_back(worker_link& w);
  void give_back(member& m);

  runtime& runtime_;
  owner& owner_;
  const std::shared_ptr<const worker_program> program_;
  const std::shared_ptr<const rh::needs> needs_;
  const amounts takes_;
  std::deque<call_ptr> queue_;
  std::vector<member> members_;
  std::size_t shares_ = 0;
  std::size_t yielding_ = 0;
  clock::time_point start_again_{};
};

/// Ends a call that did not run.
inline void refuse(call_state& call, errc code, std::string what) {
  call_outcome outcome;
  outcome.head.kind = wire::outcome_kind::error;
  outcome.head.code = static_cast<std::uint32_t>(code);
  outcome.head.what = std::move(what);
  call.finish(std::move(outcome));
}

// ---- implementation

inline worker_pool::~worker_pool() {
  for (const member& m : members_) {
    m.link->abandon();
    runtime_.forget(*m.link);
    runtime_.remove_poller(*m.link);
  }
  refuse_all(errc::cancelled, "its cluster was closed");
}

inline std::size_t worker_pool::gpus() const noexcept {
  std::size_t sum = 0;
  for (const member& m : members_) sum += m.gpus.size();
  return sum;
}

inline void worker_pool::refuse_all(errc code, const std::string& what) {
  for (const call_ptr& call : std::exchange(queue_, {})) refuse(*call, code, what);
}

inline worker_pool::member* worker_pool::least_loaded() noexcept {
  member* least = nullptr;
  for (member& m : members_) {
    if (m.works() && m.link->has_room() && (least == nullptr || m.link->in_flight() < least->link->in_flight()))
      least = &m;
  }
  return least;
}

inline void worker_pool::hand_out() {
  while (!queue_.empty()) {
    if (queue_.front()->takes_values() && settle_values()) continue;
    const member* to = least_loaded();
    if (to == nullptr) return;
    if (queue_.front()->workers_lost != 0 && to->link->in_flight() != 0) return;
    // A worker that runs well stocked is refilled when half is used up, so that calls leave in batches.
    if (to->link->in_flight() > limits::prefetch_calls / 2 && !to->link->is_filling()) return;
    to->link->send(std::exchange(queue_.front(), {}));
    queue_.pop_front();
  }
}

/// The worker to which the calls were sent whose results it takes; null if there is not one for all.
inline worker_link* worker_pool::worker_before(const call_state& call) noexcept {
  const void* at = nullptr;
  for (const call_argument& a : call.arguments) {
    for (const auto& held : a.values()) {
      if (held->value()->has_ended()) continue;
      const call_state* maker = held->value()->maker();
      if (maker->sent.to == nullptr || (at != nullptr && at != maker->sent.to)) return nullptr;
      at = maker->sent.to;
    }
  }
  const auto m =
      std::find_if(members_.begin(), members_.end(), [&](const member& other) { return other.link.get() == at; });
  return m != members_.end() && m->works() && m->link->has_room_to_follow() ? m->link.get() : nullptr;
}

/// The first call of the queue takes values: false if they are all there. Else it leaves the queue: it follows the
/// calls whose results it takes, or waits for them, or has ended because one of them failed.
inline bool worker_pool::settle_values() {
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

inline std::size_t worker_pool::wanted() const noexcept {
  if (needs_->workers != 0 && shares_ >= needs_->workers) return 0;
  std::size_t waiting = queue_.size();
  std::size_t free = 0;
  for (const member& m : members_) {
    if (!m.has_share || m.yields) continue;
    if (!m.link->is_ready() || m.link->in_flight() == 0) {
      ++free;
    } else {
      waiting += m.link->spare_calls();
    }
  }
  return waiting > free ? waiting - free : 0;
}

inline bool worker_pool::take_share(std::vector<gpu_claim> gpus) {
  const auto now = clock::now();
  const auto warm = std::find_if(members_.begin(), members_.end(),
                                 [](const member& m) { return !m.has_share && m.link->is_ready(); });
  if (warm != members_.end()) {
    warm->has_share = true;
    warm->share_since = now;
    ++shares_;
    owner_.pool_changed();
    return true;
  }
  if (!members_.empty() && now < start_again_) return false;
  try {
    auto link = std::make_shared<worker_link>(runtime_, *this, program_, start_worker(program_.get(), *needs_, gpus));
    link->start();
    runtime_.add_poller(*link);
    members_.push_back({std::move(link), std::move(gpus), now});
    ++shares_;
    owner_.workers_changed();
    return true;
  } catch (const std::exception& e) {
    // With fewer than wanted the work goes on; what was refused is likely to be refused again at once.
    start_again_ = now + limits::start_again;
    if (members_.empty())
      refuse_all(errc::worker_not_started, std::string("a worker could not be started: ") + e.what());
    return false;
  }
}

inline void worker_pool::take_back(worker_link& w) {
  auto back = w.take_back();
  queue_.insert(queue_.begin(), std::make_move_iterator(back.begin()), std::make_move_iterator(back.end()));
}

inline void worker_pool::give_back(member& m) {
  if (std::exchange(m.yields, false)) --yielding_;
  m.has_share = false;
  --shares_;
  owner_.share_came_back(*this);
}

inline void worker_pool::yield_idle(clock::time_point before) {
  if (!queue_.empty()) return;  // for those it has just got them
  for (member& m : members_) {
    if (!m.works() || m.link->in_flight() != 0 || m.share_since >= before) continue;
    m.yields = true;
    ++yielding_;
  }
  settle();
}

inline void worker_pool::yield_wanted_gpus() {
  const auto is_wanted = [](const gpu_claim& g) { return os::claim_file::is_wanted(g.uuid); };
  for (const member& m : members_) {
    if (!m.works() || m.link->in_flight() != 0 || std::none_of(m.gpus.begin(), m.gpus.end(), is_wanted)) continue;
    m.link->end("had to give its GPUs to another program");
  }
}

inline bool worker_pool::yield_one() {
  const auto long_enough = clock::now() - limits::share;
  member* first = nullptr;
  for (member& m : members_) {
    if (m.works() && m.share_since <= long_enough && (first == nullptr || m.share_since < first->share_since))
      first = &m;
  }
  if (first == nullptr) return false;
  first->yields = true;
  ++yielding_;
  take_back(*first->link);
  settle();
  return true;
}

/// A worker that has GPUs has them until its end.
inline void worker_pool::settle() {
  if (yielding_ == 0) return;
  for (member& m : members_) {
    if (!m.yields || m.link->in_flight() != 0 || !m.link->is_ready()) continue;
    if (m.gpus.empty()) {
      give_back(m);
    } else {
      m.link->end("had to give its GPUs to other calls");
    }
  }
}

inline void worker_pool::rebalance() {
  const auto is_idle = [](const member& m) { return m.works() && m.link->in_flight() == 0; };
  // Each time one that was idle gets a call; several may have become so at once.
  for (std::size_t i = 0; i < members_.size() && queue_.empty(); ++i) {
    if (std::none_of(members_.begin(), members_.end(), is_idle)) return;
    const auto busiest = std::max_element(members_.begin(), members_.end(), [](const member& x, const member& y) {
      return x.link->spare_calls() < y.link->spare_calls();
    });
    if (busiest->link->spare_calls() == 0) return;
    take_back(*busiest->link);
    hand_out();
  }
}

inline void worker_pool::end_idle() {
  for (const member& m : members_) {
    if (m.link->was_idle()) m.link->end("had nothing to do");
  }
}

inline void worker_pool::worker_ended(worker_link& w, std::vector<call_ptr> not_started,
                                      const std::string& why) noexcept {
  const bool was_ready = w.was_ready();
  const auto place =
      std::find_if(members_.begin(), members_.end(), [&](const member& m) { return m.link.get() == &w; });
  const bool had_share = place->has_share;
  if (place->yields) --yielding_;
  const std::shared_ptr<worker_link> keep = place->link;
  runtime_.forget(w);
  runtime_.remove_poller(w);
  members_.erase(place);
  owner_.workers_changed();
  if (had_share) {
    --shares_;
    owner_.share_came_back(*this);
  }
  queue_.insert(queue_.begin(), std::make_move_iterator(not_started.begin()),
                std::make_move_iterator(not_started.end()));
  // Another would most likely end the same way.
  if (!was_ready && members_.empty())
    refuse_all(errc::worker_not_started, "a worker ended before it could serve: it " + why);
  owner_.pool_changed();
}

inline bool worker_pool::drop(call_state& call) {
  const auto queued =
      std::find_if(queue_.begin(), queue_.end(), [&](const call_ptr& other) { return other.get() == &call; });
  if (queued == queue_.end()) return false;
  const call_ptr hold = std::move(*queued);
  queue_.erase(queued);
  refuse(call, errc::cancelled, "it was cancelled before it began");
  return true;
}

inline void worker_pool::cancel(call_state& call) {
  if (drop(call)) return;
  for (const member& m : members_) {
    if (!m.link->has(call)) continue;
    const std::shared_ptr<worker_link> at = m.link;
    take_back(*at);
    owner_.pool_changed();
    if (!drop(call)) at->cancel_running(call);
    return;
  }
}

}  // namespace rh::detail
