// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/function/program_objects.hpp>
#include <runhouse/rpc/call_state.hpp>
#include <runhouse/rpc/gathered_calls.hpp>
#include <runhouse/rpc/session.hpp>

#include <memory>
#include <utility>
#include <vector>

namespace rh::detail {

/// What every session does the same way: makes calls from functions and arguments.
class call_maker : public session, public call_runner, public std::enable_shared_from_this<call_maker> {
 public:
  counted<pending> call(const function_entry& function, call_arguments arguments) final {
    const call_ptr made = make(function, std::move(arguments));
    made->start();
    return made;
  }
  counted<pending> call_each(const function_entry& function, std::vector<call_arguments> rows) final {
    std::vector<call_ptr> calls;
    calls.reserve(rows.size());
    for (call_arguments& row : rows) calls.push_back(make(function, std::move(row)));
    const counted<gathered_calls> all(new gathered_calls(std::move(calls)));
    for (const call_ptr& c : all->calls()) c->start();
    all->start();
    return all;
  }

 protected:
  ~call_maker() = default;

 private:
  call_ptr make(const function_entry& function, call_arguments arguments) {
    const call_ptr made(new call_state(shared_from_this(), function.name));
    made->head.function = place_of(function);
    made->head.signature = function.signature;
    made->head.parameters.reserve(arguments.size());
    for (const wire::shared_payload& argument : arguments) made->head.parameters.push_back(wire::shape_of(*argument));
    made->arguments = std::move(arguments);
    return made;
  }
};

}  // namespace rh::detail
