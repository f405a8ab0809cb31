// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

// Twenty functions as a program has them, all of different signatures. Their bodies are elsewhere: what is compiled
// is the sending of them.

struct point {
  double x = 0;
  double y = 0;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(x, y);
  }
};

struct mesh {
  std::string name;
  std::vector<point> points;
  std::vector<int> triangles;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(name, points, triangles);
  }
};

struct settings {
  int steps = 0;
  double tolerance = 0;
  bool verbose = false;
  std::string label;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(steps, tolerance, verbose, label);
  }
};

int plus_one(int x);
double scale(double x, double factor);
std::int64_t add_up(const std::vector<std::int64_t>& values);
std::string greet(const std::string& name);
std::string repeat(const std::string& text, int times);
bool contains(const std::vector<std::string>& texts, const std::string& text);
std::vector<float> doubled(std::vector<float> values);
std::vector<double> linspace(double first, double last, int count);
point middle(point a, point b);
double area(const mesh& of);
mesh refine(mesh coarse, int levels);
mesh translate(mesh m, point by);
std::vector<point> vertices(const mesh& m, bool unique);
settings defaults(const std::string& label);
double solve(const mesh& on, const settings& with);
std::vector<double> solve_all(const std::vector<mesh>& on, const settings& with);
std::pair<int, double> extremes(const std::vector<double>& values, int from);
std::uint64_t hash_of(std::vector<std::uint8_t> bytes, std::uint64_t seed);
void note(const std::string& text, int level);
std::vector<std::string> split(const std::string& text, char at, int at_most);
