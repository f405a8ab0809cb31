// SPDX-License-Identifier: Apache-2.0
//
//   ./dev run [--cluster NAME] [SAMPLES [FILE]]
//
// Renders a picture in bands of rows, spread over the workers of a cluster, and prints what that gained:
//
//   2 workers: 4.08 s
//   1 worker:  7.92 s, so 2 are 1.94 times as fast
//   wrote quickstart.png, 960 x 540, 16 samples a pixel

#include <runhouse/runhouse.hpp>

#include <chrono>
#include <cstdio>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

#include "png.hpp"
#include "tracer.hpp"

// A line that counts up while the calls run; only where somebody looks at it.
rh::task<> show(rh::progress calls) {
  if (isatty(STDERR_FILENO) == 0) co_return;
  while (calls.ended() < calls.total()) {
    std::fprintf(stderr, "\r%zu of %zu bands", calls.ended(), calls.total());
    co_await rh::sleep_for(std::chrono::milliseconds(100));
  }
  std::fputs("\r\033[K", stderr);
}

// The whole picture, and the seconds that it took.
rh::task<std::pair<image, double>> picture(rh::cluster machine, scene world, int samples) {
  std::vector<int> rows;
  for (int row = 0; row < world.height; row += world.band_rows) rows.push_back(row);
  const auto start = std::chrono::steady_clock::now();

  auto render_there = machine.send<&render>();
  auto bands = render_there.map(world, rh::each(rows), samples);  // the world goes to every call, each row to one

  auto line = show(bands.progress());
  auto both = rh::when_all(std::move(line), std::move(bands));
  auto ended = co_await std::move(both);
  image whole = stitch(std::get<1>(std::move(ended)));
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  co_return std::pair<image, double>(std::move(whole), took.count());
}

rh::task<> program(rh::cluster machine, int argc, char** argv) {
  const int samples = argc > 1 ? std::stoi(argv[1]) : 16;
  const std::string file = argc > 2 ? argv[2] : "quickstart.png";
  const scene world = make_scene();

  auto spread = picture(machine, world, samples);
  auto many = co_await std::move(spread);
  std::printf("%u workers: %.2f s\n", machine.workers(), many.second);

  auto alone = picture(rh::local(1), world, samples);
  auto one = co_await std::move(alone);
  std::printf("1 worker:  %.2f s, so %u are %.2f times as fast\n", one.second, machine.workers(), one.second / many.second);

  write_png(file, many.first);
  std::printf("wrote %s, %d x %d, %d samples a pixel\n", file.c_str(), world.width, world.height, samples);
}

int main(int argc, char** argv) { return rh::main(argc, argv, program); }
