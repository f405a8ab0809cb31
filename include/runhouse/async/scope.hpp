// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/fork.hpp>
#include <runhouse/core/error.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <memory>
#include <type_traits>
#include <utility>

namespace rh {

/// Tasks that run beside the one that spawns them, and end before it goes on.
///
///     rh::scope work;
///     work.spawn(fetch(a));
///     work.spawn(fetch(b));
///     co_await work.join();
///
/// Executor: the queue of the task that spawns. Precondition: destroyed only after join(); where something between
/// spawn and join can throw, with_scope() sees to that.
class scope {
 public:
  scope() = default;
  scope(const scope&) = delete;
  scope& operator=(const scope&) = delete;
  ~scope();

  /// Starts `t` when this task next suspends. Its first error cancels the others and comes out of join().
  /// Errors: errc::would_deadlock outside a task.
  void spawn(task<> t);

  /// Asks all to stop.
  void cancel() noexcept { stop_.request_stop(); }

  std::size_t running() const noexcept { return join_.waiting_for(); }

  class join_awaiter;
  /// Waits until all have ended. Cancellation: of the awaiting task cancels them; it still waits for them.
  /// Errors: the first of theirs.
  [[nodiscard("join does nothing until it is awaited")]] join_awaiter join() noexcept;

 private:
  detail::nested_stop stop_;
  detail::join_point join_{0};
  std::exception_ptr first_;
};

class scope::join_awaiter {
 public:
  using queue_aware = void;
  explicit join_awaiter(scope& s) noexcept : scope_(&s) {}
  bool await_ready() const noexcept { return scope_->join_.is_open(); }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> h) {
    const detail::task_context& context = h.promise().context;
    scope_->join_.wait(h, *context.queue);
    scope_->stop_.follow(context.stop);
  }
  void await_resume() {
    if (scope_->first_) std::rethrow_exception(std::exchange(scope_->first_, nullptr));
  }

 private:
  scope* scope_;
};

/// Runs `body(scope&)`, a function that gives a task, and then joins the scope, also when the body throws (the
/// spawned tasks are then cancelled first).
template <class Body>
auto with_scope(Body body) -> std::invoke_result_t<Body&, scope&> {
  using R = typename std::invoke_result_t<Body&, scope&>::value_type;
  scope s;
  detail::ending<R> end;
  try {
    auto running = body(s);
    if constexpr (std::is_void_v<R>) {
      co_await std::move(running);
    } else {
      end.set_value(co_await std::move(running));
    }
  } catch (...) {
    end.set_error(std::current_exception());
    s.cancel();
  }
  try {
    co_await s.join();
  } catch (...) {
    if (!end.error()) end.set_error(std::current_exception());
  }
  co_return end.take();
}

// ---- implementation

inline scope::~scope() {
  if (join_.is_open()) return;
  std::fputs("runhouse: an rh::scope was destroyed while tasks run in it; co_await join() first, or use with_scope\n", stderr);
  std::terminate();
}

inline scope::join_awaiter scope::join() noexcept { return join_awaiter(*this); }

inline void scope::spawn(task<> t) {
  run_queue* queue = run_queue::current();
  if (queue == nullptr) fail(errc::would_deadlock, "scope::spawn: there is no task here to run beside; call it inside a task");
  auto end = std::make_unique<detail::ending<void>>();
  detail::ending<void>& out = *end;
  join_.add();
  struct ended {
    scope* self;
    std::unique_ptr<detail::ending<void>> end;
    void operator()(bool failed) const {
      if (failed) {
        if (!self->first_) self->first_ = end->error();
        self->stop_.request_stop();
      }
      self->join_.arrive();
    }
  };
  detail::run_child(std::move(t), out, ended{this, std::move(end)}).start({queue, &stop_.token()});
}

}  // namespace rh
