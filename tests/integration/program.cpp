// SPDX-License-Identifier: Apache-2.0
//
// What lost_program.py runs and ends in various ways.
#include <runhouse/runhouse.hpp>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace {

/// Says who it is and what it has started, and stays.
void stay() {
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
  auto call = here.send<&stay>()();
  co_await call;
  co_return 0;
}

rh::cluster* kept_by_a_static_object = nullptr;

struct at_exit {
  ~at_exit() { delete kept_by_a_static_object; }
} last;

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
    kept_by_a_static_object = new rh::cluster(rh::local());
    return kept_by_a_static_object->send<&add>()(1, 1).get() == 2 ? 0 : 1;
  }
  return rh::main(argc, argv, program);
}
