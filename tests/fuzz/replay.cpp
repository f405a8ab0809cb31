// SPDX-License-Identifier: Apache-2.0
#include "fuzz/fuzz.hpp"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string_view>

/// The main function of a fuzz target that is no fuzzer.
///
///     archive_fuzz FOLDER           runs the target's seeds, and what is in FOLDER
///     archive_fuzz --write FOLDER   writes the seeds to FOLDER
int main(int argc, char** argv) {
  namespace fs = std::filesystem;
  const bool writes = argc == 3 && std::string_view(argv[1]) == "--write";
  if (argc != 2 && !writes) {
    std::fprintf(stderr, "usage: %s [--write] FOLDER\n", argv[0]);
    return 2;
  }
  const fs::path folder = argv[argc - 1];
  const auto run = [](const std::string& name, const fuzz::bytes& input) {
    std::printf("%s\n", name.c_str());
    std::fflush(stdout);
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
  };
  fuzz::seeds([&](const std::string& name, const fuzz::bytes& input) {
    run(name, input);
    if (!writes) return;
    std::ofstream out(folder / name, std::ios::binary);
    out.write(reinterpret_cast<const char*>(input.data()), static_cast<std::streamsize>(input.size()));
    fuzz::must(static_cast<bool>(out.flush()), "the folder can be written");
  });
  if (writes) return 0;
  std::size_t files = 0;
  for (const auto& entry : fs::directory_iterator(folder)) {
    std::ifstream in(entry.path(), std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    const auto input = std::as_bytes(std::span(text));
    run(entry.path().string(), fuzz::bytes(input.begin(), input.end()));
    ++files;
  }
  std::printf("%zu files\n", files);
  return files > 0 ? 0 : 1;
}
