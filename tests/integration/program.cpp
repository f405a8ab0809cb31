// SPDX-License-Identifier: Apache-2.0
//
// What lost_program.py runs and ends in various ways.
#include <runhouse/runhouse.hpp>

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <ranges>
#include <string>
#include <string_view>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace {

/// Says who it is and what it has started, and stays.
int stay() {
  const pid_t child = fork();
  if (child == 0) {
    for (;;) pause();
  }
  std::printf("worker %d child %d\n", getpid(), child);
  for (;;) pause();
}

int add(int a, int b) { return a + b; }

rh::task<int> program(rh::cluster here, int argc, char** argv) {
  const std::string_view how = argc > 1 ? argv[1] : "";
  if (how == "add") {
    auto call = here.send<&add>()(2, 3);
    const int five = co_await call;
    std::printf("%d\n", five);
    co_return 0;
  }
  if (how == "code") co_return 7;
  if (how == "throw") throw std::runtime_error("what the program threw");
  if (how == "exit") {
    auto call = here.send<&stay>()();
    co_await rh::sleep_for(std::chrono::seconds(1));
    std::exit(5);  // with a call under way, and handles in frames that are never destroyed
  }
  auto stay_there = here.send<&stay>();
  if (how == "map") {
    auto map = stay_there.repeat(5000);
    co_await map;
  } else if (how == "chain") {
    auto add_there = here.send<&add>();
    auto call = add_there(add_there.remote(stay_there.remote(), 1), 2);
    co_await call;
  } else if (how == "queue") {
    auto first = stay_there.enqueue();
    auto second = stay_there.enqueue();
    co_await second;
  } else if (how == "ignore") {
    try {
      auto call = stay_there();
      co_await call;
    } catch (const rh::error&) {
      std::puts("ignored");
      std::fflush(stdout);
    }
    for (;;) pause();
  } else {
    auto call = stay_there();
    co_await call;
  }
  co_return 0;
}

/// Handles that outlive main().
struct {
  std::optional<rh::cluster> cluster;
  std::optional<rh::send<rh::fn<&add>>> send;
  std::optional<rh::call<int>> running;
  std::optional<rh::ref<int>> unfinished;
  std::optional<rh::ref<int>> finished;
  std::optional<rh::map_call<int>> map;
  std::optional<rh::stream<rh::completed<int>>> stream;
} kept_by_a_static_object;

int main_with_static_handles() {
  auto& kept = kept_by_a_static_object;
  kept.cluster = rh::local();
  kept.send = kept.cluster->send<&add>();
  kept.finished = kept.send->remote(1, 1);
  const bool is_two = kept.finished->get() == 2;
  auto stay_there = kept.cluster->send<&stay>();
  kept.running = stay_there();
  kept.unfinished = stay_there.remote();
  kept.map = kept.send->map(std::views::iota(0, 100), *kept.unfinished);
  kept.stream = kept.send->map_as_completed(std::views::iota(0, 100), 1);
  return is_two ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "unserved") {
    try {
      rh::local();
    } catch (const rh::error& e) {
      std::printf("%s: %s\n", rh::name_of(e.kind()), e.what());
      return 0;
    }
    return 1;
  }
  if (argc > 1 && std::string_view(argv[1]) == "static") {
    rh::serve_if_asked(argc, argv);
    return main_with_static_handles();
  }
  return rh::main(argc, argv, program);
}
