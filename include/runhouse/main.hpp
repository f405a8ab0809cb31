// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/co_spawn.hpp>
#include <runhouse/async/runtime.hpp>
#include <runhouse/async/sync_wait.hpp>
#include <runhouse/async/task.hpp>
#include <runhouse/cluster/cluster.hpp>
#include <runhouse/cluster/local_backend.hpp>
#include <runhouse/cluster/program_options.hpp>
#include <runhouse/cluster/interrupt.hpp>
#include <runhouse/core/error.hpp>
#include <runhouse/host/bridge.hpp>
#include <runhouse/node/daemon.hpp>
#include <runhouse/send/async_get.hpp>
#include <runhouse/worker/serve.hpp>

#include <concepts>
#include <cstdio>
#include <exception>
#include <functional>
#include <type_traits>
#include <utility>

namespace rh {

/// Must be the first thing that main() does, unless it calls rh::main. In a process that was started as a worker it
/// serves, and does not return; in any other it returns at once, and rh::local() and rh::connect() may be used.
template <std::same_as<int> Argc>  // a template only so that files without main() need not compile it
void serve_if_asked(Argc argc, char** argv);

/// The whole of main(): runs `program` as the root task on this thread and returns its exit code.
///
///     int main(int argc, char** argv) { return rh::main(argc, argv, program); }
///
/// `program` is a function that gives a task<> (exit code 0) or task<int>, and takes nothing, or argc and argv, or an
/// rh::cluster, or that and the two: the cluster named by `--cluster NAME`, which is taken out of argv, or else by
/// RUNHOUSE_CLUSTER, or else local. An exception that leaves it is printed, and the exit code is 1. Ctrl-C cancels it;
/// a second one ends the process.
template <class Program>
int main(int argc, char** argv, Program program);

// ---- implementation

namespace detail {

/// What a worker's functions get: a call that waits for a call would hold its worker, and could wait for itself.
class nested_backend final : public backend {
 public:
  std::shared_ptr<session> local(unsigned) override {
    refuse();
  }
  counted<reached_session> reach(std::string_view) override { refuse(); }
  counted<reached_session> reach(const ssh_host&) override { refuse(); }
  void end_node(std::string_view) override { refuse(); }
  void end_node(const ssh_host&) override { refuse(); }
  void observe(session&, std::function<void(const disconnect&)>) override { refuse(); }

 private:
  [[noreturn]] static void refuse() {
    fail(errc::nested, "a function that was sent cannot send others; return what they need, and send them from the program");
  }
};

/// A process that was started as a node, or as the bridge to one, becomes it here, before the program's own static objects are made: what they
/// print, allocate or start does not happen there. Those of shared libraries are made before.
struct early_role {
  early_role() noexcept {
    if (daemon::is_asked_for()) daemon::run();
    if (bridge::is_asked_for()) bridge::run();
  }
  int is_none = 1;
};
/// A member of a template, so that it is made, and all that a node is made of compiled, only where it is used: in the
/// file with main().
template <class>
struct early_role_of {
  static early_role instance;
};
template <class T>
__attribute__((init_priority(101))) early_role early_role_of<T>::instance;

/// As a task, so that Ctrl-C ends the wait.
inline task<cluster> connected(std::string name) {
  auto reached = connect(name);
  cluster made = co_await reached;
  co_return made;
}

}  // namespace detail

template <std::same_as<int> Argc>
void serve_if_asked(Argc, char**) {
  static_cast<void>(detail::early_role_of<Argc>::instance.is_none);
  if (detail::is_asked_to_serve()) {
    static detail::nested_backend nested;
    detail::backend::install(nested);
    detail::serve_as_worker();
  }
  detail::runtime::use();
  detail::backend::install(detail::local_backend::instance());
}

template <class Program>
int main(int argc, char** argv, Program program) {
  serve_if_asked(argc, argv);
  try {
    detail::interrupt_on_signals interrupted;
    auto root = [&] {
      if constexpr (std::is_invocable_v<Program&, cluster>) {
        const std::string name = detail::take_cluster_option(argc, argv);
        return std::invoke(program, sync_wait(detail::connected(name), interrupted.token()));
      } else if constexpr (std::is_invocable_v<Program&, cluster, int, char**>) {
        const std::string name = detail::take_cluster_option(argc, argv);
        return std::invoke(program, sync_wait(detail::connected(name), interrupted.token()), argc, argv);
      } else if constexpr (std::is_invocable_v<Program&, int, char**>) {
        return std::invoke(program, argc, argv);
      } else {
        static_assert(std::is_invocable_v<Program&>,
                      "runhouse: the program given to rh::main takes nothing, an rh::cluster, int and char**, or an rh::cluster, int "
                      "and char**");
        return std::invoke(program);
      }
    }();
    if constexpr (std::is_same_v<decltype(root), task<int>>) {
      return sync_wait(std::move(root), interrupted.token());
    } else {
      static_assert(std::is_same_v<decltype(root), task<>>,
                    "runhouse: the program given to rh::main is a coroutine that gives rh::task<> or rh::task<int>");
      sync_wait(std::move(root), interrupted.token());
      return 0;
    }
  } catch (const std::exception& e) {
    std::fflush(stdout);
    std::fprintf(stderr, "%s: %s\n", argc > 0 ? argv[0] : "program", e.what());
  } catch (...) {
    std::fflush(stdout);
    std::fprintf(stderr, "%s: ended by an exception that is no std::exception\n", argc > 0 ? argv[0] : "program");
  }
  return 1;
}

}  // namespace rh
