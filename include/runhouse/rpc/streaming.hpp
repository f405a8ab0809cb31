// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/rpc/pending.hpp>

#include <cstddef>

namespace rh::detail {

/// What the results of map are wanted as.
enum class map_results {
  all,        ///< when all have ended, by index
  one_by_one  ///< each when it has ended; what is not taken holds further calls back
};

/// What comes next of several things, once it is there: result(0, ...) is it. After the last one comes an empty one.
class streamed_element : public pending {
 public:
  /// Which of them it is. Precondition: has_ended(), and is not empty.
  virtual std::size_t index() const noexcept = 0;
  virtual bool is_empty() const noexcept = 0;
};

/// What gives several things, one by one, and ends when all are there: for instance many calls of one function.
class streaming : public pending {
 public:
  /// The next of them. Not if it was made to give all its results at the end.
  virtual counted<streamed_element> next() = 0;
};

}  // namespace rh::detail
