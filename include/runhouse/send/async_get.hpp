// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/asio.hpp>
#include <runhouse/async/delivery.hpp>
#include <runhouse/core/error.hpp>
#include <runhouse/send/call.hpp>

#include <asio/system_executor.hpp>

#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace rh {

namespace detail {

/// A call whose result goes to a handler. Holds itself until the call has ended, or was cancelled through the handler's
/// cancellation slot.
template <class R, class Handler>
class async_get_operation final : end_waiter {
 public:
  async_get_operation(Handler handler, counted<pending> of, R (*taken)(pending&))
      : handler_(std::move(handler), asio::system_executor()), pending_(std::move(of)), take_(taken) {}

  static void begin(Handler handler, counted<pending> of, R (*taken)(pending&)) {
    const auto op = std::make_shared<async_get_operation>(std::move(handler), std::move(of), taken);
    op->self_ = op;
    op->handler_.on_cancellation([weak = std::weak_ptr(op)] {
      if (const auto self = weak.lock()) self->stop_requested();
    });
    if (!op->pending_->wait(*op)) op->deliver();
  }

 private:
  void ended() noexcept override { deliver(); }
  void stop_requested() noexcept {
    if (!pending_->withdraw(*this)) return;
    cancelled_ = true;
    pending_->cancel();
    deliver();
  }
  /// By the one who ended or withdrew it.
  void deliver() noexcept {
    handler_.post([self = std::exchange(self_, nullptr)](Handler&& handler) mutable {
      complete(std::move(self), std::move(handler));
    });
  }
  /// On the handler's executor: the result is decoded there, and the call is gone before the handler is called.
  static void complete(std::shared_ptr<async_get_operation> self, Handler&& handler) {
    std::exception_ptr error;
    if constexpr (std::is_void_v<R>) {
      try {
        self->take();
      } catch (...) {
        error = std::current_exception();
      }
      self.reset();
      std::move(handler)(error);
    } else {
      std::optional<R> result;
      try {
        result.emplace(self->take());
      } catch (...) {
        error = std::current_exception();
        result.emplace();
      }
      self.reset();
      std::move(handler)(error, std::move(*result));
    }
  }
  R take() {
    if (cancelled_) {
      fail(errc::cancelled, "a call was cancelled through the cancellation slot of its handler", stage::may_have_run);
    }
    return take_(*pending_);
  }

  delivery<Handler, asio::system_executor> handler_;
  const counted<pending> pending_;
  R (*take_)(pending&);
  bool cancelled_ = false;
  std::shared_ptr<async_get_operation> self_;
};

}  // namespace detail

/// Gives the result to a completion token: a callback, asio::use_future, asio::use_awaitable.
///
/// Executor: the handler is posted to its associated executor, which has work until then; it has none of its own, so a
/// plain callback runs on Asio's system_executor. The result is decoded there.
/// Cancellation: terminal and partial, through the handler's associated cancellation slot, cancel the call; the handler
/// then gets errc::cancelled at once. Errors: as the await; errc::already_taken is thrown here.
template <class R>
template <class Token>
auto call<R>::async_get(Token&& token) {
  static_assert(
      std::is_void_v<R> || std::is_default_constructible_v<R>,
      "runhouse: async_get gives its handler (std::exception_ptr, R), so R must be default-constructible; co_await "
      "the call, or get() it");
  // The call itself travels, so that an initiation that is dropped cancels it.
  call taken(handle_.take(), take_);
  const auto initiate = []<class Handler>(Handler&& handler, call made) {
    detail::async_get_operation<R, std::decay_t<Handler>>::begin(std::forward<Handler>(handler), made.handle_.take(),
                                                                 made.take_);
  };
  return asio::async_initiate<Token, detail::handler_signature<R>>(initiate, token, std::move(taken));
}

}  // namespace rh
