// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cmath>
#include <vector>
/// A small path tracer, which knows nothing of runhouse. cereal's `serialize` is all its types need to travel.
struct vec3 {
  float x = 0, y = 0, z = 0;
  friend vec3 operator+(vec3 a, vec3 b) { return {a.x + b.x, a.y + b.y, a.z + b.z}; }
  friend vec3 operator-(vec3 a, vec3 b) { return {a.x - b.x, a.y - b.y, a.z - b.z}; }
  friend vec3 operator*(vec3 a, vec3 b) { return {a.x * b.x, a.y * b.y, a.z * b.z}; }
  friend vec3 operator*(vec3 a, float s) { return {a.x * s, a.y * s, a.z * s}; }
  friend float dot(vec3 a, vec3 b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
  friend vec3 unit(vec3 a) { return a * (1 / std::sqrt(dot(a, a))); }
  void serialize(auto& archive) { archive(x, y, z); }
};
enum class material { diffuse, mirror, glass, lamp };
struct sphere {
  vec3 centre;
  float radius = 0;
  vec3 colour;  // of a lamp: the light it sends out
  material surface = material::diffuse;
  void serialize(auto& archive) { archive(centre, radius, colour, surface); }
};
struct scene {  // spheres on a wet floor, y = 0, under northern lights, seen from `eye` along -z
  int width = 960, height = 540, band_rows = 12;
  vec3 eye{0, 1.5f, 9}, floor{0.05f, 0.055f, 0.07f};
  float zoom = 2.2f, lens_radius = 0.07f, focus = 8.2f;
  std::vector<sphere> spheres;
  void serialize(auto& archive) { archive(width, height, band_rows, eye, floor, zoom, lens_radius, focus, spheres); }
};
struct image {  // a band of rows that begins at `row`, or all of them: linear light, three floats a pixel
  int row = 0, width = 0, height = 0;
  std::vector<float> rgb;
  void serialize(auto& archive) { archive(row, width, height, rgb); }
};
using tile = image;
scene make_scene();
tile render(const scene& world, int row, int samples);  // the same pixels in whatever process it runs
image stitch(std::vector<tile> tiles);                  // in whatever order they come
