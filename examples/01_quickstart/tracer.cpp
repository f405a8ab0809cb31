// SPDX-License-Identifier: Apache-2.0
#include "tracer.hpp"

#include <algorithm>
#include <bit>
#include <cstdint>

struct sampler {  // for one sample of a pixel: points of the R2 sequence, shuffled and shifted by hash
  std::uint64_t pixel, index, mask = 0, dimension = 0;
  static std::uint64_t mix(std::uint64_t a) { return a *= 0x9e3779b97f4a7c15u, (a ^ a >> 32) * 0xd6e8feb86659fd93u; }
  static float fraction(std::uint64_t bits) { return float(bits >> 40) * 0x1p-24f; }
  std::pair<float, float> next() {
    const auto shift = mix(pixel + ++dimension), k = ((index ^ shift >> 40) * (shift >> 50 | 1)) & mask;
    return {fraction(shift + k * 0xc13fa9a902a6328fu), fraction(mix(shift) + k * 0x91e10da5c79e7b1du)};
  }
  vec3 around(vec3 axis) {  // a direction, weighted by cosine
    const auto [u, v] = next();
    const float y = 1 - 2 * u, r = std::sqrt(std::max(0.0f, 1 - y * y)), turn = 6.2831853f * v;
    return unit(axis * 1.0001f + vec3{r * std::cos(turn), y, r * std::sin(turn)});
  }
};
struct tracer {
  const scene& world;
  sampler random;

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
  static vec3 sky(vec3 to) {  // dusk, and curtains of light: sharp below, fading upwards, with fine rays
    const float turn = std::atan2(to.x, -to.z), rays = std::sin(turn * 31 + 4 * std::sin(turn * 7));
    vec3 light = vec3{0.012f, 0.02f, 0.06f} + vec3{0.30f, 0.16f, 0.22f} * std::exp(-8 * to.y);
    for (float k : {0.0f, 1.0f, 2.0f}) {
      const float bend = turn * (1.7f + 0.6f * k) + 2 * k, low = 0.10f + 0.09f * k + 0.05f * std::sin(bend * 1.9f);
      const float rise = to.y - low - 0.025f * std::sin(bend * 5.3f + 1), purple = std::clamp(rise * 5, 0.0f, 1.0f);
      const float glow = std::exp(std::min(rise * 90, rise * -9)) * (1 + 0.5f * rays) * (1 + std::sin(bend));
      light = light + vec3{0.02f + 0.16f * purple, 0.21f - 0.19f * purple, 0.1f + 0.13f * purple} * glow;
    }
    return light;
  }
  vec3 lamplight(vec3 p, vec3 normal) {  // what falls on p from one lamp, picked by how much it could be
    float sum = 1e-20f, share = 1, pick = random.next().first;
    sphere lamp;
    for (const sphere& s : world.spheres) {
      if (s.surface != material::lamp) continue;
      const vec3 c = s.centre - p;
      const float gain = s.radius * s.radius * std::max(0.0f, dot(c, normal) + s.radius) * std::pow(dot(c, c), -1.5f);
      const float part = gain / (sum += gain);
      pick = pick < part ? (lamp = s, share = gain, pick / part) : (pick - part) / (1 - part);
    }
    const vec3 way = lamp.centre + random.around(unit(p - lamp.centre)) * lamp.radius - p, to = unit(way);
    const float gain = lamp.radius * lamp.radius * std::max(0.0f, dot(normal, to)) / dot(way, way) * sum / share;
    float t = std::sqrt(dot(way, way)) * 0.999f - 1e-3f;
    const sphere* between = gain > 0 ? hit(p, to, t) : nullptr;
    return between && between->surface != material::glass ? vec3{} : lamp.colour * gain;
  }
  vec3 light(vec3 from, vec3 to, int depth, bool lamps_count) {  // what comes to `from` out of direction `to`
    float t = to.y < 0 ? -from.y / to.y : 1e9f;
    const sphere* ball = hit(from, to, t);
    if (t == 1e9f || depth == 6) return sky(to);
    const auto [centre, radius, colour, surface] = ball ? *ball : sphere{{}, 1, world.floor};
    if (surface == material::lamp) return lamps_count ? colour : vec3{};
    const vec3 p = from + to * t, outward = ball ? unit(p - centre) : vec3{0, 1, 0};
    const bool inside = dot(to, outward) > 0;
    const vec3 normal = outward * (inside ? -1.0f : 1.0f);
    const float cosine = -dot(to, normal), eta = inside ? 1.5f : 1 / 1.5f;
    const float bent = std::sqrt(std::max(0.0f, 1 - eta * eta * (1 - cosine * cosine)));
    const float shine = surface == material::mirror ? 1 : 0.04f + 0.96f * std::pow(1 - (inside ? bent : cosine), 5.0f);
    const float back = depth == 0 ? shine : random.next().first < shine;  // both ways at first, then one by chance
    vec3 sum, on;
    if (back > 0) sum = light(p, to + normal * (2 * cosine), depth + 1, lamps_count) * back;
    if (back == 1) return surface == material::mirror ? sum * colour : sum;
    if (surface == material::glass) on = light(p, to * eta + normal * (eta * cosine - bent), depth + 1, lamps_count);
    else on = lamplight(p, normal) + light(p, random.around(normal), depth + 1, false);
    return sum + on * colour * (1 - back);
  }
};
scene make_scene() {
  using enum material;
  scene world;
  world.spheres = {{{0, 1.2f, 0}, 1.2f, {0.97f, 0.99f, 1}, glass},
                   {{2.9f, 1.1f, -0.9f}, 1.1f, {1, 0.78f, 0.42f}, mirror},
                   {{-2.9f, 1.1f, -0.9f}, 1.1f, {0.75f, 0.06f, 0.05f}, diffuse},
                   {{-9, 14, 6}, 2.5f, {12, 10, 8}, lamp}};
  const vec3 tints[] = {{1, 0.3f, 0.05f}, {1, 0.06f, 0.3f}, {0.06f, 0.45f, 1}, {0.1f, 1, 0.5f}, {0.5f, 0.12f, 1}};
  for (sampler random{7, 0, 1023}; random.index < 110; ++random.index, random.dimension = 0) {
    const auto [u, v] = random.next();
    const auto [kind, size] = random.next();
    const float away = 3.8f + 24 * v * v, r = 0.12f + 0.14f * size * size;
    const vec3 at{(2 * u - 1) * 0.85f * away, r, world.eye.z - away}, tint = tints[random.index % 5];
    const auto touches = [&](const sphere& s) { return dot(s.centre - at, s.centre - at) < 1.2f * s.radius * s.radius + 0.1f; };
    if (std::any_of(world.spheres.begin(), world.spheres.end(), touches)) continue;
    const material surface = kind < 0.2f ? lamp : kind < 0.4f ? mirror : kind < 0.55f ? glass : diffuse;
    world.spheres.push_back({at, r, surface == lamp ? tint * 5 : surface == diffuse ? tint * 0.7f : vec3{1, 1, 1}, surface});
  }
  return world;
}
tile render(const scene& world, int row, int samples) {
  const float wide = float(world.width) / 2, high = float(world.height) / 2, lens_radius = world.lens_radius;
  tile band{row, world.width, std::min(world.band_rows, world.height - row), {}};
  for (int i = row * world.width; i < (row + band.height) * world.width; ++i) {
    vec3 sum;
    for (unsigned k = 0; k < unsigned(samples); ++k) {
      tracer t{world, {std::uint64_t(i) << 8, k, std::bit_ceil(unsigned(samples)) - 1}};
      const auto [u, v] = t.random.next();
      const vec3 lens = t.random.around({0, 0, 1}) * vec3{lens_radius, lens_radius, 0};
      const vec3 pixel{float(i % world.width) + u - wide, high - float(i / world.width) - v, -world.zoom * high};
      const vec3 light = t.light(world.eye + lens, unit(pixel * (world.focus / world.zoom / high) - lens), 0, true);
      sum = sum + light * (1 / std::max(1.0f, dot(light, {0.02f, 0.06f, 0.01f})));  // tames rare sparks
    }
    for (float c : {sum.x, sum.y, sum.z}) band.rgb.push_back(c / float(samples));
  }
  return band;
}
image stitch(std::vector<tile> tiles) {
  std::sort(tiles.begin(), tiles.end(), [](auto& a, auto& b) { return a.row < b.row; });
  image whole = tiles.at(0);
  for (auto next = tiles.begin() + 1; next != tiles.end(); whole.height += (next++)->height)
    whole.rgb.insert(whole.rgb.end(), next->rgb.begin(), next->rgb.end());
  return whole;
}
