// SPDX-License-Identifier: Apache-2.0
#include <runhouse/wire/start_gate.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

using rh::wire::start_gate;

TEST_CASE("a call is started once, and not after it was taken back", "[wire][start_gate]") {
  start_gate gate;
  CHECK(gate.started() == 0);
  CHECK(gate.claim(1));
  CHECK(!gate.claim(1));
  CHECK(gate.started() == 1);
  CHECK(gate.revoke(4) == 1);
  for (const std::uint32_t number : {2u, 3u, 4u}) CHECK(!gate.claim(number));
  CHECK(gate.started() == 1);
  CHECK(gate.claim(5));
  CHECK(gate.started() == 5);
}

TEST_CASE("to take back what was decided changes nothing", "[wire][start_gate]") {
  start_gate gate;
  CHECK(gate.claim(3));
  CHECK(gate.revoke(2) == 3);
  CHECK(gate.revoke(3) == 3);
  CHECK(gate.revoke(9) == 3);
  CHECK(gate.revoke(5) == 3);
  CHECK(!gate.claim(9));
  CHECK(gate.claim(10));
}

TEST_CASE("the word is what the protocol says: started in the high half, decided in the low one",
          "[wire][start_gate]") {
  start_gate gate;
  CHECK(gate.claim(7));
  gate.revoke(9);
  std::uint64_t word = 0;
  static_assert(sizeof gate == sizeof word);
  std::memcpy(&word, static_cast<const void*>(&gate), sizeof word);
  CHECK(word == 0x0000000700000009);
}

TEST_CASE("numbers wrap around", "[wire][start_gate]") {
  start_gate gate;
  // Calls that are never taken back: a gate that only remembers what was would refuse the last of these.
  for (const std::uint32_t number : {0x40000000u, 0x80000000u, 0x80000001u, 0xc0000000u, 0xffffffffu, 0u, 1u, 2u}) {
    INFO(number);
    CHECK(gate.claim(number));
    CHECK(gate.started() == number);
  }
  start_gate other;
  CHECK(other.claim(0x7fffffff));
  CHECK(other.claim(0xfffffffe));
  CHECK(other.revoke(2) == 0xfffffffe);
  for (const std::uint32_t number : {0xffffffffu, 0u, 1u, 2u}) CHECK(!other.claim(number));
  CHECK(other.claim(3));
  CHECK(start_gate::is_after(0, 0xffffffff));
  CHECK(!start_gate::is_after(0xffffffff, 0));
  CHECK(!start_gate::is_after(5, 5));
}

TEST_CASE("each call is started or taken back, never both and never neither", "[wire][start_gate]") {
  constexpr std::uint32_t calls = 1'000'000;
  for (const std::uint32_t first : {1u, 0xffffffffu - calls / 2}) {  // the second round wraps around in its middle
    start_gate gate;
    if (first != 1) {
      REQUIRE(gate.claim(first / 2));
      REQUIRE(gate.claim(first - 1));
    }
    const auto number = [&](std::uint32_t i) { return first + i; };
    std::atomic<std::uint32_t> sent{0};  // calls that the node has given to the worker
    std::atomic<std::uint32_t> seen{0};  // and that the worker has got to
    std::vector<std::uint8_t> started(calls), taken_back(calls);

    std::thread worker([&] {
      for (std::uint32_t i = 0; i < calls; ++i) {
        while (sent.load(std::memory_order_acquire) <= i) std::this_thread::yield();
        started[i] = gate.claim(number(i));
        seen.store(i + 1, std::memory_order_relaxed);
      }
    });
    std::uint32_t open = 0;  // the first call that may not be decided, as the node sees it
    std::uint32_t i = 0;
    std::minstd_rand chance(1);
    while (i < calls) {
      const std::uint32_t batch = std::min(calls - i, static_cast<std::uint32_t>(1 + chance() % 64));
      const std::uint32_t ahead = static_cast<std::uint32_t>(chance() % 32);  // which it may not have got to
      i += batch;
      sent.store(i, std::memory_order_release);
      while (i - seen.load(std::memory_order_relaxed) > ahead) std::this_thread::yield();
      if (chance() % 2 == 0) continue;
      const std::uint32_t last_started = gate.revoke(number(i - 1));
      for (; open < i; ++open) taken_back[open] = start_gate::is_after(number(open), last_started);
    }
    const std::uint32_t last_started = gate.revoke(number(calls - 1));
    for (; open < calls; ++open) taken_back[open] = start_gate::is_after(number(open), last_started);
    worker.join();

    std::uint32_t wrong = 0;
    std::uint32_t ran = 0;
    for (std::uint32_t k = 0; k < calls; ++k) {
      wrong += started[k] == taken_back[k];
      ran += started[k];
    }
    CHECK(wrong == 0);
    INFO("started " << ran << ", taken back " << calls - ran);
    CHECK(ran > 0);
    CHECK(ran < calls);
  }
}
