// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: the result cannot be serialized; give its type a serialize() and a default constructor
#include <runhouse/send.hpp>

struct measurement {
  double value;
};
measurement measure(int channel) { return {1.0 * channel}; }

void program(rh::cluster there) {
  auto measure_there = there.send<&measure>();
  auto call = measure_there(3);
}
