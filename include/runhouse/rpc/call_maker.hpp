// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/function/pretty_name.hpp>
#include <runhouse/function/program_objects.hpp>
#include <runhouse/rpc/call_state.hpp>
#include <runhouse/rpc/fetched_value.hpp>
#include <runhouse/rpc/generated_items.hpp>
#include <runhouse/rpc/kept_value.hpp>
#include <runhouse/rpc/mapped_calls.hpp>
#include <runhouse/rpc/session.hpp>

#include <memory>
#include <utility>
#include <vector>

namespace rh::detail {

/// What every session does the same way: makes calls from functions and arguments.
class call_maker : public session, public call_runner, public std::enable_shared_from_this<call_maker> {
 public:
  counted<pending> call(const function_entry& function, call_arguments arguments, const call_options& options) final {
    const call_ptr made = make(function, std::move(arguments), options);
    made->start();
    return made;
  }
  counted<streaming> generate(const function_entry& function, call_arguments arguments, const call_options& options) final {
    const counted<generated_items> items(new generated_items(make(function, std::move(arguments), options)));
    items->start();
    return items;
  }
  counted<streaming> map(const function_entry& function, argument_columns arguments, const call_options& options,
                         map_results how) final {
    static_cast<void>(place_of(function));
    arguments.for_each_value([&](const value_holder& held) { check_place(function, held); });
    if (arguments.size() > 1) arguments.for_each_broadcast([this](call_argument& a) { a = sent_once(std::move(a)); });
    const counted<mapped_calls> all(
        new mapped_calls(shared_from_this(), function, std::move(arguments), options, how,
                         how == map_results::all ? map_window() : std::min(map_window(), limits::map_window)));
    all->start();
    return all;
  }

  std::shared_ptr<const value_holder> keep(const function_entry& function, call_arguments arguments,
                                           const call_options& options) final {
    const call_ptr made = make(function, std::move(arguments), options);
    made->head.keeps_result = true;
    return started_and_kept(made);
  }
  std::shared_ptr<const value_holder> put(wire::shared_payload value) override {
    const std::uint64_t bytes = value->size_bytes();
    if (!store().take(bytes))
      fail(errc::store_full, "put of " + std::to_string(bytes) + " bytes: " + store_is_full(*this));
    return hold(counted<put_value>(new put_value(std::move(value), shared_from_this())));
  }
  counted<pending> fetch(std::shared_ptr<const value_holder> value, receiver_maker) override {
    const counted<fetched_value> fetched(new fetched_value(std::move(value)));
    fetched->start();
    return fetched;
  }

 protected:
  using session::session;
  ~call_maker() = default;

  std::shared_ptr<const value_holder> started_and_kept(const call_ptr& made) {
    const counted<kept_result> kept(new kept_result(made));
    made->start();
    kept->start();
    return hold(kept);
  }
  /// How many calls of a map are made at a time, so that all workers have enough.
  virtual std::size_t map_window() const noexcept { return std::max<std::size_t>(limits::map_window, 4 * limits::prefetch_calls * workers()); }
  /// What stands for an argument that many calls take.
  virtual call_argument sent_once(call_argument argument) { return argument; }
  std::shared_ptr<const value_holder> hold(counted<pending> value) {
    return std::make_shared<value_holder>(std::move(value), shared_from_this(), counts());
  }
  /// `name` is what messages call it.
  call_ptr make_request(node_request request, const char* name) {
    const call_ptr made(new call_state(shared_from_this(), name));
    made->request = std::make_unique<const node_request>(std::move(request));
    return made;
  }
  void check_place(const function_entry& function, const value_holder& held) const {
    if (held.where() == this) return;
    fail(errc::ref_elsewhere, pretty_name(function.name) + " on " + host() + " was given a ref to a value on " +
                                  held.where()->host() +
                                  ", another cluster; co_await the ref first, and pass the value");
  }
  call_ptr make(const function_entry& function, call_arguments arguments, const call_options& options) final {
    const call_ptr made(new call_state(shared_from_this(), function.name));
    made->head.function = place_of(function);
    made->head.signature = function.signature;
    made->head.parameters.reserve(arguments.size());
    for (const call_argument& argument : arguments) {
      if (argument.bytes()) made->head.parameters.push_back(wire::shape_of(*argument.bytes()));
      for (const auto& held : argument.values()) check_place(function, *held);
    }
    made->arguments = std::move(arguments);
    made->retries_left = options.retries;
    made->receiver = options.receiver;
    if (options.is_queued) made->queue = options.queue;
    made->needs = options.needs;
    return made;
  }
};

}  // namespace rh::detail
