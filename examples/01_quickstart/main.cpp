// SPDX-License-Identifier: Apache-2.0
//
//   ./dev run [--cluster NAME] [--break] [SAMPLES [FILE]]
//
// Renders a picture in bands of rows, spread over the workers of a cluster. The bands stay there, and are stitched there;
// only the picture comes home. Prints what that gained:
//
//   2 workers: 4.08 s
//   1 worker:  7.92 s, so 2 are 1.94 times as fast
//   wrote quickstart.png, 960 x 540, 16 samples a pixel
//
// With --break one worker crashes on purpose, and one band is rendered again.

#include <runhouse/runhouse.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <string>
#include <string_view>
#include <unistd.h>
#include <utility>
#include <vector>

#include "png.hpp"
#include "tracer.hpp"

using bands = std::vector<rh::ref<tile>>;  // the bands themselves are where they were rendered

tile render_and_crash(const scene&, int row, int) {
  std::printf("rendering row %d through a cracked lens\n", row);
  std::raise(SIGSEGV);
  return {};
}

// A line that counts up while the bands are rendered; only where somebody looks at it.
rh::task<> show(bands all) {
  if (isatty(STDERR_FILENO) == 0) co_return;
  for (std::size_t ready = 0; ready < all.size();) {
    ready = static_cast<std::size_t>(std::ranges::count_if(all, &rh::ref<tile>::is_ready));
    std::fprintf(stderr, "\r%zu of %zu bands", ready, all.size());
    co_await rh::sleep_for(std::chrono::milliseconds(100));
  }
  std::fputs("\r\033[K", stderr);
}

// The whole picture, and the seconds that it took.
rh::task<std::pair<image, double>> picture(rh::cluster machine, scene world, int samples, bool breaks) {
  auto render_there = machine.send<&render>();
  auto stitch_there = machine.send<&stitch>();
  std::vector<int> rows;
  for (int row = 0; row < world.height; row += world.band_rows) rows.push_back(row);
  const auto start = std::chrono::steady_clock::now();

  bands all = render_there.map_remote(world, rh::each(rows), samples);  // the world goes to every call, each row to one
  if (breaks) all[3] = machine.send<&render_and_crash>().remote(world, rows[3], samples);

  auto whole = stitch_there(all);  // begins when the last band is there
  auto line = show(all);
  co_await std::move(line);
  image result;
  try {
    result = co_await whole;
  } catch (const rh::error& e) {
    if (!breaks) throw;
    std::printf("as asked for, this went wrong:\n\n%s\n\nthe other bands are still there; that one again\n", e.what());
    all[3] = render_there.remote(world, rows[3], samples);
  }
  if (result.rgb.empty()) {
    auto again = stitch_there(all);
    result = co_await again;
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  co_return std::pair<image, double>(std::move(result), took.count());
}

rh::task<> program(rh::cluster machine, int argc, char** argv) {
  const bool breaks = argc > 1 && std::string_view(argv[1]) == "--break";
  if (breaks) --argc, ++argv;
  const int samples = argc > 1 ? std::stoi(argv[1]) : 16;
  const std::string file = argc > 2 ? argv[2] : "quickstart.png";
  const scene world = make_scene();

  auto spread = picture(machine, world, samples, breaks);
  auto many = co_await std::move(spread);
  std::printf("%u workers: %.2f s\n", machine.workers(), many.second);

  auto alone = picture(rh::local(1), world, samples, false);
  auto one = co_await std::move(alone);
  std::printf("1 worker:  %.2f s, so %u are %.2f times as fast\n", one.second, machine.workers(), one.second / many.second);

  write_png(file, many.first);
  std::printf("wrote %s, %d x %d, %d samples a pixel\n", file.c_str(), world.width, world.height, samples);
}

int main(int argc, char** argv) { return rh::main(argc, argv, program); }
