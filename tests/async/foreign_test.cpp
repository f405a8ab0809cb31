// SPDX-License-Identifier: Apache-2.0
#include <runhouse/async/foreign.hpp>

#include "async/support.hpp"
#include "support/catch.hpp"
#include "support/manual_driver.hpp"

#include <runhouse/async/sync_wait.hpp>
#include <runhouse/async/task.hpp>
#include <runhouse/async/when_all.hpp>

#include <coroutine>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using rh::sync_wait;
using rh::task;
using rh::test::counted_object;
using rh::test::manual_driver;

namespace {

/// As another library may have it: knows nothing of queues, resumes on a thread of its own, may not be moved.
class elsewhere {
 public:
  elsewhere(std::vector<std::jthread>& threads, int value) : threads_(&threads), value_(value) {}
  elsewhere(const elsewhere&) = delete;
  elsewhere& operator=(const elsewhere&) = delete;
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> h) {
    threads_->emplace_back([h] { h.resume(); });
  }
  std::unique_ptr<int> await_resume() const {
    if (value_ < 0) throw std::runtime_error("elsewhere");
    return std::make_unique<int>(value_);
  }

 private:
  std::vector<std::jthread>* threads_;
  int value_;
};

struct ready {
  counted_object object;
  bool await_ready() const noexcept { return true; }
  void await_suspend(std::coroutine_handle<>) const noexcept {}
  void await_resume() const noexcept {}
};
struct resumes_at_once {
  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<>) const noexcept { return false; }
  int await_resume() const noexcept { return 5; }
};
struct transfers {
  bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> h) const noexcept { return h; }
  int await_resume() const noexcept { return 6; }
};
struct with_member {
  counted_object object;
  resumes_at_once operator co_await() && noexcept { return {}; }
};
struct with_function {
  std::string text;
};
ready operator co_await(const with_function&) {
  return {counted_object(1)};
}

}  // namespace

TEST_CASE("a task goes on on its own thread after an await that resumed on another", "[async][foreign]") {
  const auto root = [](std::vector<std::jthread>& threads, int& strayed) -> task<int> {
    const auto self = std::this_thread::get_id();
    int sum = 0;
    for (int i = 0; i < 200; ++i) {
      const auto value = co_await elsewhere(threads, i);
      strayed += std::this_thread::get_id() != self;
      sum += *value;
    }
    co_return sum;
  };
  std::vector<std::jthread> threads;
  int strayed = 0;
  CHECK(sync_wait(root(threads, strayed)) == 199 * 100);
  CHECK(strayed == 0);
}

TEST_CASE("an awaitable of another library may be a named object that cannot be moved", "[async][foreign]") {
  const auto root = [](std::vector<std::jthread>& threads) -> task<int> {
    elsewhere named(threads, 4);
    const auto first = co_await named;
    const auto second = co_await std::move(named);
    co_return *first + *second;
  };
  std::vector<std::jthread> threads;
  CHECK(sync_wait(root(threads)) == 8);
}

TEST_CASE("an exception of another library's awaitable comes out of the co_await", "[async][foreign]") {
  const auto root = [](std::vector<std::jthread>& threads) -> task<> {
    const auto value = co_await elsewhere(threads, -1);
    static_cast<void>(value);
  };
  std::vector<std::jthread> threads;
  CHECK_THROWS_WITH(sync_wait(root(threads)), "elsewhere");
}

TEST_CASE("awaitables of another library: ready, resuming at once, or with an operator co_await", "[async][foreign]") {
  const auto root = []() -> task<int> {
    co_await std::suspend_never();
    ready named{counted_object(2)};
    co_await named;
    const int at_once = co_await resumes_at_once();
    const int transferred = co_await transfers();
    with_member member{counted_object(3)};
    const int by_member = co_await std::move(member);
    with_function function{"a string that is too long for the small-string buffer"};
    co_await function;
    co_await std::move(function);
    co_return at_once + transferred + by_member;
  };
  manual_driver d;
  CHECK(sync_wait(root(), d) == 16);
  CHECK(counted_object::alive == 0);
  CHECK(counted_object::misused == 0);
}

TEST_CASE("awaitables of another library can take part in when_all", "[async][foreign]") {
  const auto root = []() -> task<int> {
    auto all = rh::when_all(resumes_at_once(), transfers(), with_member{counted_object(1)});
    const auto values = co_await std::move(all);
    co_return std::get<0>(values) + std::get<1>(values) + std::get<2>(values);
  };
  manual_driver d;
  CHECK(sync_wait(root(), d) == 16);
  CHECK(counted_object::alive == 0);
}

TEST_CASE("many awaits of another library's awaitables do not grow the stack", "[async][foreign]") {
  const auto root = []() -> task<long> {
    long sum = 0;
    for (int i = 0; i < 300'000; ++i) {
      const int value = co_await resumes_at_once();
      sum += value;
    }
    co_return sum;
  };
  manual_driver d;
  CHECK(sync_wait(root(), d) == 1'500'000);
}
