// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/runtime.hpp>
#include <runhouse/rpc/call_maker.hpp>
#include <runhouse/rpc/node_link.hpp>

#include <functional>
#include <memory>
#include <string>
#include <utility>

namespace rh::detail {

/// A session with a node in another process: what any thread asks of it is done on the strand.
class node_session final : public call_maker {
 public:
  /// `opened` is what `node` was reached with.
  node_session(std::shared_ptr<node_contact> way, wire::open_session opened, reached_node node, node_link::output_sink sink)
      : call_maker(std::make_shared<store_account>(node.opened.store_bytes)),
        runtime_(runtime::instance()),
        contact_(way),
        workers_(node.opened.workers),
        link_(std::make_shared<node_link>(runtime_, std::move(way), std::move(opened), std::move(node), std::move(sink))) {
    on_strand([link = link_] { link->start(); });
  }
  node_session(const node_session&) = delete;
  node_session& operator=(const node_session&) = delete;
  ~node_session() {
    on_strand([link = std::move(link_)] { link->close(); });
  }

  // What follows is called on the strand.
  void begin(call_ptr call) noexcept override { link_->begin(std::move(call)); }
  void cancel(call_state& call) noexcept override { link_->cancel(call); }
  void detach(call_state& call) noexcept override { link_->detach(call); }
  void queue_came_free(const std::string&) noexcept override {}
  void items_taken(call_state& call, std::uint32_t count) noexcept override { link_->items_taken(call, count); }

  void defer(strand_work& work) noexcept override { runtime_.defer(work); }
  const std::string& host() const noexcept override { return contact_->name(); }
  bool is_far() const noexcept override { return !contact_->is_same_machine(); }
  std::string reached_by() const override { return contact_->reached_by(); }
  unsigned workers() const noexcept override { return workers_; }
  std::size_t map_window() const noexcept override { return is_far() ? limits::far_map_window : call_maker::map_window(); }
  void room_came() noexcept override {}

  std::shared_ptr<const value_holder> put(wire::shared_payload value) override {
    node_request request;
    request.what = node_request::kind::put;
    const call_ptr made = make_request(std::move(request), "put");
    made->head.keeps_result = true;
    made->arguments.emplace_back(std::move(value));
    return started_and_kept(made);
  }
  counted<pending> fetch(std::shared_ptr<const value_holder> value, receiver_maker receiver) override {
    const char* const name = value->value()->maker()->function_name;
    node_request request;
    request.what = node_request::kind::fetch;
    request.of = std::move(value);
    const call_ptr made = make_request(std::move(request), name);
    made->receiver = receiver;
    return started(made);
  }
  counted<pending> ask(node_request request) override {
    const char* const name = wire::name_of(static_cast<wire::session_topic>(request.question.what));
    return started(make_request(std::move(request), name));
  }
  std::shared_ptr<const value_holder> find(wire::session_question question) override {
    node_request request;
    request.what = node_request::kind::question;
    request.question = std::move(question);
    return started_and_kept(make_request(std::move(request), "get"));
  }
  /// Whether the call that makes it goes on is for the node to say, where the value may have a name.
  void dropped(pending& value, bool) noexcept override {
    on_strand([link = link_, id = value.maker()->id] { link->release(id); });
  }
  /// Its node has ended, or could not be reached for too long. Any thread.
  bool has_ended() const noexcept { return link_->has_ended(); }
  /// Any thread. The observer is called on the strand.
  void observe(node_link::observer o) {
    on_strand([link = link_, o = std::move(o)]() mutable { link->observe(std::move(o)); });
  }

 private:
  template <class F>
  void on_strand(F what) noexcept {
    struct once final : strand_work {
      explicit once(F&& f) : run_it(std::move(f)) {}
      void run() noexcept override {
        run_it();
        delete this;
      }
      F run_it;
    };
    runtime_.defer(*new once(std::move(what)));
  }
  static counted<pending> started(const call_ptr& made) {
    made->start();
    return made;
  }
  call_argument sent_once(call_argument argument) override {
    constexpr std::uint64_t worth_it_bytes = 1024;
    if (!argument.bytes() || argument.bytes()->size_bytes() < worth_it_bytes) return argument;
    return call_argument(put(argument.bytes()));
  }

  runtime& runtime_;
  const std::shared_ptr<node_contact> contact_;
  const unsigned workers_;
  std::shared_ptr<node_link> link_;
};

}  // namespace rh::detail
