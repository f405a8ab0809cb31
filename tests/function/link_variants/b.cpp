// SPDX-License-Identifier: Apache-2.0
#include "checks.hpp"

#include <runhouse/send.hpp>

static int named_alike(int a) {
  return a + 2;
}
namespace {
int hidden_alike(int a) {
  return a + 20;
}
struct object_alike {
  int by = 0;
  int operator()(int a) const { return a - by; }
  template <class Archive>
  void serialize(Archive& ar) {
    ar(by);
  }
};
}  // namespace
static const auto lambda_alike = [](int a) { return a + 200; };

void check_b(const rh::cluster& there) {
  EQUAL(there.send<&named_alike>()(1).get(), 3);
  EQUAL(there.send<&hidden_alike>()(1).get(), 21);
  EQUAL(rh::send(lambda_alike, there)(1).get(), 201);
  EQUAL(rh::send(object_alike{1000}, there)(1).get(), -999);
  EQUAL(there.send<&thrice>()(3).get(), 9);
  EQUAL(there.send<&twice<std::string>>()("b").get(), "bb");
}
