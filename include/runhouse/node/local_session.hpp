// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/runtime.hpp>
#include <runhouse/node/local_node.hpp>
#include <runhouse/node/worker_program.hpp>
#include <runhouse/rpc/call_maker.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

namespace rh::detail {

/// A node in this process, shared by those who use it, which ends on the strand when they are gone.
class hosted_node {
 public:
  hosted_node(runtime& r, local_resources has, output_sink sink, std::chrono::steady_clock::duration idle)
      : runtime_(r), on_strand_(std::make_unique<on_strand>(r, std::move(has), std::move(sink), idle)) {}
  hosted_node(const hosted_node&) = delete;
  hosted_node& operator=(const hosted_node&) = delete;
  ~hosted_node() { runtime_.defer(*on_strand_.release()); }

  local_node& get() noexcept { return on_strand_->node; }
  /// There is room in the store again. Any thread.
  void room_came() noexcept { runtime_.defer(on_strand_->retry); }

 private:
  /// Deferred once, to be destroyed.
  struct on_strand final : strand_work {
    on_strand(runtime& r, local_resources has, output_sink sink, std::chrono::steady_clock::duration idle)
        : node(r, std::move(has), std::move(sink), idle) {}
    void run() noexcept override { delete this; }
    struct retry_work final : strand_work {
      explicit retry_work(local_node& n) noexcept : node(n) {}
      void run() noexcept override { node.engine.room_came(); }
      local_node& node;
    };
    local_node node;
    retry_work retry{node};
  };
  runtime& runtime_;
  std::unique_ptr<on_strand> on_strand_;
};

/// A session with a node in this process: calls are handed over in memory.
class local_session final : public call_maker {
 public:
  /// Of a node of its own, which ends with it.
  local_session(local_resources has, output_sink sink, std::chrono::steady_clock::duration idle = limits::worker_idle,
                std::uint64_t store_bytes = os::usable_memory() / 2)
      : local_session(std::make_shared<hosted_node>(runtime::instance(), std::move(has), std::move(sink), idle),
                      std::make_shared<store_account>(store_bytes), "local") {}
  /// One of those that share a node and its store.
  local_session(std::shared_ptr<hosted_node> node, std::shared_ptr<store_account> store, std::string host)
      : call_maker(std::move(store)), runtime_(runtime::instance()), node_(std::move(node)), host_(std::move(host)) {}
  local_session(const local_session&) = delete;
  local_session& operator=(const local_session&) = delete;
  ~local_session() = default;

  void begin(call_ptr call) noexcept override {
    if (call->request) return node_->get().answer(*call, call->program ? call->program->files : wire::hash256{});
    node_->get().engine.submit(std::move(call));
  }
  void cancel(call_state& call) noexcept override {
    if (call.request) return refuse(call, errc::cancelled, "the wait for a value was cancelled");
    node_->get().engine.cancel(call);
  }
  void queue_came_free(const std::string& queue) noexcept override { node_->get().engine.queue_came_free(queue); }
  void items_taken(call_state& call, std::uint32_t count) noexcept override { node_->get().engine.items_taken(call, count); }
  void defer(strand_work& work) noexcept override { runtime_.defer(work); }
  const std::string& host() const noexcept override { return host_; }
  void room_came() noexcept override { node_->room_came(); }
  unsigned workers() const noexcept override { return node_->get().engine.resources().workers; }

  counted<pending> ask(node_request request) override {
    const call_ptr made = question(std::move(request));
    made->start();
    return made;
  }
  std::shared_ptr<const value_holder> find(wire::session_question q) override {
    node_request request;
    request.question = std::move(q);
    return started_and_kept(question(std::move(request)));
  }
  /// On the strand.
  local_node& node() const noexcept { return node_->get(); }
  /// As a value that is kept for who refers to it.
  std::shared_ptr<const value_holder> hold(counted<pending> value) { return call_maker::hold(std::move(value)); }
  /// A question that is not asked yet.
  call_ptr question(node_request request) {
    const char* const name = wire::name_of(static_cast<wire::session_topic>(request.question.what));
    return make_request(std::move(request), name);
  }
  /// Writes to workers so far, for those who count them. On the strand, or while no call is under way.
  std::uint64_t writes() const noexcept { return node_->get().engine.writes(); }

 private:
  runtime& runtime_;
  const std::shared_ptr<hosted_node> node_;
  const std::string host_;
};

}  // namespace rh::detail
