// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/asio.hpp>
#include <runhouse/async/executor_root.hpp>
#include <runhouse/async/task.hpp>

#include <exception>
#include <type_traits>
#include <utility>

namespace rh {

/// Runs a task on an executor of one's own, such as that of an asio::io_context, and calls `token`'s handler with
/// (std::exception_ptr, T), or only the former for void.
///
///     rh::co_spawn(io, serve(), asio::detached);
///     std::future<int> answer = rh::co_spawn(io, ask(), asio::use_future);
///     int answer = co_await rh::co_spawn(io, ask(), asio::use_awaitable);  // in an asio::awaitable
///
/// Executor: the task begins with a post to it, and all of its coroutines run there, one at a time; its timers are that
/// context's. The handler is posted to its own associated executor, else to this one.
/// Cancellation: terminal and partial, through the handler's associated cancellation slot, stop the task.
/// Lifetime: the context must be run until the handler was called; it has work until then. A context that is destroyed
/// earlier leaves the task suspended for ever.
template <class Executor, class T, class Token>
  requires detail::executor<Executor>
auto co_spawn(const Executor& on, task<T> t, Token&& token);

/// The same on the executor of an execution context.
template <class Context, class T, class Token>
  requires std::is_convertible_v<Context&, asio::execution_context&>
auto co_spawn(Context& on, task<T> t, Token&& token) {
  return co_spawn(on.get_executor(), std::move(t), std::forward<Token>(token));
}

// ---- implementation

template <class Executor, class T, class Token>
  requires detail::executor<Executor>
auto co_spawn(const Executor& on, task<T> t, Token&& token) {
  static_assert(
      std::is_void_v<T> || std::is_default_constructible_v<T>,
      "runhouse: co_spawn gives its handler (std::exception_ptr, T), so T must be default-constructible; let the "
      "task give a std::optional<T>");
  const auto initiate = []<class Handler>(Handler&& handler, Executor executor, task<T> body) {
    using root = detail::executor_root<Executor, T, std::decay_t<Handler>>;
    root::begin(executor, std::move(body), std::forward<Handler>(handler));
  };
  return asio::async_initiate<Token, detail::handler_signature<T>>(initiate, token, on, std::move(t));
}

}  // namespace rh
