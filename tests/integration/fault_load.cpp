// SPDX-License-Identifier: Apache-2.0
//
// What tests/support/faults/run.py runs under faults: many calls of all kinds at once, each of which writes down when
// it begins and ends, as its caller does what came of it. What the calls are depends on the seed alone.
//
//     FAULT_RUN=ID FAULT_JOURNAL=FILE fault_load [--cluster NAME] --history FILE --calls N --lanes N
#include <runhouse/runhouse.hpp>

#include "support/faults/journal.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <unistd.h>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using namespace rh::test::faults;
using std::uint32_t;
using std::uint64_t;
using std::uint8_t;

namespace {

constexpr std::size_t longest_operation = 128;  // calls

// ---- what runs in workers

uint64_t descriptor_count() {
  return static_cast<uint64_t>(std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {}));
}

void print_descriptors() {
  for (const auto& one : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    std::fprintf(stderr, "descriptor %s: %s\n", one.path().filename().c_str(), std::filesystem::read_symlink(one.path(), gone).c_str());
  }
}

/// The value of the call of that token.
uint64_t value_of(uint64_t token) {
  return mixed(journal::of_process().head().seed ^ token);
}

/// A call that runs: in the journal while it lives. The one whose turn it is ends its worker, if that was ordered.
class running {
 public:
  explicit running(uint64_t token) : slot_(&journal::of_process().slot(token)) {
    journal_head& head = journal::of_process().head();
    slot_->begun.fetch_add(1);
    slot_->began_at.store(head.sequence.fetch_add(1) + 1);
    slot_->pid.store(static_cast<uint64_t>(::getpid()));
    if (head.order.load(std::memory_order_relaxed) != order::none) obey(head.order.exchange(order::none));
  }
  running(const running&) = delete;
  running& operator=(const running&) = delete;
  ~running() {
    slot_->ended_at.store(journal::of_process().head().sequence.fetch_add(1) + 1);
    slot_->ended.fetch_add(1);
  }

 private:
  static void obey(order what) {
    switch (what) {
      case order::none: return;
      case order::exit: std::exit(3);
      case order::quick_exit: ::_exit(0);
      case order::abort: std::abort();
      case order::segfault: {
        volatile int* const nowhere = nullptr;
        *nowhere = 1;
        return;
      }
      case order::kill: std::raise(SIGKILL); return;
      case order::close_descriptors:
        for (int fd = 0; fd < 1024; ++fd) ::close(fd);
        return;
    }
  }
  journal_slot* slot_;
};

uint64_t plain(uint64_t token) {
  const running mark(token);
  return value_of(token);
}
uint64_t nap(uint64_t token, uint32_t microseconds) {
  const running mark(token);
  std::this_thread::sleep_for(std::chrono::microseconds(microseconds));
  return value_of(token);
}
uint64_t after(uint64_t token, uint64_t before) {
  const running mark(token);
  return mixed(value_of(token) ^ before);
}
std::vector<uint64_t> make_big(uint64_t token, uint64_t words) {
  const running mark(token);
  return std::vector<uint64_t>(words, value_of(token));
}
/// The value of `token` over the words, if all are equal.
uint64_t take_big(uint64_t token, std::span<const uint64_t> words) {
  const running mark(token);
  const bool equal = std::ranges::all_of(words, [&](uint64_t w) { return w == words.front(); });
  return equal && !words.empty() ? mixed(value_of(token) ^ words.front() ^ words.size()) : 0;
}
uint64_t throws(uint64_t token) {
  const running mark(token);
  throw std::out_of_range(std::to_string(value_of(token)));
}
struct odd_exception {
  uint64_t value;
};
uint64_t throws_odd(uint64_t token) {
  const running mark(token);
  throw odd_exception{value_of(token)};
}
rh::task<uint64_t> later(uint64_t token) {
  const running mark(token);
  co_await rh::sleep_for(100us);
  co_return value_of(token);
}
rh::generator<uint64_t> items(uint64_t token, uint32_t count) {
  const running mark(token);
  for (uint32_t i = 0; i < count; ++i) co_yield mixed(value_of(token) + i);
}
uint64_t until_stopped(uint64_t token, uint32_t microseconds, std::stop_token stop) {
  const running mark(token);
  const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds(microseconds);
  while (!stop.stop_requested() && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(50us);
  return value_of(token);
}

struct worker_state {
  int pid = 0;
  uint64_t descriptors = 0;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(pid, descriptors);
  }
};
worker_state state_of_worker() {
  std::this_thread::sleep_for(2ms);  // so that each worker gets one
  return {::getpid(), descriptor_count()};
}

// ---- the program

uint64_t anonymous_memory() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssAnon:")) return std::stoull(line.substr(8)) * 1024;
  }
  return 0;
}

/// Numbers that depend on the seed and on which operation they are for.
class chance {
 public:
  chance(uint64_t seed, uint64_t operation) noexcept : state_(mixed(seed) ^ mixed(~operation)) {}
  uint32_t below(uint32_t bound) noexcept { return static_cast<uint32_t>((mixed(state_++) >> 32) * bound >> 32); }
  uint32_t between(uint32_t low, uint32_t high) noexcept { return low + below(high - low + 1); }

 private:
  uint64_t state_;
};

class load {
 public:
  load(rh::cluster on, const std::string& history_path, uint64_t calls)
      : on_(std::move(on)),
        history_(reinterpret_cast<history_slot*>(map_file(history_path))),
        head_(journal::of_process().head()),
        calls_(calls) {}

  rh::task<int> run(unsigned lanes) {
    auto before = measure(0);
    co_await std::move(before);
    head_.phase.store(phase::calling);
    rh::scope work;
    for (unsigned i = 0; i < lanes; ++i) work.spawn(lane());
    co_await work.join();
    head_.phase.store(phase::draining);
    const auto drained = std::chrono::steady_clock::now();
    while (!is_idle() && std::chrono::steady_clock::now() - drained < 20s) {
      auto pause = rh::sleep_for(5ms);
      co_await std::move(pause);
    }
    const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - drained);
    head_.drain_milliseconds = static_cast<uint64_t>(took.count());
    const rh::usage left = on_.usage();
    head_.unfinished_calls = left.unfinished_calls;
    head_.values = left.values;
    head_.value_bytes = left.value_bytes;
    auto afterwards = measure(1);
    co_await std::move(afterwards);
    head_.phase.store(phase::done);
    co_return 0;
  }

 private:
  struct operation {
    uint32_t number;
    chance random;
  };

  template <auto F>
  auto there() const {
    return on_.send<F>();
  }
  bool is_idle() const {
    const rh::usage left = on_.usage();
    return left.unfinished_calls == 0 && left.values == 0 && left.value_bytes == 0;
  }

  /// What the program and its workers have when these are all there.
  rh::task<> measure(std::size_t when) {
    uint64_t most = 0;
    std::set<int> pids;
    for (int tries = 0; tries < 50 && pids.size() < on_.workers(); ++tries) {
      auto all = there<&state_of_worker>().repeat(std::size_t{on_.workers()} * 2).as_outcomes();
      auto states = co_await all;
      pids.clear();
      for (auto& one : states) {
        if (!one) continue;
        pids.insert(one.value().pid);
        most = std::max(most, one.value().descriptors);
      }
    }
    // What has ended is let go of behind the outcome that says so.
    uint64_t descriptors = descriptor_count();
    for (int tries = 0; when == 1 && tries < 200 && descriptors > head_.descriptors[0]; ++tries) {
      auto pause = rh::sleep_for(10ms);
      co_await std::move(pause);
      descriptors = descriptor_count();
    }
    if (when == 1 && descriptors > head_.descriptors[0]) print_descriptors();
    head_.worker_descriptors[when] = most;
    head_.descriptors[when] = descriptors;
    head_.memory_bytes[when] = anonymous_memory();
  }

  // ---- what is written down

  uint64_t made(operation& op, kind what, uint8_t flags = 0, uint8_t most = 1, uint8_t least = 1, uint32_t queue = 0) {
    const uint64_t token = head_.made.load(std::memory_order_relaxed);
    static_cast<void>(journal::of_process().slot(token));  // there is one
    history_slot& slot = history_[token];
    slot.queue = queue;
    slot.operation = op.number;
    slot.entry.store(uint64_t{static_cast<uint8_t>(what)} | uint64_t{most} << 40 | uint64_t{least} << 48 |
                     uint64_t{flags} << 56);
    head_.made.store(token + 1, std::memory_order_release);
    return token;
  }
  /// The one outcome of a call. A second one shows as two.
  void outcome(uint64_t token, seen what, std::optional<rh::stage> reached = {}, uint8_t code = 0) {
    const uint64_t before = history_[token].entry.load(std::memory_order_relaxed);
    const uint64_t count = std::min<uint64_t>((before >> 32 & 0xff) + 1, 0xff);
    const uint64_t stage_byte = reached ? static_cast<uint64_t>(*reached) + 1 : 0;
    const uint64_t kept = before & 0xffffff00000000ff;
    history_[token].entry.store(kept | uint64_t{static_cast<uint8_t>(what)} << 8 | stage_byte << 16 |
                                uint64_t{code} << 24 | count << 32);
    head_.ended.store(head_.ended.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  void answered(uint64_t token, bool is_right) { outcome(token, is_right ? seen::right : seen::wrong); }

  /// Writes down what an await threw. `thrower` is the call whose function had to throw, if one had to.
  void failed(uint64_t token, const std::exception_ptr& thrown, std::optional<uint64_t> thrower = {}) {
    try {
      std::rethrow_exception(thrown);
    } catch (const rh::error& e) {
      if (const auto* details = dynamic_cast<const rh::remote_details*>(&e)) {
        const bool right = thrower && details->type_name().ends_with("odd_exception");
        outcome(token, right ? seen::thrown : seen::thrown_wrong, details->where().reached);
        return;
      }
      if (e.kind() == rh::errc::cancelled && !is_given_up(token)) was_interrupted_ = true;
      if (e.kind() == rh::errc::node_lost) is_lost_ = true;
      outcome(token, seen::error, e.origin().reached, static_cast<uint8_t>(e.kind()));
      if (!is_given_up(token) && said_[static_cast<int>(e.kind())]++ == 0) say(token, e.what());
    } catch (const std::out_of_range& e) {
      const auto* details = dynamic_cast<const rh::remote_details*>(&e);
      const bool right = thrower && e.what() == std::to_string(value_of(*thrower));
      outcome(token, right ? seen::thrown : seen::thrown_wrong,
              details != nullptr ? std::optional(details->where().reached) : std::nullopt);
    } catch (const std::exception& e) {
      say(token, e.what());
      outcome(token, seen::thrown_wrong);
    }
  }
  static void say(uint64_t token, const char* what) {
    std::fprintf(stderr, "call %llu: %s\n", static_cast<unsigned long long>(token), what);
  }
  bool is_given_up(uint64_t token) const { return (history_[token].entry.load() >> 56 & flag::given_up) != 0; }

  // ---- the calls

  std::optional<operation> next() {
    const bool enough = head_.made.load(std::memory_order_relaxed) >= calls_;
    if (enough || was_interrupted_ || head_.is_stopping.load(std::memory_order_relaxed) != 0) return std::nullopt;
    const uint32_t number = operations_++;
    return operation{number, chance(head_.seed, number)};
  }
  rh::task<> lane() {
    while (auto op = next()) {
      auto there_again = reconnect_if_lost();
      co_await std::move(there_again);
      auto one = perform(std::move(*op));
      co_await std::move(one);
    }
  }
  /// The node has ended: what follows is for the next one.
  rh::task<> reconnect_if_lost() {
    if (is_lost_ && !std::exchange(is_connecting_, true)) {
      for (;;) {
        try {
          auto reached = rh::connect(on_.name());
          on_ = co_await reached;
          break;
        } catch (const rh::error& e) {
          std::fprintf(stderr, "connect: %s\n", e.what());
        }
      }
      is_lost_ = is_connecting_ = false;
    }
    while (is_connecting_) {
      auto pause = rh::sleep_for(1ms);
      co_await std::move(pause);
    }
  }
  rh::task<> perform(operation op) {
    using method = rh::task<> (load::*)(operation);
    struct weighted {
      uint32_t weight;
      method what;
    };
    static constexpr weighted all[] = {
        {300, &load::one_call},    {100, &load::several_calls},
        {50, &load::naps},         {80, &load::chain},
        {30, &load::failed_chain}, {60, &load::map},
        {40, &load::completed},    {20, &load::starmap},
        {80, &load::enqueued},     {30, &load::generated},
        {40, &load::dropped},      {40, &load::timed},
        {50, &load::retried},      {20, &load::repeated},
        {40, &load::thrown},       {10, &load::thrown_odd},
        {30, &load::coroutine},    {20, &load::detached},
        {8, &load::big},           {4, &load::put},
    };
    static constexpr uint32_t total = [] {
      uint32_t sum = 0;
      for (const weighted& w : all) sum += w.weight;
      return sum;
    }();
    uint32_t left = op.random.below(total);
    const weighted* chosen = all;
    while (left >= chosen->weight) left -= chosen++->weight;
    return (this->*chosen->what)(std::move(op));
  }

  template <class Call>
  rh::task<> taken(uint64_t token, Call call, uint64_t expected) {
    try {
      const uint64_t value = co_await std::move(call);
      answered(token, value == expected);
    } catch (...) {
      failed(token, std::current_exception());
    }
  }
  /// The same, for a call that has to throw.
  template <class Call>
  rh::task<> fails(uint64_t token, Call call, uint64_t thrower) {
    try {
      static_cast<void>(co_await std::move(call));
      answered(token, false);
    } catch (...) {
      failed(token, std::current_exception(), thrower);
    }
  }

  rh::task<> one_call(operation op) {
    const uint64_t token = made(op, kind::plain);
    return taken(token, there<&plain>()(token), value_of(token));
  }
  rh::task<> several_calls(operation op) {
    std::vector<std::pair<uint64_t, rh::call<uint64_t>>> calls;
    auto f = there<&plain>();
    for (uint32_t i = op.random.between(2, 32); i > 0; --i) {
      const uint64_t token = made(op, kind::plain);
      calls.emplace_back(token, f(token));
    }
    for (auto& [token, call] : calls) {
      auto one = taken(token, std::move(call), value_of(token));
      co_await std::move(one);
    }
  }
  rh::task<> naps(operation op) {
    const uint64_t token = made(op, kind::nap);
    return taken(token, there<&nap>()(token, op.random.below(2000)), value_of(token));
  }
  rh::task<> retried(operation op) {
    const auto times = static_cast<uint8_t>(op.random.between(1, 4));
    const uint64_t token = made(op, kind::retry, 0, static_cast<uint8_t>(1 + times));
    return taken(token, there<&nap>().retry(times)(token, op.random.below(500)), value_of(token));
  }
  rh::task<> coroutine(operation op) {
    const uint64_t token = made(op, kind::coroutine);
    return taken(token, there<&later>()(token), value_of(token));
  }
  rh::task<> thrown(operation op) {
    const uint64_t token = made(op, kind::throws);
    return fails(token, there<&throws>()(token), token);
  }
  rh::task<> thrown_odd(operation op) {
    const uint64_t token = made(op, kind::throws_odd);
    return fails(token, there<&throws_odd>()(token), token);
  }

  rh::task<> chain(operation op) {
    std::vector<uint64_t> links{made(op, kind::chain)};
    auto f = there<&after>();
    uint64_t expected = value_of(links[0]);
    auto value = there<&plain>().remote(links[0]);
    for (uint32_t i = op.random.below(8); i > 0; --i) {
      const uint64_t token = made(op, kind::chain);
      value = f.remote(token, value);
      expected = mixed(value_of(token) ^ expected);
      links.push_back(token);
    }
    const bool is_fetched = op.random.below(3) == 0;
    const uint64_t last = made(op, kind::chain);
    auto call = f(last, value);
    if (is_fetched) {
      // The value before the last is asked for too.
      auto one = taken(links.back(), value.fetch(), expected);
      co_await std::move(one);
      links.pop_back();
    }
    try {
      const uint64_t got = co_await call;
      answered(last, got == mixed(value_of(last) ^ expected));
      for (const uint64_t token : links) answered(token, true);
    } catch (...) {
      failed(last, std::current_exception());
      for (const uint64_t token : links) outcome(token, seen::unobserved);
    }
  }
  /// The first call throws; those that take what it should have given end so too, and do not begin.
  rh::task<> failed_chain(operation op) {
    const uint64_t first = made(op, kind::failed_chain);
    auto f = there<&after>();
    auto value = there<&throws>().remote(first);
    std::vector<std::pair<uint64_t, rh::call<uint64_t>>> dependents;
    for (uint32_t i = op.random.below(3) + 1; i > 0; --i) {
      const uint64_t token = made(op, kind::failed_chain);
      dependents.emplace_back(token, f(token, value));
    }
    auto asked = fails(first, value.fetch(), first);
    co_await std::move(asked);
    for (auto& [token, call] : dependents) {
      auto one = fails(token, std::move(call), first);
      co_await std::move(one);
    }
  }

  std::vector<uint64_t> several(operation& op, kind what, uint32_t least) {
    std::vector<uint64_t> tokens(op.random.between(least, longest_operation));
    for (uint64_t& token : tokens) token = made(op, what);
    return tokens;
  }
  void one_of_map(uint64_t token, rh::outcome<uint64_t>& given) {
    if (given) {
      answered(token, given.value() == value_of(token));
    } else {
      failed(token, given.error());
    }
  }
  template <class Outcomes>
  rh::task<> all_of_map(std::vector<uint64_t> tokens, Outcomes call) {
    try {
      auto all = co_await std::move(call);
      for (std::size_t i = 0; i < std::min(all.size(), tokens.size()); ++i) one_of_map(tokens[i], all[i]);
    } catch (...) {
      for (const uint64_t token : tokens) failed(token, std::current_exception());
    }
  }
  rh::task<> map(operation op) {
    auto tokens = several(op, kind::map, 1);
    auto call = there<&plain>().map(tokens).as_outcomes();
    return all_of_map(std::move(tokens), std::move(call));
  }
  rh::task<> starmap(operation op) {
    auto tokens = several(op, kind::starmap, 1);
    std::vector<std::tuple<uint64_t, uint32_t>> arguments;
    for (const uint64_t token : tokens) arguments.emplace_back(token, op.random.below(100));
    auto call = there<&nap>().starmap(arguments).as_outcomes();
    return all_of_map(std::move(tokens), std::move(call));
  }
  rh::task<> completed(operation op) {
    const auto tokens = several(op, kind::map_as_completed, 1);
    auto stream = there<&plain>().map_as_completed(tokens);
    try {
      for (;;) {
        auto next = stream.next();
        auto one = co_await next;
        if (!one) break;
        one_of_map(tokens.at(one->index), one->outcome);
      }
    } catch (...) {
      // The map as a whole has failed: each that has no outcome has this one.
      for (const uint64_t token : tokens) {
        if ((history_[token].entry.load() >> 32 & 0xff) == 0) failed(token, std::current_exception());
      }
    }
  }
  rh::task<> repeated(operation op) {
    const auto times = static_cast<uint8_t>(op.random.between(2, 16));
    const uint64_t token = made(op, kind::repeat, 0, times, times);
    auto call = there<&plain>().repeat(times, token);
    try {
      const auto all = co_await std::move(call);
      const bool equal = std::ranges::all_of(all, [&](uint64_t v) { return v == value_of(token); });
      answered(token, equal && all.size() == times);
    } catch (...) {
      failed(token, std::current_exception());
    }
  }

  rh::task<> enqueued(operation op) {
    const uint32_t queue = 1 + op.random.below(3);
    auto f = there<&nap>().queue("queue " + std::to_string(queue));
    std::vector<std::pair<uint64_t, rh::call<uint64_t>>> calls;
    for (uint32_t i = op.random.between(1, 6); i > 0; --i) {
      const bool is_dropped = op.random.below(12) == 0;
      const uint64_t token = made(op, kind::enqueue, is_dropped ? flag::given_up : uint8_t{0}, 1, 1, queue);
      auto call = f.enqueue(token, op.random.below(4) == 0 ? op.random.below(300) : 0);
      if (is_dropped) {
        outcome(token, seen::unobserved);  // it goes with this scope
      } else {
        calls.emplace_back(token, std::move(call));
      }
    }
    for (auto& [token, call] : calls) {
      auto one = taken(token, std::move(call), value_of(token));
      co_await std::move(one);
    }
  }
  rh::task<> generated(operation op) {
    const uint64_t token = made(op, kind::generator);
    const uint32_t count = op.random.below(8) == 0 ? op.random.below(3000) : op.random.below(100);
    auto stream = there<&items>()(token, count);
    try {
      uint32_t come = 0;
      bool right = true;
      for (;;) {
        auto next = stream.next();
        const std::optional<uint64_t> one = co_await next;
        if (!one) break;
        right = right && *one == mixed(value_of(token) + come);
        ++come;
      }
      answered(token, right && come == count);
    } catch (...) {
      failed(token, std::current_exception());
    }
  }

  rh::task<> dropped(operation op) {
    const uint64_t token = made(op, kind::cancel, flag::given_up);
    auto call = there<&until_stopped>()(token, op.random.below(5000));
    if (op.random.below(2) == 0) {
      auto pause = rh::sleep_for(std::chrono::microseconds(op.random.below(2000)));
      try {
        co_await std::move(pause);
      } catch (const rh::error&) {
        was_interrupted_ = true;
      }
    }
    call.cancel();
    outcome(token, seen::unobserved);
  }
  rh::task<> timed(operation op) {
    const uint64_t token = made(op, kind::timeout, flag::given_up);
    const auto patience = std::chrono::microseconds(op.random.below(2000));
    auto call = there<&until_stopped>()(token, op.random.below(2000));
    return taken(token, rh::with_timeout(patience, std::move(call)), value_of(token));
  }
  rh::task<> detached(operation op) {
    const uint64_t token = made(op, kind::detached, flag::survives);
    there<&nap>()(token, op.random.below(200)).detach();
    outcome(token, seen::unobserved);
    co_return;
  }

  rh::task<> big(operation op) {
    const uint64_t words = op.random.between(1 << 17, 1 << 19);  // of 1 to 4 MiB
    const uint64_t first = made(op, kind::big);
    const uint64_t second = made(op, kind::big);
    auto value = there<&make_big>().remote(first, words);
    auto call = there<&take_big>()(second, value);
    try {
      auto fetched = value.fetch();
      const std::vector<uint64_t> got = co_await fetched;
      answered(first, got.size() == words && std::ranges::all_of(got, [&](uint64_t w) { return w == value_of(first); }));
    } catch (...) {
      failed(first, std::current_exception());
    }
    auto rest = taken(second, std::move(call), mixed(value_of(second) ^ value_of(first) ^ words));
    co_await std::move(rest);
  }
  rh::task<> put(operation op) {
    const uint64_t words = op.random.between(1 << 17, 1 << 19);
    const uint64_t what = op.random.below(1 << 30);
    auto value = on_.put(std::vector<uint64_t>(words, what));
    const uint64_t first = made(op, kind::put);
    const uint64_t second = made(op, kind::put);
    auto a = there<&take_big>()(first, value);
    auto b = there<&take_big>()(second, value);
    auto one = taken(first, std::move(a), mixed(value_of(first) ^ what ^ words));
    co_await std::move(one);
    auto other = taken(second, std::move(b), mixed(value_of(second) ^ what ^ words));
    co_await std::move(other);
  }

  rh::cluster on_;
  bool is_lost_ = false;
  bool is_connecting_ = false;
  history_slot* history_;
  journal_head& head_;
  uint64_t calls_;
  uint32_t operations_ = 0;
  bool was_interrupted_ = false;
  std::map<int, int> said_;
};

rh::task<int> program(rh::cluster on, int argc, char** argv) {
  std::map<std::string, std::string> options;
  for (int i = 1; i + 1 < argc; i += 2) options[argv[i]] = argv[i + 1];
  load all(std::move(on), options.at("--history"), std::stoull(options.at("--calls")));
  auto running = all.run(static_cast<unsigned>(std::stoul(options.at("--lanes"))));
  co_return co_await std::move(running);
}

}  // namespace

int main(int argc, char** argv) {
  return rh::main(argc, argv, program);
}
