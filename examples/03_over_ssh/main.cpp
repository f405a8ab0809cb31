// SPDX-License-Identifier: Apache-2.0
//
//   build/release/examples/03_over_ssh --cluster HOST [SAMPLES [FILE]]
//
// HOST is what `ssh HOST` takes. Asks the machine what it is, renders the quickstart's picture there, and cuts its own
// connection in the middle, to show that nothing is lost. Prints:
//
//   gpu-1: 32 CPUs (AMD EPYC 7313), 252 GiB of memory
//     NVIDIA A100 80GB PCIe, 81920 MiB
//   rendering 34 bands there
//   [gpu-1] the connection broke: closed the connection
//   [gpu-1] the connection is back
//   all 34 bands in 2.31 s, each rendered once
//   wrote over_ssh.png

#include <runhouse/runhouse.hpp>

#include <cereal/types/string.hpp>
#include <cereal/types/vector.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

#include "../01_quickstart/png.hpp"
#include "../01_quickstart/tracer.hpp"

struct facts {
  std::string name;
  std::string cpu;
  long cpus = 0;
  double memory_gib = 0;
  std::vector<std::string> gpus;  // as nvidia-smi, where it is, lists them
  template <class Archive>
  void serialize(Archive& archive) {
    archive(name, cpu, cpus, memory_gib, gpus);
  }
};

facts look_around() {
  facts found;
  char name[256] = {};
  gethostname(name, sizeof name - 1);
  found.name = name;
  found.cpus = sysconf(_SC_NPROCESSORS_ONLN);
  found.memory_gib = static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGESIZE)) / (1 << 30);
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; found.cpu.empty() && std::getline(info, line);) {
    if (line.starts_with("model name")) found.cpu = line.substr(line.find(':') + 2);
  }
  std::FILE* listed = popen("nvidia-smi --query-gpu=name,memory.total --format=csv,noheader 2>/dev/null", "r");
  char line[256];
  while (listed != nullptr && std::fgets(line, sizeof line, listed) != nullptr) found.gpus.emplace_back(line, std::string(line).find('\n'));
  if (listed != nullptr) pclose(listed);
  return found;
}

struct rendered {
  tile band;
  long serial = 0;  // of this run of the function, on that machine
  int worker = 0;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(band, serial, worker);
  }
};

rendered render_once(const scene& world, int row, int samples) {
  static long runs = 0;
  return {render(world, row, samples), ++runs, getpid()};
}

// Ends this program's ssh, as a train into a tunnel would: a child of ours with that name.
void cut_connection() {
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::ifstream file(entry.path() / "stat");
    int pid = 0;
    int parent = 0;
    std::string name;
    char state = 0;
    if (file >> pid >> name >> state >> parent && parent == getpid() && name == "(ssh)") kill(pid, SIGKILL);
  }
}

rh::task<> program(rh::cluster machine, int argc, char** argv) {
  const int samples = argc > 1 ? std::stoi(argv[1]) : 16;
  const std::string file = argc > 2 ? argv[2] : "over_ssh.png";

  auto asked = machine.send<&look_around>()();
  const facts there = co_await asked;
  std::printf("%s: %ld CPUs (%s), %.0f GiB of memory\n", there.name.c_str(), there.cpus, there.cpu.c_str(), there.memory_gib);
  for (const std::string& gpu : there.gpus) std::printf("  %s\n", gpu.c_str());

  machine.on_disconnect([](const rh::disconnect& d) {
    if (d.now == rh::disconnect::state::lost) std::printf("[%s] the connection broke: %s\n", d.cluster.c_str(), d.why.c_str());
    if (d.now == rh::disconnect::state::resumed) std::printf("[%s] the connection is back\n", d.cluster.c_str());
  });
  const scene world = make_scene();
  std::vector<int> rows;
  for (int row = 0; row < world.height; row += world.band_rows) rows.push_back(row);
  std::printf("rendering %zu bands there\n", rows.size());
  const auto start = std::chrono::steady_clock::now();
  auto bands = machine.send<&render_once>().map_as_completed(world, rh::each(rows), samples);
  std::vector<tile> tiles;
  std::map<int, std::set<long>> runs;  // by worker
  for (;;) {
    auto coming = bands.next();
    auto next = co_await coming;
    if (!next) break;
    rendered r = std::move(next->outcome).value();
    tiles.push_back(std::move(r.band));
    runs[r.worker].insert(r.serial);
    if (tiles.size() == rows.size() / 3) cut_connection();
  }
  // Each worker counts its runs: a band that had been rendered twice would leave a number out.
  bool each_once = true;
  for (const auto& [worker, serials] : runs) {
    each_once = each_once && *serials.rbegin() - *serials.begin() + 1 == static_cast<long>(serials.size());
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  std::printf("all %zu bands in %.2f s, %s\n", tiles.size(), took.count(), each_once ? "each rendered once" : "SOME RENDERED TWICE");

  write_png(file, stitch(std::move(tiles)));
  std::printf("wrote %s\n", file.c_str());
}

int main(int argc, char** argv) { return rh::main(argc, argv, program); }
