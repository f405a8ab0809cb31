// SPDX-License-Identifier: Apache-2.0
#include "checks.hpp"

#include <runhouse/send.hpp>

// The same names are in b.cpp, and mean something else there.
static int named_alike(int a) {
  return a + 1;
}
namespace {
int hidden_alike(int a) {
  return a + 10;
}
struct object_alike {
  int by = 0;
  int operator()(int a) const { return a + by; }
  template <class Archive>
  void serialize(Archive& ar) {
    ar(by);
  }
};
}  // namespace
static const auto lambda_alike = [](int a) { return a + 100; };

// The same instructions, twice: a linker that folds them must not fold what calls them.
int folded_one(int a) {
  return a ^ 0x55;
}
int folded_two(int a) {
  return a ^ 0x55;
}
unsigned folded_three(unsigned a) {
  return a ^ 0x55;
}

int overloaded(int a) {
  return a;
}
double overloaded(double a) {
  return a / 2;
}

struct tool {
  static std::string name(const std::string& of) { return "tool of " + of; }
  template <int N>
  static int times(int a) {
    return N * a;
  }
};

void check_a(const rh::cluster& there) {
  EQUAL(there.send<&named_alike>()(1).get(), 2);
  EQUAL(there.send<&hidden_alike>()(1).get(), 11);
  EQUAL(rh::send(lambda_alike, there)(1).get(), 101);
  EQUAL(rh::send(object_alike{1000}, there)(1).get(), 1001);
  EQUAL(rh::send([](int a) { return a + 7; }, there)(1).get(), 8);
  EQUAL(rh::send([](int a) { return a + 8; }, there)(1).get(), 9);
  EQUAL(there.send<[](int a) { return a + 9; }>()(1).get(), 10);
  EQUAL(there.send<&folded_one>()(1).get(), 0x54);
  EQUAL(there.send<&folded_two>()(1).get(), 0x54);
  EQUAL(there.send<&folded_three>()(1).get(), 0x54u);
  EQUAL(there.send<static_cast<int (*)(int)>(&overloaded)>()(3).get(), 3);
  EQUAL(there.send<static_cast<double (*)(double)>(&overloaded)>()(3).get(), 1.5);
  EQUAL(there.send<&tool::name>()("a").get(), "tool of a");
  EQUAL(there.send<&tool::times<5>>()(2).get(), 10);
  EQUAL(there.send<&thrice>()(2).get(), 6);
  EQUAL(there.send<&twice<std::string>>()("ab").get(), "abab");
}
