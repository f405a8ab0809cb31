// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/runtime.hpp>
#include <runhouse/node/engine.hpp>
#include <runhouse/node/gpu_query.hpp>
#include <runhouse/node/worker_pool.hpp>
#include <runhouse/os/system.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rh::detail {

/// Shows one line that a call printed: its function's mangled name (null: no call of ours), whether it came from
/// stderr, and the line. On the strand.
using output_sink = std::function<void(const char* function, bool is_error, std::string_view line)>;

/// What the workers of a local engine may have.
struct local_resources {
  local_resources(unsigned w, std::map<std::string, unsigned> c = {}) : workers(w), counts(std::move(c)) {}
  unsigned workers;  ///< that work at the same time
  std::map<std::string, unsigned> counts;
};

/// Runs calls in worker processes on this machine. On the strand.
///
/// Calls of one program and of equal needs share a pool of workers. Pools share the machine: each gets what it can use, as long as there
/// is some; then what a pool gets comes from those that have more, and one that has nothing is served before all
/// others.
class local_engine final : public worker_pool::owner, public flushable {
 public:
  /// A worker that has had nothing to do for `idle`, or up to twice that, is ended.
  local_engine(runtime& r, local_resources has, output_sink sink,
               std::chrono::steady_clock::duration idle = limits::worker_idle);
  local_engine(const local_engine&) = delete;
  local_engine& operator=(const local_engine&) = delete;
  /// Ends its workers at once.
  ~local_engine();

  void submit(call_ptr call) noexcept;
  void cancel(call_state& call) noexcept;
  void queue_came_free(const std::string& name) noexcept;
  void items_taken(const call_state& call, std::uint32_t count) noexcept;
  /// There may be room in the store for results that wait for it: first for that of the oldest call.
  void room_came() noexcept;
  /// How many calls are before this one in its queue; 0 if it is in none, or has begun.
  std::uint64_t queue_place(std::uint64_t call_id) const noexcept;
  /// Whether it has a call that has not ended.
  bool is_busy() const noexcept;
  /// Writes to the workers that there are now.
  std::uint64_t writes() const noexcept;
  engine_resources resources() const noexcept { return {cpus_, max_workers_}; }

 private:
  using clock = std::chrono::steady_clock;

  void pool_changed() noexcept override {
    if (!std::exchange(scheduled_, true)) runtime_.flush_later(*this);
  }
  void share_came_back(const worker_pool& from) noexcept override {
    free_.add(from.takes());
    count_gpus();
  }
  inline void workers_changed() noexcept override;
  void printed(const call_state* call, bool is_error, std::string_view line) noexcept override {
    if (call != nullptr && call->output != nullptr) return call->output->printed(*call, is_error, line);
    sink_(call != nullptr ? call->function_name : nullptr, is_error, line);
  }
  inline void flush() noexcept override;

  struct place {
    std::unique_ptr<worker_pool> pool;
    std::uint64_t turn = 0;  // when it got its last share
  };
  worker_pool* find_pool(const call_state& call) noexcept;
  worker_pool& pool_of(const call_state& call);
  void add(call_ptr call);
  void share_out();
  bool give_share(place& to, const amounts& kept_back);
  void make_room(const worker_pool& wanting, clock::time_point round);
  void count_gpus() noexcept;
  void ask_gpus();
  void gpus_known(gpu_answer answer);
  bool claim_gpus_for(worker_pool& pool, std::vector<gpu_claim>& claims);
  void settle_gpus() noexcept;
  void flush_after(clock::duration delay);
  void watch_idle_workers();

  runtime& runtime_;
  const unsigned cpus_ = os::usable_cpus();
  const unsigned max_workers_;
  const output_sink sink_;
  std::list<place> pools_;                              // the first is that of calls that need nothing special
  std::map<std::string, std::deque<call_ptr>> queues_;  // each has a call that holds it, and those behind that
  amounts all_;
  amounts free_;
  std::uint64_t turns_ = 0;
  bool scheduled_ = false;

  std::optional<gpu_answer> gpus_;
  clock::time_point gpus_asked_{};
  bool asking_gpus_ = false;
  clock::time_point gpus_settled_{};
  std::vector<os::claim_file> wanted_gpus_;  // which other programs have

  std::optional<clock::time_point> flush_at_;
  asio::steady_timer flush_timer_;
  const clock::duration idle_;
  asio::steady_timer idle_timer_;
  bool watches_idle_ = false;
  const std::shared_ptr<int> life_ = std::make_shared<int>(0);  // a handler that is under way outlives the timer
};
static_assert(engine<local_engine>);

}  // namespace rh::detail

#include <runhouse/node/detail/local_engine.hpp>
