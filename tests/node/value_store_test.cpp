// SPDX-License-Identifier: Apache-2.0
#include <runhouse/rpc/store_account.hpp>

#include <runhouse/runhouse.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace std::chrono_literals;

namespace {

std::string of_size(std::size_t n) { return std::string(n, 'x'); }
std::size_t length(const std::string& text) { return text.size(); }
int own_pid() { return getpid(); }

/// A cluster that keeps at most so many bytes.
rh::cluster with_store(std::uint64_t bytes, unsigned workers = 1) {
  return rh::cluster(std::make_shared<rh::detail::local_session>(
      workers, [](const char*, bool, std::string_view) {}, rh::limits::worker_idle, bytes));
}

template <class Holds>
bool in_time(Holds&& holds) {
  for (int i = 0; i < 10'000; ++i) {
    if (holds()) return true;
    std::this_thread::sleep_for(1ms);
  }
  return false;
}

template <class Call>
rh::error error_of(Call&& call) {
  try {
    call();
  } catch (const rh::error& e) {
    return e;
  }
  return {rh::errc::closed, "nothing was thrown"};
}

}  // namespace

TEST_CASE("an account takes what fits, and tells who waits", "[node][store_account]") {
  rh::detail::store_account account(100);
  CHECK(account.take(60));
  CHECK(!account.take(41));
  CHECK(account.take(40));
  CHECK(!account.take(1));
  CHECK(!account.give_back(10));
  account.wait_for_room();
  CHECK(account.give_back(10));
  CHECK(!account.give_back(10));
  CHECK(account.used_bytes() == 70);
  CHECK(!account.take(~std::uint64_t{0}));
}

TEST_CASE("what is put where there is no room is refused at once", "[node][value_store]") {
  const rh::cluster own = with_store(1000);
  auto a = own.put(of_size(600));
  CHECK(own.usage().value_bytes == 608);
  const rh::error e = error_of([&] { static_cast<void>(own.put(of_size(600))); });
  CHECK(e.kind() == rh::errc::store_full);
  CHECK(e.code() == rh::remedy::retry_later);
  CHECK(std::string(e.what()) ==
        "put of 608 bytes: the values kept on local take 608 of 1000 bytes; let go of refs, or raise RUNHOUSE_STORE_BYTES");
  a = own.put(of_size(3));
  CHECK(own.put(of_size(600)).get() == of_size(600));
}

TEST_CASE("a result that could never be kept fails, and says that the function ran", "[node][value_store]") {
  const rh::cluster own = with_store(1000);
  auto big = own.send<&of_size>().remote(std::size_t{5000});
  const rh::error e = error_of([&] { big.get(); });
  CHECK(e.kind() == rh::errc::store_full);
  CHECK(e.origin().reached == rh::stage::ran);
  auto after = own.send<&length>()(big);
  CHECK(error_of([&] { after.get(); }).kind() == rh::errc::store_full);
  CHECK(own.send<&of_size>()(std::size_t{5000}).get() == of_size(5000));  // a call's result is its caller's
}

TEST_CASE("a result for which there is no room yet waits, and holds its worker", "[node][value_store]") {
  for (const std::size_t size : {std::size_t{100'000}, std::size_t{3'000'000}}) {
    const rh::cluster own = with_store(5 * size / 2, 2);
    auto make = own.send<&of_size>();
    std::vector<rh::ref<std::string>> kept;
    for (int i = 0; i < 6; ++i) kept.push_back(make.remote(size));
    const auto ready_count = [&] { return std::ranges::count_if(kept, &rh::ref<std::string>::is_ready); };
    REQUIRE(in_time([&] { return ready_count() == 2; }));
    std::this_thread::sleep_for(50ms);  // however long: the others cannot end
    CHECK(ready_count() == 2);
    CHECK(own.usage().value_bytes < 5 * size / 2);
    while (!kept.empty()) {  // in the order in which they come: a later one may have the room that an earlier one waits for
      auto ready = kept.end();
      REQUIRE(in_time([&] { return (ready = std::ranges::find_if(kept, &rh::ref<std::string>::is_ready)) != kept.end(); }));
      CHECK(ready->get().size() == size);
      kept.erase(ready);
    }
    CHECK(in_time([&] { return own.usage().value_bytes == 0; }));
    CHECK(own.send<&own_pid>()().get() != getpid());
  }
}

TEST_CASE("a result that waits for room can be cancelled", "[node][value_store]") {
  const rh::cluster own = with_store(250'000);
  const int pid = own.send<&own_pid>()().get();
  auto make = own.send<&of_size>();
  auto a = make.remote(std::size_t{100'000});
  auto b = make.remote(std::size_t{100'000});
  {
    auto c = make.remote(std::size_t{100'000});
    CHECK(in_time([&] { return b.is_ready(); }));
    std::this_thread::sleep_for(20ms);
    CHECK(!c.is_ready());
  }
  CHECK(own.send<&own_pid>()().get() == pid);
  CHECK(in_time([&] { return own.usage().unfinished_calls == 0; }));
  CHECK(own.usage().value_bytes < 250'000);
}

TEST_CASE("a worker that dies while its result waits for room takes nothing else with it", "[node][value_store]") {
  const rh::cluster own = with_store(150'000);
  const int pid = own.send<&own_pid>()().get();
  auto make = own.send<&of_size>();
  auto a = make.remote(std::size_t{100'000});
  auto b = make.remote(std::size_t{100'000});
  CHECK(in_time([&] { return a.is_ready(); }));
  std::this_thread::sleep_for(20ms);
  kill(pid, SIGKILL);
  CHECK(error_of([&] { b.get(); }).kind() == rh::errc::store_full);
  CHECK(a.get().size() == 100'000);
  CHECK(own.send<&own_pid>()().get() != pid);
}
