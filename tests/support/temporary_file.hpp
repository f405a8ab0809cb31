// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <thread>

namespace rh::test {

/// A file of its own in a folder of its own, which goes with it.
class temporary_file {
 public:
  temporary_file() {
    std::string name = (std::filesystem::temp_directory_path() / "runhouse_test_XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
    folder_ = name;
  }
  ~temporary_file() { std::filesystem::remove_all(folder_); }
  temporary_file(const temporary_file&) = delete;
  temporary_file& operator=(const temporary_file&) = delete;
  std::string path() const { return (folder_ / "file").string(); }

 private:
  std::filesystem::path folder_;
};

/// Adds a line to a file, whole, whoever else does so. Functions that were sent say this way that they ran.
inline void append(const std::string& path, const std::string& line) {
  std::ofstream(path, std::ios::app) << line + "\n";
}

/// Nothing if there is no such file.
inline std::string content(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// Whether something comes to hold before a deadline that no test meets unless it hangs.
template <class Holds>
bool in_time(Holds&& holds) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (std::chrono::steady_clock::now() < deadline) {
    if (holds()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

}  // namespace rh::test
