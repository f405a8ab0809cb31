// SPDX-License-Identifier: Apache-2.0
//
//   build/release/examples/02_pipeline [--cluster NAME] [STATIONS [SECONDS]]
//
// Three stages over many inputs: record a signal, filter it, find its strongest tone. What a stage gives stays where it
// is, and the next one takes it there; only the findings come home, each as soon as it is there. If one fails, the time is
// up or Ctrl-C comes, all that is still under way is cancelled, there too. Prints a line for each station, and
//
//   12 stations, the loudest is 7 at 1660 Hz

#include <runhouse/runhouse.hpp>

#include <chrono>
#include <cmath>
#include <complex>
#include <cstdio>
#include <numbers>
#include <random>
#include <span>
#include <string>
#include <vector>

constexpr double rate = 16'000;  // samples a second
constexpr double tau = 2 * std::numbers::pi;

struct finding {
  int station = 0;
  double hertz = 0, power = 0;
  void serialize(auto& archive) { archive(station, hertz, power); }
};

// Eight seconds of noise and hum, in which something sings.
std::vector<float> record(int station) {
  std::mt19937 chance(static_cast<unsigned>(station));
  std::normal_distribution<float> noise(0, 0.5f);
  const double hertz = 400 + 180 * station, loud = 0.3 + 0.05 * (station % 8);
  std::vector<float> samples(static_cast<std::size_t>(8 * rate));
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const double t = static_cast<double>(i) / rate;
    samples[i] = noise(chance) + static_cast<float>(std::sin(tau * 50 * t) + loud * std::sin(tau * hertz * t));
  }
  return samples;
}

// Takes away what is slower than `hertz`: a windowed sinc of 201 taps.
std::vector<float> high_pass(std::span<const float> in, double hertz) {
  constexpr int reach = 100;
  std::vector<float> taps(2 * reach + 1), out(in.size());
  for (int k = -reach; k <= reach; ++k) {
    const double x = tau * hertz / rate * k, window = 0.54 + 0.46 * std::cos(std::numbers::pi * k / reach);
    taps[static_cast<std::size_t>(k + reach)] = static_cast<float>((k == 0 ? 1 : 0) - 2 * hertz / rate * window * (k == 0 ? 1 : std::sin(x) / x));
  }
  for (std::size_t i = reach; i + reach < in.size(); ++i) {
    for (std::size_t k = 0; k < taps.size(); ++k) out[i] += taps[k] * in[i + k - reach];
  }
  return out;
}

// The tone with the most power, of those from 300 Hz to 3 kHz in steps of 20.
finding strongest(int station, std::span<const float> in, std::stop_token stop) {
  finding best{station};
  for (double hertz = 300; hertz <= 3000 && !stop.stop_requested(); hertz += 20) {
    std::complex<double> turned = 0;
    const std::complex<double> step = std::polar(1.0, -tau * hertz / rate);
    for (std::complex<double> turn = 1; const float x : in) turned += static_cast<double>(x) * turn, turn *= step;
    const double power = std::norm(turned) / static_cast<double>(in.size());
    if (power > best.power) best = {station, hertz, power};
  }
  return best;
}

rh::task<finding> listen(rh::cluster machine, int station) {
  auto raw = machine.send<&record>().remote(station);
  auto clean = machine.send<&high_pass>().remote(raw, 200.0);    // takes it there, when it is there
  auto found = machine.send<&strongest>()(station, clean);       // the worker gives the stop_token
  const finding f = co_await found;
  std::printf("station %2d: %4.0f Hz, %.1f dB\n", f.station, f.hertz, 10 * std::log10(f.power));
  co_return f;
}

rh::task<> program(rh::cluster machine, int argc, char** argv) {
  const int stations = argc > 1 ? std::stoi(argv[1]) : 12;
  const std::chrono::seconds limit(argc > 2 ? std::stoi(argv[2]) : 60);

  std::vector<rh::task<finding>> all;
  for (int s = 0; s < stations; ++s) all.push_back(listen(machine, s));
  auto together = rh::when_all(std::move(all));                  // the first error cancels the others
  auto in_time = rh::with_timeout(limit, std::move(together));   // and so does the end of the time
  const std::vector<finding> found = co_await std::move(in_time);

  finding loudest;
  for (const finding& f : found) loudest = f.power > loudest.power ? f : loudest;
  std::printf("%d stations, the loudest is %d at %.0f Hz\n", stations, loudest.station, loudest.hertz);
}

int main(int argc, char** argv) { return rh::main(argc, argv, program); }
