// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/fork.hpp>
#include <runhouse/async/operation.hpp>
#include <runhouse/async/task.hpp>
#include <runhouse/core/error.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <memory>
#include <optional>
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
/// Executor: that of the task that spawns; everything that is spawned, and the join, belongs to one root task.
/// Cancellation: once it was cancelled, or one of its tasks failed, what is spawned later is cancelled from the start.
/// Precondition: destroyed only after join(); where something between spawn and join can throw, with_scope() sees to
/// that.
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
  class body_awaiter;
  /// Waits until all have ended, those included that they spawn. Cancellation: of the awaiting task cancels them; it
  /// still waits for them. Errors: the first of theirs, once; errc::would_deadlock if it is being awaited already.
  detail::operation<join_awaiter, scope&> join() noexcept;

 private:
  void ended(const std::exception_ptr& error) noexcept {
    if (!error) return;
    if (!first_) first_ = error;
    stop_.request_stop();
  }
  detail::stop_below stop_;
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
    if (scope_->join_.is_awaited()) fail(errc::would_deadlock, "scope::join: another task awaits it already; join a scope once");
    scope_->join_.wait(h, *context.queue);
    link_.make(context.stop, scope_->stop_);
  }
  void await_resume() {
    link_.end();
    if (scope_->first_) std::rethrow_exception(std::exchange(scope_->first_, nullptr));
  }

 private:
  scope* scope_;
  detail::stop_below::link link_;
};

namespace detail {

template <class Body>
RH_TEMPLATE_COROUTINE task<> run_body(Body& body, scope& s) {
  auto running = body(s);
  co_await std::move(running);
}
template <class Body, class R>
RH_TEMPLATE_COROUTINE task<> run_body(Body& body, scope& s, std::optional<R>& result) {
  auto running = body(s);
  result.emplace(co_await std::move(running));
}

}  // namespace detail

/// Awaits a task as one of the scope's, for with_scope. Its error is left in the scope.
class scope::body_awaiter {
 public:
  using queue_aware = void;
  body_awaiter(scope& s, task<> body) noexcept : scope_(&s), body_(std::move(body)) {}
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> h) {
    const detail::task_context& context = h.promise().context;
    auto child = detail::run_child(std::move(body_), end_, ended{this});
    done_.wait(h, *context.queue);
    link_.make(context.stop, scope_->stop_);
    child.start({context.queue, &scope_->stop_.token()});
  }
  void await_resume() noexcept { link_.end(); }

 private:
  struct ended {
    body_awaiter* self;
    void operator()(bool) const noexcept {
      self->scope_->ended(self->end_.error());
      self->done_.arrive();
    }
  };
  scope* scope_;
  task<> body_;
  detail::ending<void> end_;
  detail::join_point done_{1};
  detail::stop_below::link link_;
};

/// Runs `body(scope&)`, a function that gives a task, and then joins the scope, also when the body throws.
///
/// Cancellation: the body is one of the scope's tasks: where it or one of those that it spawned fails, the others are
/// cancelled. Errors: the first of them, after all have ended.
template <class Body>
RH_TEMPLATE_COROUTINE auto with_scope(Body body) -> std::invoke_result_t<Body&, scope&> {
  using R = typename std::invoke_result_t<Body&, scope&>::value_type;
  scope s;
  if constexpr (std::is_void_v<R>) {
    auto running = detail::operation<scope::body_awaiter, scope&, task<>>(s, detail::run_body(body, s));
    co_await std::move(running);
    co_await s.join();
  } else {
    std::optional<R> result;
    auto running = detail::operation<scope::body_awaiter, scope&, task<>>(s, detail::run_body(body, s, result));
    co_await std::move(running);
    co_await s.join();
    co_return std::move(*result);
  }
}

// ---- implementation

inline scope::~scope() {
  if (join_.is_open()) return;
  std::fputs("runhouse: an rh::scope was destroyed while tasks run in it; co_await join() first, or use with_scope\n", stderr);
  std::terminate();
}

inline detail::operation<scope::join_awaiter, scope&> scope::join() noexcept {
  return detail::operation<join_awaiter, scope&>(*this);
}

inline void scope::spawn(task<> t) {
  run_queue* queue = run_queue::current();
  if (queue == nullptr) fail(errc::would_deadlock, "scope::spawn: there is no task here to run beside; call it inside a task");
  auto end = std::make_unique<detail::ending<void>>();
  detail::ending<void>& out = *end;
  struct child_ended {
    scope* self;
    std::unique_ptr<detail::ending<void>> end;
    void operator()(bool) const noexcept {
      self->ended(end->error());
      self->join_.arrive();
    }
  };
  auto child = detail::run_child(std::move(t), out, child_ended{this, std::move(end)});
  join_.add();
  child.start({queue, &stop_.token()});
}

}  // namespace rh
