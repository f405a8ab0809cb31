// SPDX-License-Identifier: Apache-2.0
#define CATCH_CONFIG_RUNNER
#include "support/catch.hpp"

#if __has_include(<runhouse/runhouse.hpp>)
#include <runhouse/runhouse.hpp>
#endif

#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>
#include <unistd.h>

namespace {

#if __has_include(<catch2/catch_all.hpp>)
using listener_base = Catch::EventListenerBase;
#else
using listener_base = Catch::TestEventListenerBase;
#endif

/// Says of a test case that goes on for minutes which it is, and where its threads are if gdb is there: who ends the
/// program then, as ctest does after 300 s, learns nothing else.
class long_cases final : public listener_base {
 public:
  using listener_base::listener_base;

  void testCaseStarting(const Catch::TestCaseInfo& info) override {
    name_ = info.name;
    ended_ = false;
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);  // they are for the test's threads
    watcher_ = std::thread([this] { watch(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  void testCaseEnded(const Catch::TestCaseStats&) override {
    {
      const std::lock_guard locked(mutex_);
      ended_ = true;
    }
    changed_.notify_all();
    watcher_.join();
  }

 private:
  static constexpr std::chrono::seconds long_time{200};

  void watch() {
    std::unique_lock locked(mutex_);
    if (changed_.wait_for(locked, long_time, [this] { return ended_; })) return;
    std::fprintf(stderr, "after %d s this test case still runs: %s\n", static_cast<int>(long_time.count()), name_.c_str());
    const std::string own = std::to_string(::getpid());
    const std::string command = "ps -ef 1>&2; if command -v gdb >/dev/null; then for p in " + own + " $(pgrep -P " + own +
                                " | head -n 3); do timeout 30 gdb -p $p -batch -ex 'thread apply all bt 25' 1>&2; done; fi";
    if (std::system(command.c_str()) != 0) std::fprintf(stderr, "that is all there is to say of it\n");
  }

  std::string name_;
  bool ended_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::thread watcher_;
};

CATCH_REGISTER_LISTENER(long_cases)

}  // namespace

/// The one main of all test programs. A test program is also the program of the workers that its tests start.
int main(int argc, char** argv) {
#if __has_include(<runhouse/runhouse.hpp>)
  rh::serve_if_asked(argc, argv);
#endif
  return Catch::Session().run(argc, argv);
}
