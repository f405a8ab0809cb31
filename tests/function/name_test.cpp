// SPDX-License-Identifier: Apache-2.0
#include <runhouse/function/fn.hpp>
#include <runhouse/function/pretty_name.hpp>

#include "support/catch.hpp"

#include <string>
#include <typeinfo>
#include <vector>

using rh::detail::is_stable_name;
using rh::detail::pretty_name;

// The functions are only named.
namespace {
double half(double a) {
  return a / 2;
}
double none() {
  return 1;
}
template <class T>
T anonymous_twice(T a) {
  return a + a;
}
struct hidden_tool {
  double operator()(double a) const { return a; }
};
}  // namespace
static double file_half(double a) {
  return a / 2;
}

namespace name_test {
namespace Ultra {
int Ul(int a) {
  return a;
}
[[maybe_unused]] static int UlvE(int a) {
  return a;
}
namespace {
int deep(std::vector<std::string>) {
  return 1;
}
}  // namespace
enum class colour { red };
template <colour C>
int paint(int a) {
  return a;
}
struct world {
  static int step(int a) { return a; }
  template <class T>
  static T go(T a) {
    return a;
  }
  int operator()(int a) const { return a; }
};
}  // namespace Ultra
int over(int a) {
  return a;
}
double over(double a) {
  return a;
}
template <class T>
T twice(T a) {
  return a + a;
}
template <int N>
std::vector<int> many(int) {
  return {};
}
template <class T>
struct box {
  static T same(T a) { return a; }
};
inline int quiet(int a) noexcept {
  return a;
}
template <class T>
decltype(auto) deduced(T a) {
  return a;
}
struct vector2 {
  int x;
};
int operator<(vector2 a, vector2 b) {
  return a.x - b.x;
}
}  // namespace name_test

using namespace name_test;

template <class T>
static std::string name_of() {
  return pretty_name(typeid(T).name());
}
template <class T>
static bool is_stable() {
  return is_stable_name(typeid(T).name());
}

TEST_CASE("a function's name for people is as it would be written", "[function][pretty_name]") {
  CHECK(name_of<rh::fn<&half>>() == "(anonymous namespace)::half");
  CHECK(name_of<rh::fn<&none>>() == "(anonymous namespace)::none");
  CHECK(name_of<rh::fn<&anonymous_twice<int>>>() == "(anonymous namespace)::anonymous_twice<int>");
  CHECK(name_of<rh::fn<&file_half>>() == "file_half");
  CHECK(name_of<rh::fn<&Ultra::Ul>>() == "name_test::Ultra::Ul");
  CHECK(name_of<rh::fn<&Ultra::deep>>() == "name_test::Ultra::(anonymous namespace)::deep");
  CHECK(name_of<rh::fn<&Ultra::paint<Ultra::colour::red>>>() == "name_test::Ultra::paint<(name_test::Ultra::colour)0>");
  CHECK(name_of<rh::fn<&Ultra::world::step>>() == "name_test::Ultra::world::step");
  CHECK(name_of<rh::fn<&Ultra::world::go<int>>>() == "name_test::Ultra::world::go<int>");
  CHECK(name_of<rh::fn<static_cast<int (*)(int)>(&over)>>() == "name_test::over");
  CHECK(name_of<rh::fn<&twice<std::string>>>() == "name_test::twice<std::string>");
  CHECK(name_of<rh::fn<&box<std::vector<std::string>>::same>>() == "name_test::box<std::vector<std::string>>::same");
  CHECK(name_of<rh::fn<&many<3>>>() == "name_test::many<3>");
  CHECK(name_of<rh::fn<&box<int>::same>>() == "name_test::box<int>::same");
  CHECK(name_of<rh::fn<&quiet>>() == "name_test::quiet");
  CHECK(name_of<rh::fn<&deduced<int>>>() == "name_test::deduced<int>");
  CHECK(name_of<rh::fn<static_cast<int (*)(vector2, vector2)>(&name_test::operator<)>>() == "name_test::operator<");
  CHECK(name_of<Ultra::world>() == "name_test::Ultra::world");
}

static std::string first_lambda() {
  const auto lambda = [](int a) { return a; };
  return name_of<decltype(lambda)>();
}

TEST_CASE("a lambda's name for people tells the function that it is in", "[function][pretty_name]") {
  CHECK(first_lambda().starts_with("first_lambda::{lambda"));
  CHECK(name_of<rh::fn<[](int a) { return a; }>>().find("{lambda") != std::string::npos);
  CHECK(pretty_name("Z7programN2rh7clusterEE3$_1") == "program::{lambda#2}");  // clang's
  CHECK(pretty_name("Z4mainEUliE_") == "main::{lambda}");                      // g++'s
}

TEST_CASE("what is no mangled name is shown as it is", "[function][pretty_name]") {
  CHECK(pretty_name("not a name") == "not a name");
  CHECK(pretty_name("") == "");
}

TEST_CASE("only names with external linkage are stable", "[function][pretty_name]") {
  CHECK(is_stable<rh::fn<&Ultra::Ul>>());
  CHECK(is_stable<rh::fn<&Ultra::paint<Ultra::colour::red>>>());
  CHECK(is_stable<rh::fn<&Ultra::world::go<int>>>());
  CHECK(is_stable<rh::fn<static_cast<double (*)(double)>(&over)>>());
  CHECK(is_stable<rh::fn<&box<int>::same>>());
  CHECK(is_stable<rh::fn<&quiet>>());
  CHECK(is_stable<Ultra::world>());

  CHECK_FALSE(is_stable<rh::fn<&half>>());
  CHECK_FALSE(is_stable<rh::fn<&anonymous_twice<int>>>());
  CHECK_FALSE(is_stable<rh::fn<&file_half>>());
  CHECK_FALSE(is_stable<rh::fn<&Ultra::UlvE>>());
  CHECK_FALSE(is_stable<rh::fn<&Ultra::deep>>());
  CHECK_FALSE(is_stable<rh::fn<&box<hidden_tool>::same>>());
  CHECK_FALSE(is_stable<hidden_tool>());
  CHECK_FALSE(is_stable<rh::fn<[](int a) { return a; }>>());
  struct local {};
  CHECK_FALSE(is_stable<local>());
  CHECK_FALSE(is_stable<rh::fn<&box<decltype([] {})>::same>>());
  CHECK_FALSE(is_stable_name("NL6lambdaMUliE_E"));  // of a lambda that initialises a static
}
