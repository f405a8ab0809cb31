// SPDX-License-Identifier: Apache-2.0
//
// What ssh.py runs on machines that it reaches by ssh. Built twice, as two builds of one program: BUILD differs, and PAD
// MiB of bytes that do not compress make it as large as real programs are.
//
//     ssh_program NAME    connects, says "connected", and does what it is told, a line at a time
#include <runhouse/runhouse.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <numeric>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

#ifndef BUILD
#define BUILD 1
#endif
#ifndef PAD
#define PAD 0
#endif

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)
// By the assembler, in well under a second. A compiler takes minutes for such an array.
asm(".pushsection .rodata\n"
    ".balign 8\n"
    ".globl ssh_program_padding\n"
    "ssh_program_padding:\n"
    ".set ssh_program_x, 0x9E3779B97F4A7C15\n"
    ".rept " TEXT(PAD) " * 131072 + 1\n"
    ".set ssh_program_x, ssh_program_x * 0x5851F42D4C957F2D + 0x14057B7EF767814F\n"
    ".quad ssh_program_x ^ (ssh_program_x >> 29)\n"
    ".endr\n"
    ".popsection\n");
extern "C" const std::uint64_t ssh_program_padding[];

namespace {

/// Where the machine's environment says so, this program is one that was made for a newer processor: it ends by SIGILL
/// before anything of its own has run.
void run_unknown_instruction(int, char**, char** environment) {
  for (; *environment != nullptr; ++environment) {
    constexpr const char* wanted = "SSH_PROGRAM_UNKNOWN_INSTRUCTION=";
    const char* at = *environment;
    const char* of = wanted;
    while (*of != '\0' && *at == *of) ++at, ++of;  // no library is there yet
    if (*of == '\0') __builtin_trap();
  }
}
[[gnu::section(".preinit_array"), gnu::used]] void (*const before_all)(int, char**, char**) = &run_unknown_instruction;

void append_line(const std::string& path, const std::string& line) {
  const int fd = open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  const std::string text = line + "\n";
  if (fd < 0 || write(fd, text.data(), text.size()) < 0) throw std::runtime_error("writing " + path + ": " + std::strerror(errno));
  close(fd);
}

}  // namespace

int add(int a, int b) { return a + b; }
int build() { return BUILD; }
/// Of the build, where most of the program's bytes are.
std::uint64_t padding(std::uint64_t at) { return ssh_program_padding[at % (PAD * 131072 + 1)]; }
std::string host_name() {
  char name[256] = {};
  gethostname(name, sizeof name - 1);
  return name;
}
int worker_pid() { return getpid(); }
std::string variable(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value != nullptr ? value : "(unset)";
}
std::string folder() {
  char path[4096] = {};
  return getcwd(path, sizeof path) != nullptr ? path : "(none)";
}
int append(const std::string& path, const std::string& line) {
  append_line(path, line);
  return static_cast<int>(line.size());
}
/// Says in a file that it has begun, and that it ends.
int stay(const std::string& path, const std::string& name, int milliseconds) {
  append_line(path, "began " + name);
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
  append_line(path, "ended " + name);
  return milliseconds;
}
std::vector<std::uint32_t> fill(std::uint64_t count) {
  std::vector<std::uint32_t> values(count);
  std::iota(values.begin(), values.end(), 1u);
  return values;
}
std::uint64_t sum(std::span<const std::uint32_t> values) { return std::accumulate(values.begin(), values.end(), std::uint64_t{0}); }
std::uint64_t count_rows(const std::vector<std::array<char, 2'000'000>>& rows) { return rows.size(); }
std::uint64_t sum_of(const std::vector<std::uint64_t>& values) { return std::accumulate(values.begin(), values.end(), std::uint64_t{0}); }
std::uint64_t square(std::uint64_t a) { return a * a; }
int say(int lines) {
  for (int i = 0; i < lines; ++i) std::printf("line %d\n", i);
  return lines;
}
int throws(const std::string& what) { throw std::invalid_argument(what); }
int crashes() {
  std::printf("the last words\n");
  std::fflush(stdout);
  std::abort();
}

namespace {

void print_error(const rh::error& e) { std::printf("%s, %s: %s\n", rh::name_of(e.kind()), rh::name_of(e.origin().reached), e.what()); }

/// The most memory that this process has had since reset_peak(), which gives what it has now.
std::uint64_t peak_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stoull(line.substr(6)) * 1024;
  }
  throw std::runtime_error("no VmHWM in /proc/self/status");
}
std::uint64_t reset_peak() {
  std::ofstream("/proc/self/clear_refs") << "5";
  return peak_bytes();
}

template <class T>
rh::task<> keep(rh::ref<T> value, std::string name) {
  auto kept = value.keep(name);
  kept.replace();
  co_await kept;
}

/// Of so many calls: how many ended well, and which other ends there were.
rh::task<> end_all(std::vector<rh::call<int>>& calls) {
  std::size_t ended = 0;
  std::string others;
  for (auto& call : calls) {
    try {
      co_await call;
      ++ended;
    } catch (const rh::error& e) {
      const std::string what = std::string(" ") + rh::name_of(e.kind()) + "/" + rh::name_of(e.origin().reached);
      if (others.find(what) == others.npos) others += what;
    }
  }
  std::printf("%zu ended%s\n", ended, others.c_str());
}

rh::task<> try_one(rh::cluster there, std::vector<std::string> words) {
  const std::string how = words.at(0);
  const auto number = [&](std::size_t at) { return std::stoi(words.at(at)); };
  if (how == "add") {
    auto call = there.send<&add>()(number(1), number(2));
    const int result = co_await call;
    std::printf("%d\n", result);
  } else if (how == "build") {
    auto call = there.send<&build>()();
    const int result = co_await call;
    std::printf("%d\n", result);
  } else if (how == "padding") {
    auto call = there.send<&padding>()(static_cast<std::uint64_t>(number(1)));
    const std::uint64_t result = co_await call;
    std::printf("%s\n", result == padding(static_cast<std::uint64_t>(number(1))) ? "same" : "different");
  } else if (how == "host") {
    auto call = there.send<&host_name>()();
    const std::string result = co_await call;
    std::printf("%s\n", result.c_str());
  } else if (how == "worker") {
    auto call = there.send<&worker_pid>()();
    const int result = co_await call;
    std::printf("%d\n", result);
  } else if (how == "variable") {
    auto call = there.send<&variable>()(words.at(1));
    const std::string result = co_await call;
    std::printf("%s\n", result.c_str());
  } else if (how == "carried") {  // hex, count: what is there of a variable with those bytes, so many times
    std::string value;
    for (std::size_t i = 0; i + 1 < words.at(1).size(); i += 2) value += static_cast<char>(std::stoi(words[1].substr(i, 2), nullptr, 16));
    std::string all;
    for (int i = 0; i < number(2); ++i) all += value;
    auto call = there.send<&variable>(rh::env("RH_TEST_CARRIED", all))("RH_TEST_CARRIED");
    const std::string result = co_await call;
    std::printf("%s\n", result == all ? "same" : "different");
  } else if (how == "folder") {
    auto call = there.send<&folder>()();
    const std::string result = co_await call;
    std::printf("%s\n", result.c_str());
  } else if (how == "many") {  // count, path, tag: that each writes a line of its own
    auto send = there.send<&append>();
    std::vector<rh::call<int>> calls;
    for (int i = 0; i < number(1); ++i) calls.push_back(send(words.at(2), words.at(3) + " " + std::to_string(i)));
    auto all = end_all(calls);
    co_await std::move(all);
  } else if (how == "queue") {  // count, path, tag: the same, one at a time
    auto send = there.send<&append>().queue("one for all");
    std::vector<rh::call<int>> calls;
    for (int i = 0; i < number(1); ++i) calls.push_back(send.enqueue(words.at(2), words.at(3) + " " + std::to_string(i)));
    auto all = end_all(calls);
    co_await std::move(all);
  } else if (how == "stay") {  // count, path, milliseconds each
    auto send = there.send<&stay>();
    std::vector<rh::call<int>> calls;
    for (int i = 0; i < number(1); ++i) calls.push_back(send(words.at(2), std::to_string(i), number(3)));
    auto all = end_all(calls);
    co_await std::move(all);
  } else if (how == "big") {  // bytes: there, back, and to stay
    const auto count = static_cast<std::uint64_t>(number(1)) / sizeof(std::uint32_t);
    const std::vector<std::uint32_t> values = fill(count);
    auto up = there.send<&sum>()(values);
    const std::uint64_t summed = co_await up;
    auto down = there.send<&fill>()(count);
    const std::vector<std::uint32_t> back = co_await down;
    std::printf("%s\n", summed == sum(values) && back == values ? "same" : "different");
  } else if (how == "held") {  // bytes: the memory that a value of that size takes here, in its sizes: a call's result, a ref's, a map's; an argument that is given away
    const auto count = static_cast<std::uint64_t>(number(1)) / sizeof(std::uint32_t);
    auto send = there.send<&fill>();
    const auto so_many = [&](std::uint64_t before) { return (static_cast<double>(peak_bytes()) - static_cast<double>(before)) / number(1); };
    const std::uint64_t before_call = reset_peak();
    auto call = send(count);
    bool is_whole = (co_await call).back() == count;
    const double by_call = so_many(before_call);
    auto value = send.remote(count);
    const std::uint64_t before_ref = reset_peak();
    is_whole = (co_await value).back() == count && is_whole;
    const double by_ref = so_many(before_ref);
    const std::vector<std::uint64_t> counts{count};
    const std::uint64_t before_map = reset_peak();
    auto all = send.map(counts);
    is_whole = (co_await all).front().back() == count && is_whole;
    const double by_map = so_many(before_map);
    std::vector<std::uint32_t> values = fill(count);
    const std::uint64_t expected = sum(values);
    const std::uint64_t before_argument = reset_peak();
    auto up = there.send<&sum>()(std::move(values));
    is_whole = co_await up == expected && is_whole;
    std::vector<std::array<char, 2'000'000>> none;  // of elements that are large
    auto empty = there.send<&count_rows>()(std::move(none));
    is_whole = co_await empty == 0 && is_whole;
    std::printf("%s %.2f %.2f %.2f %.2f\n", is_whole ? "whole" : "cut", by_call, by_ref, by_map, so_many(before_argument));
  } else if (how == "put") {  // bytes: once, for three calls
    const std::vector<std::uint32_t> values = fill(static_cast<std::uint64_t>(number(1)) / sizeof(std::uint32_t));
    auto value = there.put(values);
    auto send = there.send<&sum>();
    bool is_same = true;
    for (int i = 0; i < 3; ++i) {
      auto call = send(value);
      const std::uint64_t summed = co_await call;
      is_same = is_same && summed == sum(values);
    }
    std::printf("%s\n", is_same ? "same" : "different");
  } else if (how == "refs") {  // count of results that stay there until one call takes them all
    std::vector<std::uint64_t> numbers(static_cast<std::size_t>(number(1)));
    std::iota(numbers.begin(), numbers.end(), std::uint64_t{0});
    auto squares = there.send<&square>().map_remote(rh::each(numbers));
    auto call = there.send<&sum_of>()(squares);
    const std::uint64_t summed = co_await call;
    std::printf("%llu\n", static_cast<unsigned long long>(summed));
  } else if (how == "keep") {  // name, number of elements
    auto made = there.send<&fill>().remote(static_cast<std::uint64_t>(number(2)));
    auto kept = keep(made, words.at(1));
    co_await std::move(kept);
    std::printf("kept\n");
  } else if (how == "get") {
    auto found = there.get<std::vector<std::uint32_t>>(words.at(1));
    auto call = there.send<&sum>()(found);
    const std::uint64_t summed = co_await call;
    std::printf("%llu\n", static_cast<unsigned long long>(summed));
  } else if (how == "forget") {
    auto forgotten = there.forget(words.at(1));
    const bool was_there = co_await forgotten;
    std::printf("%d\n", was_there);
  } else if (how == "say") {
    auto call = there.send<&say>()(number(1));
    const int lines = co_await call;
    std::printf("%d\n", lines);
  } else if (how == "error") {
    auto call = there.send<&throws>()(words.at(1));
    const int result = co_await call;
    std::printf("%d\n", result);
  } else if (how == "crash") {
    auto call = there.send<&crashes>()();
    const int result = co_await call;
    std::printf("%d\n", result);
  } else if (how == "by") {
    std::printf("%s\n", there.reached_by().c_str());
  } else if (how == "usage") {
    const rh::usage now = there.usage();
    std::printf("%zu calls %zu values\n", now.unfinished_calls, now.values);
  } else {
    std::printf("what is %s?\n", how.c_str());
  }
}

/// "user=me", "port=2222", "key=FILE", "jump=HOSTS", "accept=new", "password=WORD".
rh::ssh_host host_of(const std::string& name, std::span<char*> words) {
  rh::ssh_host host(name);
  for (const std::string_view word : words) {
    const std::string_view key = word.substr(0, word.find('='));
    const std::string value(word.substr(std::min(key.size() + 1, word.size())));
    if (key == "user") host.user(value);
    if (key == "port") host.port(static_cast<std::uint16_t>(std::stoi(value)));
    if (key == "key") host.key(value);
    if (key == "jump") host.jump(value);
    if (key == "accept") host.accept_new_key();
    if (key == "password") host.answers({.passphrase = {}, .question = [value](const std::string&, bool) { return value; }});
  }
  return host;
}

rh::connecting connect_to(const auto& where) {
  return rh::connect(where, rh::on_disconnect([](const rh::disconnect& d) {
                       const char* states[] = {"lost", "resumed", "ended"};
                       std::printf("connection %s: %s\n", states[static_cast<int>(d.now)], d.why.c_str());
                     }));
}

rh::task<int> program(int argc, char** argv) {
  const std::string name = argc > 1 ? argv[1] : "here";
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  rh::cluster there = rh::local(1);
  bool is_connected = false;
  try {
    auto reached = argc > 2 ? connect_to(host_of(name, std::span(argv + 2, argv + argc))) : connect_to(std::string_view(name));
    there = co_await reached;
    is_connected = true;
  } catch (const rh::error& e) {
    print_error(e);
  }
  if (!is_connected) co_return 1;
  std::printf("connected\n");
  char line[4096];
  while (std::fgets(line, sizeof line, stdin) != nullptr) {
    std::vector<std::string> words;
    for (char* word = std::strtok(line, " \n"); word != nullptr; word = std::strtok(nullptr, " \n")) words.emplace_back(word);
    if (words.empty()) continue;
    try {
      if (words[0] == "restart") {
        rh::restart(name);
        std::printf("restarted\n");
      } else if (words[0] == "connect") {
        auto again = connect_to(std::string_view(words.size() > 1 ? words[1] : name));
        there = co_await again;
        std::printf("connected\n");
      } else {
        auto one = try_one(there, words);
        co_await std::move(one);
      }
    } catch (const rh::error& e) {
      print_error(e);
    } catch (const std::invalid_argument& e) {
      std::printf("invalid_argument: %s\n", e.what());
    } catch (const std::exception& e) {
      std::printf("exception: %s\n", e.what());
    }
  }
  co_return 0;
}

}  // namespace

int main(int argc, char** argv) { return rh::main(argc, argv, program); }
