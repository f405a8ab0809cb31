// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <coroutine>
#include <cstddef>
#include <exception>
#include <iterator>
#include <memory>
#include <utility>

namespace rh {

/// Values that a function makes one by one, each when it is asked for:
///
///     rh::generator<int> count(int to) {
///       for (int i = 0; i < to; ++i) co_yield i;
///     }
///
/// Here it is a range, to be gone through once. Where the function is sent, its values come as an rh::stream<T>.
/// It does not co_await. What it throws comes out of begin() or ++.
template <class T>
class [[nodiscard]] generator {
 public:
  struct promise_type {
    generator get_return_object() noexcept { return generator(std::coroutine_handle<promise_type>::from_promise(*this)); }
    std::suspend_always initial_suspend() const noexcept { return {}; }
    std::suspend_always final_suspend() const noexcept { return {}; }
    /// What is yielded lives until the coroutine goes on.
    std::suspend_always yield_value(const T& value) noexcept {
      current = std::addressof(value);
      return {};
    }
    void return_void() const noexcept {}
    void unhandled_exception() noexcept { error = std::current_exception(); }
    template <class U>
    void await_transform(U&&) = delete;

    const T* current = nullptr;
    std::exception_ptr error;
  };

  class iterator {
   public:
    using value_type = T;
    using difference_type = std::ptrdiff_t;

    iterator() noexcept = default;
    explicit iterator(std::coroutine_handle<promise_type> at) : at_(at) { go_on(); }
    const T& operator*() const noexcept { return *at_.promise().current; }
    iterator& operator++() {
      go_on();
      return *this;
    }
    void operator++(int) { go_on(); }
    friend bool operator==(const iterator& i, std::default_sentinel_t) noexcept { return i.at_.done(); }

   private:
    void go_on() {
      at_.resume();
      if (at_.promise().error) std::rethrow_exception(std::exchange(at_.promise().error, {}));
    }
    std::coroutine_handle<promise_type> at_;
  };

  generator(generator&& other) noexcept : coroutine_(std::exchange(other.coroutine_, {})) {}
  generator& operator=(generator&& other) noexcept {
    std::swap(coroutine_, other.coroutine_);
    return *this;
  }
  ~generator() {
    if (coroutine_) coroutine_.destroy();
  }

  /// Goes on to the first value. Once.
  iterator begin() { return iterator(coroutine_); }
  std::default_sentinel_t end() const noexcept { return {}; }

 private:
  explicit generator(std::coroutine_handle<promise_type> coroutine) noexcept : coroutine_(coroutine) {}
  std::coroutine_handle<promise_type> coroutine_;
};

}  // namespace rh
