// SPDX-License-Identifier: Apache-2.0
#include <runhouse/async/generator.hpp>

#include <runhouse/runhouse.hpp>

#include "support/catch.hpp"
#include "support/test_cluster.hpp"

#include <chrono>
#include <csignal>
#include <cstdint>
#include <fcntl.h>
#include <numeric>
#include <optional>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace std::chrono_literals;

namespace {

rh::generator<int> count(int to) {
  for (int i = 0; i < to; ++i) co_yield i;
}
rh::generator<std::string> words(std::string_view text) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    co_yield std::string(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}
rh::generator<std::vector<int>> blocks(int times, std::size_t size) {
  for (int i = 0; i < times; ++i) co_yield std::vector<int>(size, i);
}
rh::generator<int> throws_after(int items, bool an_int) {
  for (int i = 0; i < items; ++i) co_yield i;
  if (an_int) throw 42;
  throw std::out_of_range("no more");
}
rh::generator<int> dies_after(int items) {
  for (int i = 0; i < items; ++i) co_yield i;
  std::this_thread::sleep_for(50ms);  // what it gave is on its way
  std::raise(SIGKILL);
}
/// Writes a byte for each that it makes, and one when it is destroyed.
rh::generator<int> noted(const std::string& path, int to) {
  struct file {
    int fd;
    ~file() {
      static_cast<void>(!write(fd, "d", 1));
      close(fd);
    }
  } out{open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC)};
  for (int i = 0; i < to; ++i) {
    static_cast<void>(!write(out.fd, "i", 1));
    co_yield i;
  }
}
rh::generator<int> until_stopped(std::stop_token stop) {
  for (int i = 0; !stop.stop_requested(); ++i) {
    co_yield i;
    std::this_thread::sleep_for(1ms);
  }
}
rh::generator<int> silent(std::stop_token stop) {
  while (!stop.stop_requested()) std::this_thread::sleep_for(1ms);
  co_yield 1;
}
struct scaled {
  int by = 1;
  rh::generator<int> operator()(std::span<const int> values) const {
    for (const int v : values) co_yield by * v;
  }
  template <class Archive>
  void serialize(Archive& archive) {
    archive(by);
  }
};
int own_pid() { return getpid(); }

template <class T>
std::vector<T> all_of(rh::stream<T> s) {
  std::vector<T> values;
  while (auto v = s.next().get()) values.push_back(std::move(*v));
  return values;
}
template <class Body>
rh::error error_of(Body body) {
  try {
    body();
  } catch (const rh::error& e) {
    return e;
  }
  throw std::logic_error("no error");
}
bool in_time(auto condition) {
  const auto until = std::chrono::steady_clock::now() + 60s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(1ms);
  }
  return true;
}
struct note_file {
  std::string path = "/tmp/runhouse_generator_" + std::to_string(getpid());
  note_file() { close(open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600)); }
  ~note_file() { unlink(path.c_str()); }
  std::string read() const {
    std::string text(1 << 20, '\0');
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    text.resize(static_cast<std::size_t>(std::max<ssize_t>(0, ::read(fd, text.data(), text.size()))));
    close(fd);
    return text;
  }
};

TEST_CASE("a generator is a range where it is called", "[send][generator]") {
  int sum = 0;
  for (const int i : count(5)) sum += i;
  CHECK(sum == 10);
  for (const int i : count(0)) sum += i;
  CHECK(sum == 10);
  auto fails = throws_after(1, false);
  auto at = fails.begin();
  CHECK(*at == 0);
  CHECK_THROWS_AS(++at, std::out_of_range);
}

TEST_CASE("a generator's values come as a stream, in order, to the last", "[send][generator]") {
  const rh::cluster own = test_cluster(2);
  std::vector<int> expected(100'000);
  std::iota(expected.begin(), expected.end(), 0);
  CHECK(all_of(own.send<&count>()(100'000)) == expected);
  CHECK(all_of(own.send<&count>()(0)).empty());
  CHECK(all_of(own.send<&words>()("a view lives as long as the generator")) ==
        std::vector<std::string>{"a", "view", "lives", "as", "long", "as", "the", "generator"});
  rh::send by_three(scaled{3}, own);
  CHECK(all_of(by_three(std::vector<int>(2000, 1))) == std::vector<int>(2000, 3));
  auto queued = own.send<&count>().enqueue(3);
  CHECK(all_of(std::move(queued)) == std::vector<int>{0, 1, 2});
  auto done = own.send<&count>()(1);
  CHECK(done.next().get() == 0);
  CHECK(!done.next().get());
  CHECK(!done.next().get());
  CHECK(own.usage().unfinished_calls == 0);
}

TEST_CASE("values of any size come through", "[send][generator]") {
  const rh::cluster own = test_cluster(1);
  for (const std::size_t size : {std::size_t{3}, std::size_t{10'000}, std::size_t{100'000}, std::size_t{1'000'000}}) {
    auto s = own.send<&blocks>()(20, size);
    for (int i = 0; i < 20; ++i) {
      const auto block = s.next().get();
      REQUIRE(block);
      CHECK(*block == std::vector<int>(size, i));
    }
    CHECK(!s.next().get());
  }
}

TEST_CASE("consumers that ask ahead are served in their order", "[send][generator]") {
  const rh::cluster own = test_cluster(1);
  auto s = own.send<&count>()(5);
  std::vector<rh::call<std::optional<int>>> asked;
  for (int i = 0; i < 8; ++i) asked.push_back(s.next());
  for (int i = 0; i < 8; ++i) CHECK(asked[static_cast<std::size_t>(i)].get() == (i < 5 ? std::optional(i) : std::nullopt));
}

TEST_CASE("what a generator throws comes behind its values", "[send][generator]") {
  const rh::cluster own = test_cluster(1);
  auto s = own.send<&throws_after>()(3, false);
  for (int i = 0; i < 3; ++i) CHECK(s.next().get() == i);
  CHECK_THROWS_AS(s.next().get(), std::out_of_range);
  CHECK(!s.next().get());
  auto odd = own.send<&throws_after>()(0, true);
  CHECK_THROWS_AS(odd.next().get(), rh::remote_error);
}

TEST_CASE("a worker that dies ends the stream with what came before", "[send][generator]") {
  const rh::cluster own = test_cluster(1);
  for (const unsigned retries : {0u, 3u}) {  // what gave a value is not run again
    auto s = own.send<&dies_after>().retry(retries)(3);
    for (int i = 0; i < 3; ++i) CHECK(s.next().get() == i);
    const rh::error e = error_of([&] { s.next().get(); });
    CHECK(e.kind() == rh::errc::worker_died);
    CHECK(e.origin().reached == rh::stage::may_have_run);
    CHECK(!s.next().get());
  }
  CHECK(own.send<&own_pid>()().get() != getpid());
}

TEST_CASE("a generator is only so far ahead of its consumer", "[send][generator]") {
  const rh::cluster own = test_cluster(1);
  const note_file notes;
  auto s = own.send<&noted>()(notes.path, 100'000);
  REQUIRE(in_time([&] { return notes.read().size() == rh::limits::items_ahead; }));
  std::this_thread::sleep_for(50ms);  // however long
  CHECK(notes.read().size() == rh::limits::items_ahead);
  for (int i = 0; i < 10'000; ++i) REQUIRE(s.next().get() == i);
  CHECK(notes.read().size() <= 10'000 + rh::limits::items_ahead);
}

TEST_CASE("a dropped stream ends its generator, which destroys what it has", "[send][generator]") {
  const rh::cluster own = test_cluster(1);
  const note_file notes;
  const int before = own.send<&own_pid>()().get();
  {
    auto s = own.send<&noted>()(notes.path, 100'000);
    CHECK(s.next().get() == 0);
    REQUIRE(in_time([&] { return notes.read().size() >= rh::limits::items_ahead; }));
  }
  CHECK(own.send<&own_pid>()().get() == before);
  CHECK(notes.read().ends_with('d'));
  {
    auto s = own.send<&until_stopped>()();
    CHECK(s.next().get() == 0);
  }
  CHECK(own.send<&own_pid>()().get() == before);
  CHECK(own.usage().unfinished_calls == 0);
}

rh::task<bool> times_out(rh::cluster own) {
  auto s = own.send<&silent>()();
  bool late = false;
  try {
    auto next = s.next();
    co_await rh::with_timeout(20ms, std::move(next));
  } catch (const rh::error& e) {
    late = e.kind() == rh::errc::timed_out;
  }
  co_return late;
}

TEST_CASE("the wait for a value can be cancelled", "[send][generator]") {
  const rh::cluster own = test_cluster(1);
  CHECK(rh::sync_wait(times_out(own)));
  CHECK(own.send<&own_pid>()().get() != getpid());
}

TEST_CASE("several streams go on side by side", "[send][generator]") {
  const rh::cluster own = test_cluster(2);
  auto a = own.send<&count>()(20'000);
  auto b = own.send<&count>()(20'000);
  for (int i = 0; i < 20'000; ++i) {
    REQUIRE(a.next().get() == i);
    REQUIRE(b.next().get() == i);
  }
  CHECK(!a.next().get());
  CHECK(!b.next().get());
}

}  // namespace
