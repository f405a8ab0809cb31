// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: an rh::ref inside another value cannot be sent; pass it as an argument of its own
// lines: 14
#include <runhouse/send.hpp>

struct job {
  rh::ref<int> input;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(input);
  }
};

void program(rh::cluster there, const job& j) { auto put = there.put(j); }
