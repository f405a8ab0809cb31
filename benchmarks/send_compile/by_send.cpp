// SPDX-License-Identifier: Apache-2.0

// What a user writes to call the twenty functions elsewhere, with runhouse.

#include "functions.hpp"

#include <runhouse/send.hpp>

#include <cereal/types/utility.hpp>

// g++ 12 cannot compile a braced array in a coroutine.
static mesh make_plate() {
  return {"plate", {{0, 0}, {1, 0}, {0, 1}}, {0, 1, 2}};
}
static settings make_settings() {
  return {10, 1e-6, false, "run"};
}

rh::task<double> call_all(rh::cluster gpu) {
  const mesh plate = make_plate();
  const settings with = make_settings();
  double sum = 0;

  sum += co_await gpu.send<&plus_one>()(1);
  sum += co_await gpu.send<&scale>()(1.5, 2.0);
  sum += static_cast<double>(co_await gpu.send<&add_up>()(std::vector<std::int64_t>(3, 1)));
  const std::string greeting = co_await gpu.send<&greet>()("Ada");
  const std::string twice = co_await gpu.send<&repeat>()(greeting, 2);
  sum += co_await gpu.send<&contains>()(std::vector<std::string>(1, twice), greeting);
  const std::vector<float> floats = co_await gpu.send<&doubled>()(std::vector<float>(2, 1));
  const std::vector<double> line = co_await gpu.send<&linspace>()(0.0, 1.0, 11);
  const point center = co_await gpu.send<&middle>()(plate.points[0], plate.points[1]);
  sum += co_await gpu.send<&area>()(plate);
  const mesh fine = co_await gpu.send<&refine>()(plate, 2);
  const mesh moved = co_await gpu.send<&translate>()(fine, center);
  const std::vector<point> corners = co_await gpu.send<&vertices>()(moved, true);
  const settings plain = co_await gpu.send<&defaults>()("plain");
  sum += co_await gpu.send<&solve>()(moved, plain);
  const std::vector<double> all = co_await gpu.send<&solve_all>()(std::vector<mesh>(2, fine), with);
  const std::pair<int, double> ends = co_await gpu.send<&extremes>()(line, 1);
  sum += static_cast<double>(
      co_await gpu.send<&hash_of>()(std::vector<std::uint8_t>(3, std::uint8_t{1}), std::uint64_t{7}));
  co_await gpu.send<&note>()("done", 1);
  const std::vector<std::string> words = co_await gpu.send<&split>()("a b c", ' ', 3);

  co_return sum + ends.second + static_cast<double>(floats.size() + corners.size() + all.size() + words.size());
}
