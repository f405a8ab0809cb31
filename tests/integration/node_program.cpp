// SPDX-License-Identifier: Apache-2.0
//
// What node.py runs against nodes that it starts, stops and kills. Built twice, as two builds of one program.
#include <runhouse/runhouse.hpp>

#include <cereal/cereal.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <map>
#include <string>
#include <string_view>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace std::chrono_literals;

#ifndef BUILD
#define BUILD 1
#endif

/// Of the program's own, and says no version: another build's may be another.
struct plain {
  int a = 0;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(a);
  }
};
/// One that says it: what an older build has kept can be read, but not the other way.
struct versioned {
  int a = 0;
  int b = -1;
  template <class Archive>
  void serialize(Archive& archive, std::uint32_t version) {
    archive(a);
    if (version >= 2) archive(b);
  }
};
CEREAL_CLASS_VERSION(versioned, BUILD)

namespace {

/// Prints, allocates and starts a thread, in every process but a node.
struct busy_static_object {
  busy_static_object() {
    if (const char* folder = std::getenv("STATIC_MARKS")) {
      std::thread([&] { std::ofstream(std::string(folder) + "/" + std::to_string(getpid())) << "here"; }).join();
    }
  }
} busy;

void append_line(const std::string& path, const std::string& line) {
  const int fd = open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  const std::string text = line + "\n";
  if (write(fd, text.data(), text.size()) < 0) std::abort();
  close(fd);
}

}  // namespace

int add(int a, int b) { return a + b; }
int worker_pid() { return getpid(); }
std::string variable(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value != nullptr ? value : "(unset)";
}
/// Says that it has begun, in a file, and stays for so long.
int stay(const std::string& path, int milliseconds) {
  append_line(path, "began " + std::to_string(getpid()));
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
  append_line(path, "ended " + std::to_string(getpid()));
  return milliseconds;
}
int append(const std::string& path, const std::string& line) {
  append_line(path, line);
  return static_cast<int>(line.size());
}
int say(int lines) {
  for (int i = 0; i < lines; ++i) std::printf("line %d\n", i);
  return lines;
}
std::vector<double> fill(int count) { return std::vector<double>(static_cast<std::size_t>(count), 1.5); }
double sum(std::span<const double> values) {
  double all = 0;
  for (const double v : values) all += v;
  return all;
}
plain make_plain(int a) { return {a}; }
versioned make_versioned(int a) { return {a, a}; }
std::map<std::string, int> make_map(int a) { return {{"a", a}}; }

namespace {

void print_error(const rh::error& e) { std::printf("%s, %s: %s\n", rh::name_of(e.kind()), rh::name_of(e.origin().reached), e.what()); }

template <class T>
rh::task<> keep(rh::ref<T> value, std::string name, bool replaces) {
  auto kept = value.keep(name);
  if (replaces) kept.replace();
  co_await kept;
}

rh::task<> try_one(rh::cluster here, std::vector<std::string> words) {
  const std::string how = words.at(0);
  if (how == "add") {
    auto add_there = here.send<&add>();
    auto call = add_there(std::stoi(words.at(1)), std::stoi(words.at(2)));
    const int result = co_await call;
    std::printf("%d\n", result);
  } else if (how == "worker") {
    auto there = here.send<&worker_pid>();
    auto call = there();
    const int pid = co_await call;
    std::printf("%d\n", pid);
  } else if (how == "variable") {
    auto there = here.send<&variable>();
    auto call = there(words.at(1));
    const std::string value = co_await call;
    std::printf("%s\n", value.c_str());
  } else if (how == "detached_map") {
    here.send<&stay>().repeat(1, words.at(1), std::stoi(words.at(2))).detach();
    auto after = here.send<&add>()(1, 1);
    const int two = co_await after;
    std::printf("%d\n", two);
  } else if (how == "stay" || how == "detached") {
    auto there = here.send<&stay>();
    auto call = there(words.at(1), std::stoi(words.at(2)));
    if (how == "detached") {
      call.detach();
      auto other = here.send<&add>();
      auto after = other(1, 1);
      const int two = co_await after;
      std::printf("%d\n", two);
    } else {
      const int result = co_await call;
      std::printf("%d\n", result);
    }
  } else if (how == "twice") {  // one of them is sent, the other cannot begin
    auto there = here.send<&stay>();
    auto first = there.enqueue(words.at(1), std::stoi(words.at(2)));
    auto second = there.enqueue(words.at(1), std::stoi(words.at(2)));
    try {
      co_await first;
    } catch (const rh::error& e) {
      print_error(e);
    }
    co_await second;
  } else if (how == "queue") {  // path, tag, count
    auto there = here.send<&append>().queue("one for all");
    std::vector<rh::call<int>> calls;
    for (int i = 0; i < std::stoi(words.at(3)); ++i) calls.push_back(there.enqueue(words.at(1), words.at(2) + " " + std::to_string(i)));
    for (auto& call : calls) co_await call;
    std::printf("queued\n");
  } else if (how == "place") {  // path
    auto first = here.send<&stay>().queue("places");
    auto running = first.enqueue(words.at(1), 60000);
    std::vector<rh::call<int>> behind;
    for (int i = 0; i < 3; ++i) behind.push_back(first.enqueue(words.at(1), 0));
    for (auto& call : behind) {
      auto place = call.queue_place();
      const auto number = co_await place;
      std::printf("%d ", static_cast<int>(number));
    }
    behind[1].cancel();
    auto place = behind[2].queue_place();
    const auto number = co_await place;
    std::printf("then %d\n", static_cast<int>(number));
  } else if (how == "keep") {  // kind, name, number
    const int a = std::stoi(words.at(3));
    const bool replaces = words.size() > 4;
    if (words.at(1) == "plain") {
      auto made = here.send<&make_plain>().remote(a);
      auto k = keep(made, words.at(2), replaces);
      co_await std::move(k);
    } else if (words.at(1) == "versioned") {
      auto made = here.send<&make_versioned>().remote(a);
      auto k = keep(made, words.at(2), replaces);
      co_await std::move(k);
    } else {
      auto made = here.send<&fill>().remote(a);
      auto k = keep(made, words.at(2), replaces);
      co_await std::move(k);
    }
    std::printf("kept\n");
  } else if (how == "get") {
    if (words.at(1) == "plain") {
      auto found = here.get<plain>(words.at(2));
      const plain value = co_await found;
      std::printf("%d\n", value.a);
    } else if (words.at(1) == "versioned") {
      auto found = here.get<versioned>(words.at(2));
      const versioned value = co_await found;
      std::printf("%d %d\n", value.a, value.b);
    } else {
      auto found = here.get<std::vector<double>>(words.at(2));
      auto sum_there = here.send<&sum>();
      auto all = sum_there(found);
      const double result = co_await all;
      std::printf("%g\n", result);
    }
  } else if (how == "forget") {
    auto forgotten = here.forget(words.at(1));
    const bool was_there = co_await forgotten;
    std::printf("%d\n", was_there);
  } else if (how == "names") {
    auto asked = here.names();
    const auto names = co_await asked;
    for (const auto& n : names) std::printf("%s %s %llu\n", n.name.c_str(), n.type.c_str(), static_cast<unsigned long long>(n.size_bytes));
    std::printf("%zu names\n", names.size());
  } else if (how == "say") {
    auto there = here.send<&say>();
    auto call = there(std::stoi(words.at(1)));
    const int lines = co_await call;
    std::printf("%d\n", lines);
  } else if (how == "chain") {  // count of calls that run while the connection is cut
    auto there = here.send<&append>();
    std::vector<rh::call<int>> calls;
    for (int i = 0; i < std::stoi(words.at(2)); ++i) calls.push_back(there(words.at(1), std::to_string(i)));
    int ended = 0;
    for (auto& call : calls) {
      co_await call;
      ++ended;
    }
    std::printf("%d\n", ended);
  } else if (how == "big") {  // bytes there and back
    const std::vector<double> values(static_cast<std::size_t>(std::stoi(words.at(1))), 0.5);
    auto value = here.put(values);
    auto sum_there = here.send<&sum>();
    auto first = sum_there(value);
    const double there = co_await first;
    auto second = sum_there(values);
    const double again = co_await second;
    auto back = co_await value;
    std::printf("%g %g %zu\n", there, again, back.size());
  } else {
    std::printf("what is %s?\n", how.c_str());
  }
}

/// Reads commands, one a line, and says what becomes of each, until there are no more.
rh::task<int> program(int argc, char** argv) {
  const std::string name = argc > 1 ? argv[1] : "here";
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const char* states[] = {"lost", "resumed", "ended"};
  auto reached = rh::connect(name, rh::on_disconnect([&](const rh::disconnect& d) {
                   std::printf("connection %s: %s\n", states[static_cast<int>(d.now)], d.why.c_str());
                 }));
  rh::cluster here = rh::local();
  try {
    here = co_await reached;
  } catch (const rh::error& e) {
    print_error(e);
    co_return 1;
  }
  std::printf("connected\n");
  char line[1024];
  while (std::fgets(line, sizeof line, stdin) != nullptr) {
    std::vector<std::string> words;
    for (char* word = std::strtok(line, " \n"); word != nullptr; word = std::strtok(nullptr, " \n")) words.emplace_back(word);
    if (words.empty()) continue;
    if (words[0] == "restart") {
      rh::restart(name);
      std::printf("restarted\n");
      continue;
    }
    if (words[0] == "connect") {
      auto again = rh::connect(name);
      here = co_await again;
      std::printf("connected\n");
      continue;
    }
    try {
      auto one = try_one(here, words);
      co_await std::move(one);
    } catch (const rh::error& e) {
      print_error(e);
    } catch (const std::exception& e) {
      std::printf("%s\n", e.what());
    }
  }
  co_return 0;
}

}  // namespace

int main(int argc, char** argv) { return rh::main(argc, argv, program); }
