// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: long double is not the same on all machines; convert it to double
// lines: 15
#include <runhouse/send.hpp>

struct precise {
  long double value;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(value);
  }
};
double rounded(const precise& p) { return static_cast<double>(p.value); }

void program(rh::cluster there) {
  auto rounded_there = there.send<&rounded>();
  auto call = rounded_there(precise{1});
}
