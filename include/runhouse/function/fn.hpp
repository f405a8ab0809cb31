// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/config.hpp>

#include <functional>
#include <utility>

namespace rh {

/// An ordinary function as a type: rh::fn<&render>. Its values are all equal; calling one calls the function.
template <auto Function>
struct fn {
  template <class... A>
  decltype(auto) operator()(A&&... arguments) const {
    return std::invoke(Function, std::forward<A>(arguments)...);
  }
};

}  // namespace rh
