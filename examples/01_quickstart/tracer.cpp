// SPDX-License-Identifier: Apache-2.0
#include "tracer.hpp"

#include <algorithm>
#include <cstdint>

struct tracer {
  const scene& world;
  std::uint64_t seed;
  float random() { return seed += 0x9e3779b97f4a7c15, float((seed ^ seed >> 32) * 0xd6e8feb86659fd93 >> 40) / 0x1p24f; }
  vec3 around(vec3 axis) {  // a direction, weighted by cosine
    const float y = 2 * random() - 1, r = std::sqrt(std::max(0.0f, 1 - y * y)), turn = 6.2831853f * random();
    return unit(axis * 1.0001f + vec3{r * std::cos(turn), y, r * std::sin(turn)});
  }
  const sphere* hit(vec3 from, vec3 to, float& t) const {  // the nearest before t, which becomes its distance
    const sphere* nearest = nullptr;
    for (const sphere& s : world.spheres) {
      const vec3 c = s.centre - from;
      const float middle = dot(c, to), d = middle * middle - dot(c, c) + s.radius * s.radius;
      if (d <= 0) continue;
      const float half = std::sqrt(d), at = middle + (middle > half + 1e-3f ? -half : half);
      if (at > 1e-3f && at < t) nearest = &s, t = at;
    }
    return nearest;
  }
  static vec3 sky(vec3 to) {  // afterglow, and curtains of light: sharp below, fading upwards, with fine rays
    const float turn = std::atan2(to.x, -to.z), rays = 1 + 0.5f * std::sin(turn * 31 + 4 * std::sin(turn * 7));
    vec3 light = vec3{0.008f, 0.014f, 0.05f} + vec3{0.38f, 0.14f, 0.08f} * std::exp(-24 * to.y);
    for (float k : {0.0f, 1.0f, 2.0f}) {
      const float bend = turn * (1.7f + 0.6f * k) + 2 * k, low = 0.10f + 0.09f * k + 0.05f * std::sin(bend * 1.9f);
      const float rise = to.y - low - 0.025f * std::sin(bend * 5.3f + 1), purple = std::clamp(rise * 5, 0.0f, 1.0f);
      const float glow = std::exp(std::min(rise * 90, rise * -11)) * rays * (1 + std::sin(bend));
      light = light + vec3{0.01f + 0.14f * purple, 0.20f - 0.19f * purple, 0.08f + 0.10f * purple} * glow;
    }
    return light;
  }
  vec3 lamplight(vec3 p, vec3 normal) {  // what falls on p from one lamp, picked by how much it could be
    float sum = 1e-20f, share = 1;
    sphere lamp;
    for (const sphere& s : world.spheres) {
      if (s.surface != material::lamp) continue;
      const vec3 c = s.centre - p;
      const float d = dot(c, c), r = s.radius, gain = r * r * std::max(0.0f, dot(c, normal) + r) / (d * std::sqrt(d));
      if (random() * (sum += gain) < gain) lamp = s, share = gain;
    }
    const vec3 way = lamp.centre + around(unit(p - lamp.centre)) * lamp.radius - p, to = unit(way);
    const float gain = lamp.radius * lamp.radius * std::max(0.0f, dot(normal, to)) / dot(way, way) * sum / share;
    float t = std::sqrt(dot(way, way)) * 0.999f - 1e-3f;
    const sphere* between = gain > 0 ? hit(p, to, t) : nullptr;
    return between && between->surface != material::glass ? vec3{} : lamp.colour * gain;
  }
  vec3 light(vec3 from, vec3 to, int depth, bool lamps_count) {  // what comes to `from` out of direction `to`
    float t = to.y < 0 ? -from.y / to.y : 1e9f;
    const sphere* ball = hit(from, to, t);
    if (t == 1e9f) return sky(to);
    const auto [centre, radius, colour, surface] = ball ? *ball : sphere{{}, 1, world.floor};
    if (surface == material::lamp || depth == 5) return lamps_count && depth < 5 ? colour : vec3{};
    const vec3 p = from + to * t, outward = ball ? unit(p - centre) : vec3{0, 1, 0};
    const float across = dot(to, outward), cosine = std::abs(across), eta = across > 0 ? 1.5f : 1 / 1.5f;
    const float bent = std::sqrt(std::max(0.0f, 1 - eta * eta * (1 - cosine * cosine)));
    const float shine = surface == material::mirror ? 1 : 0.04f + 0.96f * std::pow(1 - std::min(bent, cosine), 5.0f);
    const float odds = shine / (shine + (1 - shine) * dot(colour, {0.1f, 0.1f, 0.1f})), chance = depth ? random() : 2;
    const float back = chance > 1 ? shine : chance < odds ? shine / odds : 0;  // follows both ways at first, then one
    const float on = chance > 1 ? 1 - shine : chance < odds ? 0 : (1 - shine) / (1 - odds);
    vec3 sum, normal = outward * (across > 0 ? -1.0f : 1.0f), onward = to * eta + normal * (eta * cosine - bent);
    if (back > 0) sum = light(p, to + normal * (2 * cosine), depth + 1, lamps_count) * back;
    if (on == 0) return surface == material::mirror ? sum * colour : sum;
    if (surface == material::diffuse) sum = sum + lamplight(p, normal) * colour * on, onward = around(normal);
    return sum + light(p, onward, depth + 1, lamps_count && surface == material::glass) * colour * on;
  }
};
scene make_scene() {
  using enum material;
  scene world;
  world.spheres = {{{0, 1.2f, 0}, 1.2f, {0.97f, 0.99f, 1}, glass},
                   {{2.9f, 1.1f, -0.9f}, 1.1f, {1, 0.78f, 0.42f}, mirror},
                   {{-2.9f, 1.1f, -0.9f}, 1.1f, {0.75f, 0.06f, 0.05f}, diffuse},
                   {{-9, 14, 6}, 4, {4.5f, 4, 3.5f}, lamp}};
  const vec3 tint[] = {{1, 0.3f, 0.05f}, {1, 0.05f, 0.3f}, {0.05f, 0.4f, 1}, {0.05f, 1, 0.4f}, {0.5f, 0.1f, 1}};
  tracer dice{world, 4};
  for (int i = 0; i < 110; ++i) {
    const float z = -4 - 24 * dice.random(), x = (1.7f * dice.random() - 0.85f) * z, r = 0.12f + 0.16f * dice.random();
    const auto surface = material(int(5 * dice.random()) % 4);
    const vec3 at{x, r, world.eye.z + z}, hue = tint[i % 5], colour[] = {hue * 0.7f, {1, 1, 1}, {1, 1, 1}, hue * 3};
    const auto touches = [&](auto& s) { return dot(s.centre - at, s.centre - at) < (s.radius + r) * (s.radius + r); };
    if (std::ranges::none_of(world.spheres, touches)) world.spheres.push_back({at, r, colour[int(surface)], surface});
  }
  return world;
}
tile render(const scene& world, int row, int samples) {
  tile band{row, world.width, std::min(world.band_rows, world.height - row), {}};
  const float wide = float(world.width) / 2, high = float(world.height) / 2, r = world.lens_radius;
  for (int i = row * world.width; i < (row + band.height) * world.width; ++i) {
    tracer t{world, std::uint64_t(i) * 0xd6e8feb86659fd93u};
    vec3 sum;
    for (int k = 0; k < samples; ++k) {
      const float x = float(i % world.width) + t.random() - wide, y = high - float(i / world.width) - t.random();
      const vec3 lens = t.around({0, 0, 1}) * vec3{r, r, 0}, pixel{x / high, y / high, -world.zoom};
      sum = sum + t.light(world.eye + lens, unit(pixel * (world.focus / world.zoom) - lens), 0, true);
    }
    for (float c : {sum.x, sum.y, sum.z}) band.rgb.push_back(c / float(samples));
  }
  return band;
}
image stitch(std::vector<tile> tiles) {
  std::ranges::sort(tiles, {}, &tile::row);
  image whole{0, tiles.at(0).width, 0, {}};
  for (const tile& t : tiles) whole.height += t.height, whole.rgb.insert(whole.rgb.end(), t.rgb.begin(), t.rgb.end());
  return whole;
}
