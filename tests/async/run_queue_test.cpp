// SPDX-License-Identifier: Apache-2.0
#include <runhouse/async/run_queue.hpp>

#include "async/support.hpp"
#include "support/catch.hpp"
#include "support/manual_driver.hpp"

#include <runhouse/async/channel.hpp>
#include <runhouse/async/sync_wait.hpp>
#include <runhouse/async/timer.hpp>
#include <runhouse/async/when_all.hpp>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

using rh::channel;
using rh::run_queue;
using rh::sync_wait;
using rh::task;
using rh::test::manual_driver;

namespace {

/// Is resumed by a post from a thread of its own.
class posted_elsewhere {
 public:
  using queue_aware = void;
  explicit posted_elsewhere(std::vector<std::jthread>& threads) : threads_(&threads) {}
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> h) {
    node_.coroutine = h;
    run_queue* queue = h.promise().context.queue;
    threads_->emplace_back([this, queue] { queue->post(node_); });
  }
  void await_resume() const noexcept {}

 private:
  std::vector<std::jthread>* threads_;
  rh::resumption node_;
};

}  // namespace

TEST_CASE("after each await a task is on the thread that it began on", "[async][run_queue]") {
  const auto root = [](std::vector<std::jthread>& threads, int& strayed) -> task<> {
    const auto self = std::this_thread::get_id();
    const run_queue* const queue = run_queue::current();
    const auto inner = [](std::vector<std::jthread>& t) -> task<> { co_await posted_elsewhere(t); };
    for (int i = 0; i < 100; ++i) {
      co_await posted_elsewhere(threads);
      strayed += std::this_thread::get_id() != self;
      co_await inner(threads);
      strayed += std::this_thread::get_id() != self || run_queue::current() != queue;
      auto both = rh::when_all(inner(threads), inner(threads), rh::sleep_for(std::chrono::microseconds(1)));
      co_await std::move(both);
      strayed += std::this_thread::get_id() != self;
    }
  };
  int strayed = 0;
  std::vector<std::jthread> threads;
  sync_wait(root(threads, strayed));
  CHECK(strayed == 0);
}

TEST_CASE("posts of many threads at once reach a queue all, and in each thread's order", "[async][run_queue]") {
  constexpr int senders = 4;
  constexpr int count = 3000;
  const auto root = [](channel<int>& from, std::vector<int>& last, int& strayed) -> task<> {
    const auto self = std::this_thread::get_id();
    for (int i = 0; i < senders * count; ++i) {
      const auto value = co_await from.receive();
      strayed += std::this_thread::get_id() != self;
      auto& previous = last[static_cast<std::size_t>(*value / count)];
      strayed += *value <= previous;
      previous = *value;
    }
  };
  const auto sends = [](channel<int>& to, int first) -> task<> {
    for (int i = 0; i < count; ++i) co_await to.send(first + i);
  };
  channel<int> c(4);
  std::vector<int> last(senders, -1);
  int strayed = 0;
  std::vector<std::jthread> threads;
  for (int i = 0; i < senders; ++i) threads.emplace_back([&c, sends, i] { sync_wait(sends(c, i * count)); });
  sync_wait(root(c, last, strayed));
  CHECK(strayed == 0);
}

TEST_CASE("a root may end while the thread that resumed it is still inside its post", "[async][run_queue]") {
  const auto root = [](std::vector<std::jthread>& threads) -> task<> { co_await posted_elsewhere(threads); };
  for (int i = 0; i < 1000; ++i) {
    std::vector<std::jthread> threads;
    sync_wait(root(threads));
  }
}

TEST_CASE("each thread has its own current queue, and none outside its tasks", "[async][run_queue]") {
  const auto root = [](std::atomic<int>& wrong) -> task<> {
    const run_queue* const mine = run_queue::current();
    wrong += mine == nullptr;
    for (int i = 0; i < 100; ++i) {
      co_await rh::test::yield_now();
      wrong += run_queue::current() != mine;
    }
  };
  std::atomic<int> wrong{0};
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        for (int j = 0; j < 50; ++j) sync_wait(root(wrong));
        wrong += run_queue::current() != nullptr;
      });
    }
  }
  CHECK(wrong == 0);
}
