// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/runtime.hpp>
#include <runhouse/node/local_engine.hpp>
#include <runhouse/rpc/call_maker.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

namespace rh::detail {

/// A node inside the program itself: calls are handed over in memory, and all ends with the program.
class local_session final : public call_maker {
 public:
  local_session(local_resources has, output_sink sink, std::chrono::steady_clock::duration idle = limits::worker_idle,
                std::uint64_t store_bytes = os::usable_memory() / 2)
      : call_maker(store_bytes),
        runtime_(runtime::instance()),
        engine_(std::make_unique<engine_on_strand>(runtime_, std::move(has), std::move(sink), idle)) {}
  local_session(const local_session&) = delete;
  local_session& operator=(const local_session&) = delete;
  /// Its engine ends on the strand, to which it belongs.
  ~local_session() { runtime_.defer(*engine_.release()); }

  void begin(call_ptr call) noexcept override { engine_->engine.submit(std::move(call)); }
  void cancel(call_state& call) noexcept override { engine_->engine.cancel(call); }
  void queue_came_free(const std::string& queue) noexcept override { engine_->engine.queue_came_free(queue); }
  void items_taken(call_state& call, std::uint32_t count) noexcept override { engine_->engine.items_taken(call, count); }
  void defer(strand_work& work) noexcept override { runtime_.defer(work); }
  const std::string& host() const noexcept override { return host_; }
  /// Writes to workers so far, for those who count them. On the strand, or while no call is under way.
  std::uint64_t writes() const noexcept { return engine_->engine.writes(); }
  void room_came() noexcept override { runtime_.defer(engine_->retry); }
  unsigned workers() const noexcept override { return engine_->engine.resources().workers; }

 private:
  /// Deferred once, to be destroyed.
  struct engine_on_strand final : strand_work {
    engine_on_strand(runtime& r, local_resources has, output_sink sink, std::chrono::steady_clock::duration idle)
        : engine(r, std::move(has), std::move(sink), idle) {}
    void run() noexcept override { delete this; }
    struct retry_work final : strand_work {
      explicit retry_work(local_engine& e) noexcept : engine(e) {}
      void run() noexcept override { engine.room_came(); }
      local_engine& engine;
    };
    local_engine engine;
    retry_work retry{engine};
  };
  runtime& runtime_;
  std::unique_ptr<engine_on_strand> engine_;
  std::string host_ = "local";
};

}  // namespace rh::detail
