// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/node/local_engine.hpp>

namespace rh::detail {

inline local_engine::local_engine(runtime& r, local_resources has, output_sink sink,
                                  std::chrono::steady_clock::duration idle)
    : runtime_(r),
      max_workers_(std::max(1u, has.workers)),
      sink_(std::move(sink)),
      flush_timer_(r.io()),
      idle_(idle),
      idle_timer_(r.io()) {
  all_ = {max_workers_, std::max(cpus_, max_workers_), 0, os::usable_memory(), std::move(has.counts)};
  free_ = all_;
  pools_.push_back({std::make_unique<worker_pool>(r, *this, nullptr, std::make_shared<const needs>()), 0});
}

inline local_engine::~local_engine() {
  runtime_.forget(*this);
  pools_.clear();
  runtime_.set_spinning(true);
}

// ---- calls

inline void local_engine::submit(call_ptr call) noexcept {
  if (!call->queue.empty() && !call->holds_queue) {
    const auto [queue, is_free] = queues_.try_emplace(call->queue);
    if (!is_free) {
      queue->second.push_back(std::move(call));
      return;
    }
    call->holds_queue = true;
  }
  add(std::move(call));
}

inline void local_engine::add(call_ptr call) {
  worker_pool& pool = pool_of(*call);
  if (call->needs) {
    const std::string why = why_impossible(pool.takes(), all_, call->at().host());
    if (!why.empty()) return refuse(*call, errc::impossible_needs, why);
  }
  pool.add(std::move(call));
  // Of too many, the answer says it.
  if (pool.takes().gpus > all_.gpus) ask_gpus();
  pool_changed();
}

inline worker_pool* local_engine::find_pool(const call_state& call) noexcept {
  if (!call.needs && !call.program) return pools_.front().pool.get();
  static const rh::needs nothing_special;
  const rh::needs& needs = call.needs ? *call.needs : nothing_special;
  const auto same = std::find_if(pools_.begin(), pools_.end(), [&](const place& p) {
    return p.pool->program() == call.program.get() && (&p.pool->needs() == &needs || p.pool->needs() == needs);
  });
  return same != pools_.end() ? same->pool.get() : nullptr;
}

inline worker_pool& local_engine::pool_of(const call_state& call) {
  if (worker_pool* found = find_pool(call)) return *found;
  auto needs = call.needs ? call.needs : std::make_shared<const rh::needs>();
  pools_.push_back({std::make_unique<worker_pool>(runtime_, *this, call.program, std::move(needs)), ++turns_});
  return *pools_.back().pool;
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

inline void local_engine::cancel(call_state& call) noexcept {
  const call_ptr hold(&call);
  if (const auto named = queues_.find(call.queue); !call.holds_queue && named != queues_.end()) {
    std::deque<call_ptr>& waiting = named->second;
    const auto queued =
        std::find_if(waiting.begin(), waiting.end(), [&](const call_ptr& other) { return other.get() == &call; });
    if (queued == waiting.end()) return;
    waiting.erase(queued);
    return refuse(call, errc::cancelled, "it was cancelled before it began");
  }
  if (worker_pool* pool = find_pool(call)) pool->cancel(call);
}

inline std::uint64_t local_engine::queue_place(std::uint64_t call_id) const noexcept {
  for (const auto& [name, waiting] : queues_) {
    const auto at = std::ranges::find(waiting, call_id, [](const call_ptr& c) { return c->id; });
    if (at != waiting.end()) return static_cast<std::uint64_t>(at - waiting.begin()) + 1;
  }
  return 0;
}

inline bool local_engine::is_busy() const noexcept {
  return !queues_.empty() || std::ranges::any_of(pools_, [](const place& p) { return p.pool->has_calls(); });
}

inline void local_engine::items_taken(const call_state& call, std::uint32_t count) noexcept {
  for (const place& p : pools_) {
    p.pool->for_each_worker([&](const auto& w) { w->items_taken(call, count); });
  }
}

inline void local_engine::room_came() noexcept {
  std::vector<std::shared_ptr<worker_link>> waiting;
  for (const place& p : pools_) {
    p.pool->for_each_worker([&](const auto& w) { waiting.push_back(w); });
  }
  std::ranges::sort(waiting, {}, [](const auto& w) { return w->oldest_call(); });
  for (const auto& w : waiting) w->retry_waiting();
}

inline std::uint64_t local_engine::writes() const noexcept {
  std::uint64_t sum = 0;
  for (const place& p : pools_) {
    p.pool->for_each_worker([&](const auto& w) { sum += w->writes(); });
  }
  return sum;
}

// ---- workers

inline void local_engine::flush() noexcept {
  scheduled_ = false;
  for (const place& p : pools_) {
    p.pool->settle();
    p.pool->hand_out();
  }
  share_out();
  for (const place& p : pools_) p.pool->rebalance();
  if (all_.gpus > 0) settle_gpus();
  watch_idle_workers();
}

inline void local_engine::share_out() {
  if (pools_.size() == 1) {
    while (pools_.front().pool->wanted() > 0 && give_share(pools_.front(), {})) {
    }
    return;
  }
  const auto round = clock::now();
  std::vector<place*> wanting;
  for (place& p : pools_) wanting.push_back(&p);
  amounts kept_back;  // what a pool waits for that has no share: nobody else gets it
  for (;;) {
    std::erase_if(wanting, [](const place* p) { return p->pool->wanted() == 0; });
    if (wanting.empty()) return;
    const auto next = std::min_element(wanting.begin(), wanting.end(), [](const place* a, const place* b) {
      return std::pair(a->pool->shares(), a->turn) < std::pair(b->pool->shares(), b->turn);
    });
    if (give_share(**next, kept_back)) continue;
    const worker_pool& pool = *(*next)->pool;
    make_room(pool, round);
    if (give_share(**next, kept_back)) continue;
    if (pool.shares() == 0) kept_back.add(free_.lacking(pool.takes()));
    wanting.erase(next);
  }
}

inline bool local_engine::give_share(place& to, const amounts& kept_back) {
  const amounts& takes = to.pool->takes();
  if (!free_.covers(takes) || takes.touches(kept_back)) return false;
  std::vector<gpu_claim> claims;
  if (takes.gpus > 0 && !claim_gpus_for(*to.pool, claims)) return false;
  free_.subtract(takes);
  if (to.pool->take_share(std::move(claims))) {
    to.turn = ++turns_;
    return true;
  }
  share_came_back(*to.pool);
  return false;
}

/// Has other pools give back what this one lacks: those that do not use it at once, others when they have ended a call.
/// Not what they were given since `round` began: they would take it back, and so on without end.
inline void local_engine::make_room(const worker_pool& wanting, clock::time_point round) {
  const amounts& wanted = wanting.takes();
  if (free_.covers(wanted)) return;
  const auto has_some = [&](const worker_pool& p, const amounts& of) {
    return &p != &wanting && p.takes().touches(of);
  };
  for (const place& p : pools_) {
    if (has_some(*p.pool, free_.lacking(wanted))) p.pool->yield_idle(round);
  }
  amounts coming = free_;
  for (const place& p : pools_) {
    for (std::size_t i = 0; i < p.pool->yielding(); ++i) coming.add(p.pool->takes());
  }
  std::vector<worker_pool*> others;
  for (const place& p : pools_) others.push_back(p.pool.get());
  const auto working = [](const worker_pool* p) { return p->shares() - p->yielding(); };
  while (!coming.covers(wanted)) {
    const amounts lacking = coming.lacking(wanted);
    // Not from one that would then want it back.
    const std::size_t least = wanting.shares() == 0 ? 1 : wanting.shares() + 2;
    std::erase_if(others, [&](const worker_pool* p) { return !has_some(*p, lacking) || working(p) < least; });
    if (others.empty()) return;
    const auto richest = std::max_element(others.begin(), others.end(),
                                          [&](const auto* a, const auto* b) { return working(a) < working(b); });
    if (!(*richest)->yield_one()) {
      flush_after(limits::share);
      others.erase(richest);
      continue;
    }
    coming.add((*richest)->takes());
  }
}

/// Spinning pays only where each worker and the spinning thread have a core of their own.
inline void local_engine::workers_changed() noexcept {
  std::size_t workers = 0;
  for (const place& p : pools_) p.pool->for_each_worker([&](const auto&) { ++workers; });
  runtime_.set_spinning(workers < cpus_);
}

inline void local_engine::flush_after(clock::duration delay) {
  const auto at = clock::now() + delay;
  if (flush_at_ && *flush_at_ <= at) return;
  flush_at_ = at;
  flush_timer_.expires_at(at);
  flush_timer_.async_wait([this, life = std::weak_ptr(life_)](std::error_code error) {
    if (error || life.expired()) return;
    flush_at_.reset();
    pool_changed();
  });
}

/// Looks once in `idle_`, so a worker ends that had nothing to do for once to twice that time.
inline void local_engine::watch_idle_workers() {
  const auto in_use = [](const place& p) { return !p.pool->is_empty(); };
  if (watches_idle_ || std::none_of(pools_.begin(), pools_.end(), in_use)) return;
  watches_idle_ = true;
  idle_timer_.expires_after(idle_);
  idle_timer_.async_wait([this, life = std::weak_ptr(life_)](std::error_code error) {
    if (error || life.expired()) return;
    watches_idle_ = false;
    for (const place& p : pools_) p.pool->end_idle();
    std::erase_if(pools_, [this](const place& p) { return &p != &pools_.front() && p.pool->is_empty(); });
    watch_idle_workers();
  });
}

// ---- GPUs

inline void local_engine::count_gpus() noexcept {
  std::size_t used = 0;
  for (const place& p : pools_) used += p.pool->gpus();
  free_.gpus = all_.gpus > used ? all_.gpus - static_cast<unsigned>(used) : 0;
}

inline bool local_engine::claim_gpus_for(worker_pool& pool, std::vector<gpu_claim>& claims) {
  if (clock::now() - gpus_asked_ > limits::gpu_answer) {
    ask_gpus();
    return false;
  }
  const std::size_t count = pool.takes().gpus;
  try {
    claims = claim_gpus(gpus_->gpus, count);
    wanted_gpus_.clear();
    if (claims.size() == count) return true;
    for (const gpu& g : gpus_->gpus) {
      if (auto wanted = os::claim_file::want(g.uuid)) wanted_gpus_.push_back(std::move(*wanted));
    }
  } catch (const std::exception& e) {
    pool.refuse_all(errc::worker_not_started, std::string("its GPUs could not be claimed: ") + e.what());
  }
  return false;
}

/// What this program's idle workers have may be wanted by another; what it waits for may have come free. From time to
/// time, as long as it has or wants any.
inline void local_engine::settle_gpus() noexcept {
  const auto looks = [](const place& p) { return p.pool->takes().gpus > 0 && !p.pool->is_empty(); };
  if (std::none_of(pools_.begin(), pools_.end(), looks)) return wanted_gpus_.clear();
  flush_after(limits::gpu_again);
  if (clock::now() - gpus_settled_ < limits::gpu_again) return;
  gpus_settled_ = clock::now();
  const auto wants = [](const place& p) { return p.pool->takes().gpus > 0 && p.pool->wanted() > 0; };
  if (std::none_of(pools_.begin(), pools_.end(), wants)) wanted_gpus_.clear();
  for (const place& p : pools_) p.pool->yield_wanted_gpus();
}

inline void local_engine::ask_gpus() {
  if (std::exchange(asking_gpus_, true)) return;
  gpu_query::start(runtime_, [this, life = std::weak_ptr(life_)](gpu_answer answer) {
    if (!life.expired()) gpus_known(std::move(answer));
  });
}

inline void local_engine::gpus_known(gpu_answer answer) {
  asking_gpus_ = false;
  gpus_asked_ = clock::now();
  gpus_ = std::move(answer);
  all_.gpus = static_cast<unsigned>(gpus_->gpus.size());
  count_gpus();
  const std::string has = all_.gpus == 0 ? "none: " + gpus_->why_none : std::to_string(all_.gpus);
  for (const place& p : pools_) {
    const unsigned wanted = p.pool->takes().gpus;
    if (wanted > all_.gpus) {
      p.pool->refuse_all(errc::impossible_needs, "each call needs " + std::to_string(wanted) +
                                                     (wanted == 1 ? " GPU" : " GPUs") + "; this machine has " + has);
    }
  }
  pool_changed();
}

}  // namespace rh::detail
