// SPDX-License-Identifier: Apache-2.0

/// The program whose worker python_peer.py drives. It sends nothing itself: sends only put functions into its table.

#include <runhouse/runhouse.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <numeric>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

namespace peer {

int add(int a, int b) {
  return a + b;
}
std::string greet(const std::string& name) {
  return "hello, " + name;
}
double sum(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}
double sum_of_view(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0);
}
std::vector<std::uint64_t> count_up(std::uint64_t n) {
  std::vector<std::uint64_t> numbers(n);
  std::iota(numbers.begin(), numbers.end(), std::uint64_t{0});
  return numbers;
}
int refuse(const std::string& why) {
  throw std::invalid_argument(why);
}
int until_stopped(int result, std::stop_token stop) {
  std::puts("running");
  while (!stop.stop_requested()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return result;
}
void talk(int lines) {
  for (int i = 0; i < lines; ++i) std::printf("line %d\n", i);
  std::printf("no newline");
  std::fprintf(stderr, "complaint\n");
}
void nothing() {}

}  // namespace peer

int main(int argc, char** argv) {
  rh::serve_if_asked(argc, argv);
  if (argc >= 0) {  // it is enough that the sends are there
    std::puts("started by python_peer.py as a worker, and of no use otherwise");
    return 2;
  }
  const rh::cluster here = rh::local();
  static_cast<void>(here.send<&peer::add>()(1, 2));
  static_cast<void>(here.send<&peer::greet>()(""));
  static_cast<void>(here.send<&peer::sum>()(std::vector<double>()));
  static_cast<void>(here.send<&peer::sum_of_view>()(std::vector<double>()));
  static_cast<void>(here.send<&peer::count_up>()(1));
  static_cast<void>(here.send<&peer::refuse>()(""));
  static_cast<void>(here.send<&peer::until_stopped>()(1));
  static_cast<void>(here.send<&peer::talk>()(1));
  static_cast<void>(here.send<&peer::nothing>()());
  static_cast<void>(rh::send([](int x) { return x + 1; }, here)(1));
}
