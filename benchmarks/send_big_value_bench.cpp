// SPDX-License-Identifier: Apache-2.0

// A vector<float> of 1 GiB from one call to another by ref: from the producer's return to the consumer's first
// instruction, with a parameter that is a vector, and with one that is a span. Beside it: memcpy of as much into a fresh
// memory file, and from there into a fresh vector. Bars: at most 1.2 times that for the vector; the consumer's side of
// the span, which begins when the value is on its way, at most 0.02 times.

#include "bench.hpp"

#include <runhouse/runhouse.hpp>

#include <cstring>
#include <fcntl.h>
#include <span>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

namespace {

constexpr std::size_t floats = std::size_t{1} << 28;

/// On a clock that all processes share.
double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// When the producer returned: where every process sees it.
double* returned_at = nullptr;

std::vector<float> produce(std::size_t n) {
  std::vector<float> v(n, 1.0f);
  *returned_at = now();
  return v;
}
double arrival(const std::vector<float>& v) {
  const double t = now();
  return v.size() == floats ? t : 0;
}
double arrival_of_view(std::span<const float> v) {
  const double t = now();
  return v.size() == floats ? t : 0;
}

double bare_seconds(const std::vector<float>& from) {
  const std::size_t bytes = from.size() * sizeof(float);
  const bench::stopwatch watch;
  const int fd = ::memfd_create("bare", MFD_CLOEXEC);
  if (fd < 0 || ::ftruncate(fd, static_cast<off_t>(bytes)) != 0) std::abort();
  void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) std::abort();
  std::memcpy(at, from.data(), bytes);
  const auto* there = static_cast<const float*>(at);
  const std::vector<float> to(there, there + from.size());
  const double seconds = watch.seconds();
  if (to.back() != from.back()) std::abort();
  ::munmap(at, bytes);
  ::close(fd);
  return seconds;
}

rh::task<> measure() {
  rh::cluster here = rh::local(2);
  const auto produce_there = here.send<&produce>();
  const auto arrival_there = here.send<&arrival>();
  const auto arrival_of_view_there = here.send<&arrival_of_view>();
  std::vector<double> bare;
  std::vector<double> by_value;
  std::vector<double> by_view;
  std::vector<double> view_again;
  const std::vector<float> source(floats, 1.0f);
  for (int round = 0; round < bench::rounds; ++round) {
    bare.push_back(bare_seconds(source));
    {
      auto v = produce_there.remote(floats);
      const double arrived = co_await arrival_there(v);
      by_value.push_back(arrived - *returned_at);
    }
    auto v = produce_there.remote(floats);
    const double arrived = co_await arrival_of_view_there(v);
    by_view.push_back(arrived - *returned_at);
    const double sent = now();
    const double arrived_again = co_await arrival_of_view_there(v);
    view_again.push_back(arrived_again - sent);
  }
  const double both = bench::median(bare);
  bench::print("two_memcpys_of_1_GiB", both * 1e3, "ms");
  bench::print("vector_by_ref", bench::median(by_value) * 1e3, "ms");
  bench::print("vector_to_two_memcpys", bench::median(by_value) / both, "ratio");
  bench::print("span_by_ref", bench::median(by_view) * 1e3, "ms");
  bench::print("span_consumer", bench::median(view_again) * 1e3, "ms");
  bench::print("span_consumer_to_two_memcpys", bench::median(view_again) / both, "ratio");
}

}  // namespace

int main(int argc, char** argv) {
  // Workers are this program, started again: a file that all find by its name.
  const std::string path = "/dev/shm/runhouse_bench_" + std::to_string(::getuid());
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0 || ::ftruncate(fd, 4096) != 0) std::abort();
  returned_at = static_cast<double*>(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  rh::serve_if_asked(argc, argv);
  const int result = rh::main(argc, argv, measure);
  ::unlink(path.c_str());
  return result;
}
