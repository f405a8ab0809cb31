// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/task.hpp>

#include <coroutine>
#include <cstddef>
#include <exception>
#include <optional>
#include <stop_token>
#include <utility>

namespace rh::detail {

/// Children's stop: their parent's, once linked to it, and their own.
class stop_below {
 public:
  /// For as long as it lives, what is below stops when the parent does.
  class link {
   public:
    /// `parent` may be null.
    void make(const std::stop_token* parent, stop_below& below) {
      if (parent != nullptr && parent->stop_possible()) callback_.emplace(*parent, request{&below.source_});
    }
    void end() noexcept { callback_.reset(); }

   private:
    struct request {
      std::stop_source* source;
      void operator()() const noexcept { source->request_stop(); }
    };
    std::optional<std::stop_callback<request>> callback_;
  };

  stop_below() : token_(source_.get_token()) {}
  void request_stop() noexcept { source_.request_stop(); }
  const std::stop_token& token() const noexcept { return token_; }

 private:
  std::stop_source source_;
  std::stop_token token_;
};

/// The same with its link.
class nested_stop : public stop_below {
 public:
  void follow(const std::stop_token* parent) { link_.make(parent, *this); }

 private:
  link link_;  // the first to go: it waits for a parent's stop that is under way
};

/// The root of a chain of tasks: begins when it is started, ends by itself.
class fork {
 public:
  struct promise_type : promise_base {
    fork get_return_object() noexcept { return fork(std::coroutine_handle<promise_type>::from_promise(*this)); }
    std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
    resumption start;
  };

  fork(fork&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
  fork& operator=(fork&&) = delete;

  /// Makes it ready on `context.queue`. Any thread; at most once. One that is not started is dropped.
  void start(task_context context) noexcept {
    auto frame = std::exchange(frame_, nullptr);
    promise_type& p = frame.promise();
    p.context = context;
    p.start.coroutine = frame;
    context.queue->post(p.start);
  }
  ~fork() {
    if (frame_) frame_.destroy();
  }

 private:
  explicit fork(std::coroutine_handle<promise_type> frame) noexcept : frame_(frame) {}
  std::coroutine_handle<promise_type> frame_;
};

/// How one child ended: a value, or an exception.
template <class T>
class ending {
 public:
  void set_value(T value) { value_.emplace(std::move(value)); }
  void set_error(std::exception_ptr error) noexcept { error_ = std::move(error); }
  const std::exception_ptr& error() const noexcept { return error_; }
  T take() {
    if (error_) std::rethrow_exception(error_);
    return std::move(*value_);
  }

 private:
  std::optional<T> value_;
  std::exception_ptr error_;
};

template <>
class ending<void> {
 public:
  void set_error(std::exception_ptr error) noexcept { error_ = std::move(error); }
  const std::exception_ptr& error() const noexcept { return error_; }
  void take() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  std::exception_ptr error_;
};

/// Runs `t` to its end and then calls `ended(failed)`, the last thing that it does.
template <class T, class Ended>
RH_TEMPLATE_COROUTINE fork run_child(task<T> t, ending<T>& out, Ended ended) {
  try {
    if constexpr (std::is_void_v<T>) {
      co_await std::move(t);
    } else {
      out.set_value(co_await std::move(t));
    }
  } catch (...) {
    out.set_error(std::current_exception());
  }
  t = {};  // its frame goes before the parent may go on
  ended(static_cast<bool>(out.error()));
}

/// Counts children down, and makes their parent ready when the last has ended. All on one queue, so no atomics.
class join_point {
 public:
  explicit join_point(std::size_t children) noexcept : open_(children) {}
  /// For the parent: true if there is nothing to wait for.
  bool is_open() const noexcept { return open_ == 0; }
  bool is_awaited() const noexcept { return queue_ != nullptr; }
  void wait(std::coroutine_handle<> parent, run_queue& queue) noexcept {
    parent_.coroutine = parent;
    queue_ = &queue;
  }
  void add() noexcept { ++open_; }
  void arrive() noexcept {
    if (--open_ == 0 && queue_ != nullptr) std::exchange(queue_, nullptr)->post(parent_);
  }
  std::size_t waiting_for() const noexcept { return open_; }

 private:
  std::size_t open_;
  resumption parent_;
  run_queue* queue_ = nullptr;
};

}  // namespace rh::detail
