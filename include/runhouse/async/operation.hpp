// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/config.hpp>

#include <tuple>
#include <utility>

namespace rh::detail {

/// What a function returns to be awaited: the arguments of an awaiter that is only made by co_await, because an awaiter
/// that others point to cannot be moved.
template <class Awaiter, class... Args>
class [[nodiscard("this does nothing until it is awaited")]] operation {
 public:
  using queue_aware = void;
  explicit operation(Args... args) : args_(std::forward<Args>(args)...) {}
  Awaiter operator co_await() && { return std::make_from_tuple<Awaiter>(std::move(args_)); }

 private:
  std::tuple<Args...> args_;
};

}  // namespace rh::detail
