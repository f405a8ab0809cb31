// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: a parameter cannot be serialized; give its type a serialize() and a default constructor
#include <runhouse/send.hpp>

struct shape {
  virtual ~shape() = default;
  virtual double area() const = 0;
};
double area(const shape& s) { return s.area(); }

void program(rh::cluster there) { auto area_there = there.send<&area>(); }
