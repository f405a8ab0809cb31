// SPDX-License-Identifier: Apache-2.0
#include <runhouse/send/async_get.hpp>

#include "support/catch.hpp"

#include <asio/awaitable.hpp>
#include <asio/bind_cancellation_slot.hpp>
#include <asio/bind_executor.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/detached.hpp>
#include <asio/use_awaitable.hpp>
#include <asio/use_future.hpp>

#include <atomic>
#include <exception>
#include <future>
#include <memory>
#include <optional>
#include <stdexcept>
#include <thread>
#include <utility>

namespace {

/// A call that the test ends by hand.
class hand_made final : public rh::detail::pending {
 public:
  static inline std::atomic<int> alive{0};
  hand_made() { ++alive; }
  ~hand_made() override { --alive; }
  void ends_with(int v) {
    value = v;
    end();
  }
  void cancel() noexcept override { ++cancels; }
  rh::wire::payload_view result(std::size_t, std::vector<std::span<const std::byte>>&) override { return {}; }
  int value = 0;
  std::atomic<int> cancels{0};
};
using made_call = rh::detail::counted<hand_made>;

std::unique_ptr<int> take(rh::detail::pending& p) {
  const int value = static_cast<hand_made&>(p).value;
  if (value < 0) throw std::out_of_range("negative");
  return std::make_unique<int>(value);
}
void take_void(rh::detail::pending& p) {
  static_cast<void>(take(p));
}

made_call make() {
  return made_call(new hand_made);
}
rh::call<std::unique_ptr<int>> call_of(const made_call& c) {
  return {c, &take};
}
rh::call<void> void_call_of(const made_call& c) {
  return {c, &take_void};
}

std::optional<rh::errc> kind_in(const std::exception_ptr& e) {
  try {
    if (e) std::rethrow_exception(e);
  } catch (const rh::error& error) {
    return error.kind();
  } catch (...) {
  }
  return std::nullopt;
}

}  // namespace

TEST_CASE("async_get gives the result on the handler's executor, whenever the call ends", "[send][async_get]") {
  {
    asio::io_context io;
    int sum = 0;
    const auto add = [&](std::exception_ptr e, std::unique_ptr<int> value) {
      CHECK_FALSE(e);
      sum += *value;
    };
    const auto before = make();
    before->ends_with(1);
    call_of(before).async_get(asio::bind_executor(io, add));
    const auto after = make();
    call_of(after).async_get(asio::bind_executor(io, add));
    CHECK(sum == 0);
    io.poll();
    CHECK(sum == 1);
    CHECK_FALSE(io.stopped());  // it has work while the call is under way
    std::jthread elsewhere([&] { after->ends_with(2); });
    io.run();
    CHECK(sum == 3);
    CHECK(before->cancels == 0);
    CHECK(after->cancels == 0);
  }
  CHECK(hand_made::alive == 0);
}

TEST_CASE("async_get gives errors as exceptions, also of void calls", "[send][async_get]") {
  asio::io_context io;
  int failed = 0;
  const auto one = make();
  const auto other = make();
  call_of(one).async_get(asio::bind_executor(io, [&](std::exception_ptr e, std::unique_ptr<int> value) {
    CHECK_THROWS_AS(std::rethrow_exception(e), std::out_of_range);
    CHECK_FALSE(value);
    ++failed;
  }));
  void_call_of(other).async_get(asio::bind_executor(io, [&](std::exception_ptr e) {
    CHECK_THROWS_AS(std::rethrow_exception(e), std::out_of_range);
    ++failed;
  }));
  one->ends_with(-1);
  other->ends_with(-1);
  io.run();
  CHECK(failed == 2);
}

TEST_CASE("async_get gives futures, and values to asio's awaitables", "[send][async_get]") {
  const auto value = make();
  const auto error = make();
  const auto nothing = make();
  auto first = call_of(value).async_get(asio::use_future);
  auto second = call_of(error).async_get(asio::use_future);
  auto third = void_call_of(nothing).async_get(asio::use_future);
  value->ends_with(5);
  error->ends_with(-5);
  nothing->ends_with(1);
  CHECK(*first.get() == 5);
  CHECK_THROWS_AS(second.get(), std::out_of_range);
  CHECK_NOTHROW(third.get());

  const auto theirs = [](made_call c, int& result) -> asio::awaitable<void> {
    auto call = call_of(c);
    const auto box = co_await call.async_get(asio::use_awaitable);
    result = *box;
  };
  asio::io_context io;
  int result = 0;
  const auto awaited = make();
  asio::co_spawn(io, theirs(awaited, result), asio::detached);
  io.poll();
  awaited->ends_with(6);
  io.run();
  CHECK(result == 6);
}

TEST_CASE("a cancellation slot cancels the call of async_get, and the handler need not wait for its end",
          "[send][async_get]") {
  {
    asio::io_context io;
    asio::cancellation_signal signal;
    std::optional<rh::errc> kind;
    const auto c = make();
    const auto handler = [&](std::exception_ptr e) { kind = kind_in(e); };
    void_call_of(c).async_get(asio::bind_cancellation_slot(signal.slot(), asio::bind_executor(io, handler)));
    signal.emit(asio::cancellation_type::total);
    io.poll();
    CHECK_FALSE(kind);
    signal.emit(asio::cancellation_type::terminal);
    signal.emit(asio::cancellation_type::terminal);
    io.run();
    CHECK(kind == rh::errc::cancelled);
    CHECK(c->cancels == 1);
    c->ends_with(1);
    signal.emit(asio::cancellation_type::terminal);
    CHECK(c->cancels == 1);
  }
  CHECK(hand_made::alive == 0);
}

TEST_CASE("cancelling async_get after the end of its call changes nothing", "[send][async_get]") {
  asio::io_context io;
  asio::cancellation_signal signal;
  int value = 0;
  const auto c = make();
  const auto handler = [&](std::exception_ptr, std::unique_ptr<int> box) { value = *box; };
  call_of(c).async_get(asio::bind_cancellation_slot(signal.slot(), asio::bind_executor(io, handler)));
  c->ends_with(8);
  signal.emit(asio::cancellation_type::terminal);
  io.run();
  CHECK(value == 8);
  CHECK(c->cancels == 0);
}

TEST_CASE("async_get takes the result: a second one is errc::already_taken", "[send][async_get]") {
  const auto c = make();
  auto call = void_call_of(c);
  auto future = call.async_get(asio::use_future);
  std::optional<rh::errc> kind;
  try {
    call.async_get(asio::detached);
  } catch (const rh::error& e) {
    kind = e.kind();
  }
  CHECK(kind == rh::errc::already_taken);
  c->ends_with(0);
  future.get();
  CHECK(c->cancels == 0);
}

TEST_CASE("an async_get that is never awaited cancels its call", "[send][async_get]") {
  {
    const auto c = make();
    {
      auto lazy = void_call_of(c).async_get(asio::use_awaitable);
      static_cast<void>(lazy);
    }
    CHECK(c->cancels == 1);
  }
  CHECK(hand_made::alive == 0);
}

TEST_CASE("ends and cancellations of async_get race: the handler is called once", "[send][async_get]") {
  for (int i = 0; i < 2000; ++i) {
    asio::io_context io;
    asio::cancellation_signal signal;
    int called = 0;
    const auto c = make();
    const auto handler = [&](std::exception_ptr) { ++called; };
    void_call_of(c).async_get(asio::bind_cancellation_slot(signal.slot(), asio::bind_executor(io, handler)));
    std::jthread ends([&] { c->ends_with(0); });
    signal.emit(asio::cancellation_type::terminal);
    io.run();
    if (called != 1) FAIL("called " << called << " times");
  }
  CHECK(hand_made::alive == 0);
}
