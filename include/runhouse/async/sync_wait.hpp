// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/blocking_driver.hpp>
#include <runhouse/async/fork.hpp>
#include <runhouse/async/task.hpp>
#include <runhouse/core/error.hpp>

#include <stop_token>
#include <type_traits>
#include <utility>

namespace rh {

/// Runs a task on this thread until it ends, and gives its result. `stop` cancels it.
///
/// Errors: those of the task; errc::would_deadlock inside a task, where co_await is meant.
template <class T>
T sync_wait(task<T> t, std::stop_token stop = {});

/// The same with a driver of one's own.
template <class T>
T sync_wait(task<T> t, driver& d, std::stop_token stop = {});

/// The same for anything else that can be awaited: a call, a when_all(), a timer.
template <class A>
  requires(!requires(A a) { []<class T>(task<T>&) {}(a); })
std::remove_cvref_t<await_result_t<A>> sync_wait(A awaitable, std::stop_token stop = {}) {
  return sync_wait(as_task(std::move(awaitable)), std::move(stop));
}

// ---- implementation

template <class T>
T sync_wait(task<T> t, driver& d, std::stop_token stop) {
  if (run_queue::current() != nullptr) {
    fail(errc::would_deadlock, "a blocking wait inside a task would stop the thread that must answer it; use co_await");
  }
  detail::ending<T> end;
  bool done = false;
  run_queue queue(d);
  const run_queue::running here(queue);
  struct ended {
    bool* done;
    void operator()(bool) const noexcept { *done = true; }
  };
  detail::run_child(std::move(t), end, ended{&done}).start({&queue, &stop});
  d.run(queue, done);
  return end.take();
}

template <class T>
T sync_wait(task<T> t, std::stop_token stop) {
  if (const detail::driver_source source = detail::process_driver().load(std::memory_order_acquire)) {
    return sync_wait(std::move(t), source(), std::move(stop));
  }
  detail::blocking_driver d;
  return sync_wait(std::move(t), d, std::move(stop));
}

}  // namespace rh
