// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/asio.hpp>

#include <asio/associated_allocator.hpp>
#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/cancellation_type.hpp>

#include <exception>
#include <type_traits>
#include <utility>

namespace rh::detail {

/// What the handlers of completion tokens are called with: asio's use_future and use_awaitable throw the exception.
template <class T>
struct handler_signature_of {
  using type = void(std::exception_ptr, T);
};
template <>
struct handler_signature_of<void> {
  using type = void(std::exception_ptr);
};
template <class T>
using handler_signature = typename handler_signature_of<T>::type;

/// A handler that is going to be called on its own associated executor, which has work until then.
template <class Handler, class Executor>
class delivery {
  using target = asio::associated_executor_t<Handler, Executor>;

 public:
  /// `otherwise`: where the handler names no executor.
  delivery(Handler handler, const Executor& otherwise)
      : work_(asio::get_associated_executor(handler, otherwise)), handler_(std::move(handler)) {}

  /// Posts `call(handler)`. Once.
  template <class Call>
  void post(Call call) {
    auto work = std::move(work_);
    const target executor = work.get_executor();
    asio::post(executor, delivered<Call>{std::move(handler_), std::move(call), std::move(work)});
  }

  /// Has `stop(void)` called when the handler's cancellation slot asks for an end that may have had effects.
  template <class Stop>
  void on_cancellation(Stop stop) {
    auto slot = asio::get_associated_cancellation_slot(handler_);
    if (!slot.is_connected()) return;
    slot.assign([stop = std::move(stop)](asio::cancellation_type type) {
      const auto heeded = asio::cancellation_type::terminal | asio::cancellation_type::partial;
      if ((type & heeded) != asio::cancellation_type::none) stop();
    });
  }

 private:
  template <class Call>
  struct delivered {
    using allocator_type = asio::associated_allocator_t<Handler>;
    allocator_type get_allocator() const noexcept { return asio::get_associated_allocator(handler); }
    void operator()() { call(std::move(handler)); }

    Handler handler;
    Call call;
    asio::executor_work_guard<target> work;
  };

  asio::executor_work_guard<target> work_;
  Handler handler_;
};

}  // namespace rh::detail
