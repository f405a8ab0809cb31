// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: a type in the value cannot be serialized; give it a serialize()
// lines: 15
#include <runhouse/send.hpp>

struct engine {
  int power;
};
struct car {
  engine motor;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(motor);
  }
};
int power(const car& c) { return c.motor.power; }

void program(rh::cluster there) {
  auto power_there = there.send<&power>();
  auto call = power_there(car{});
}
