// SPDX-License-Identifier: Apache-2.0
//
// What faults.py runs where the system has too little of something. Prints a line that says what came of it.
#include <runhouse/runhouse.hpp>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <iostream>
#include <map>
#include <new>
#include <string>
#include <string_view>
#include <sys/resource.h>
#include <unistd.h>
#include <vector>

namespace {

int add(int a, int b) { return a + b; }

std::size_t resident_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) return std::stoul(line.substr(6)) * 1024;
  }
  return 0;
}

/// Prints so many lines of 1 KiB.
void print_lines(int lines) {
  const std::string line(1023, 'x');
  for (int i = 0; i < lines; ++i) std::puts(line.c_str());
}
int die() { return std::raise(SIGKILL); }
void print_and_crash() {
  std::printf("a line\nand no end of it");
  std::fflush(stdout);
  std::abort();
}
void limit_memory(std::size_t more_bytes) {
  std::ifstream statm("/proc/self/statm");
  std::size_t pages = 0;
  statm >> pages;
  const rlimit limit{pages * 4096 + more_bytes, RLIM_INFINITY};
  if (::setrlimit(RLIMIT_AS, &limit) != 0) std::abort();
}
std::size_t allocate(std::size_t bytes) {
  std::vector<char> v(bytes);
  asm volatile("" : : "r"(v.data()) : "memory");  // clang leaves out an allocation that nobody sees
  return v.size();
}
std::size_t size_of(const std::vector<char>& v) { return v.size(); }

template <class Call>
void say(const char* what, Call&& call) {
  try {
    call();
    std::printf("%s: ok\n", what);
  } catch (const std::bad_alloc&) {
    std::printf("%s: bad_alloc\n", what);
  } catch (const rh::error& e) {
    std::printf("%s: %s, %s: %s\n", what, rh::name_of(e.kind()), rh::name_of(e.origin().reached), e.what());
  }
  std::fflush(stdout);
}

/// Makes what is left of a limit so small that nothing more can be had.
void set_soft_limit(__rlimit_resource which, rlim_t soft) {
  rlimit limit{};
  ::getrlimit(which, &limit);
  limit.rlim_cur = soft;
  if (::setrlimit(which, &limit) != 0) std::abort();
}

void gigabyte() {
  const std::size_t before = resident_bytes();
  std::size_t lines = 0;
  {
    const rh::cluster here(std::make_shared<rh::detail::local_session>(1, [&](const char*, bool, std::string_view) { ++lines; }));
    say("a gigabyte of output", [&] { here.send<&print_lines>()(1 << 20).get(); });
  }
  std::printf("lines: %zu\n", lines);
  std::printf("memory: %s\n", resident_bytes() - before < (std::size_t{64} << 20) ? "bounded" : "not bounded");
}

void memory() {
  const rh::cluster here = rh::local(1);
  here.send<&limit_memory>()(std::size_t{300} << 20).get();
  say("too large an allocation", [&] { here.send<&allocate>()(std::size_t{1} << 30).get(); });
  say("a small one after it", [&] { here.send<&allocate>()(1000).get(); });
  say("too large an argument", [&] { here.send<&size_of>()(std::vector<char>(std::size_t{1} << 30)).get(); });
  say("a small one after that", [&] { here.send<&add>()(1, 2).get(); });
}

void descriptors() {
  const rh::cluster here = rh::local(2);
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  const int next = ::dup(0);
  ::close(next);
  set_soft_limit(RLIMIT_NOFILE, static_cast<rlim_t>(next + 3));
  say("no descriptors", [&] { here.send<&add>()(1, 2).get(); });
  set_soft_limit(RLIMIT_NOFILE, before.rlim_cur);
  say("descriptors again", [&] { here.send<&add>()(1, 2).get(); });
  // A value for whose memory file there is no descriptor travels through the socket.
  const int now = ::dup(0);
  ::close(now);
  set_soft_limit(RLIMIT_NOFILE, static_cast<rlim_t>(now));
  say("a large argument without descriptors", [&] { here.send<&size_of>()(std::vector<char>(3'000'000)).get(); });
  set_soft_limit(RLIMIT_NOFILE, before.rlim_cur);
  say("and with them", [&] { here.send<&size_of>()(std::vector<char>(3'000'000)).get(); });
}

void processes() {
  const rh::cluster here = rh::local(1);
  rlimit before{};
  ::getrlimit(RLIMIT_NPROC, &before);
  here.send<&add>();  // what starts a thread of its own has done so
  say("warm", [&] { here.send<&add>()(1, 2).get(); });
  const rh::cluster other = rh::local(1);
  set_soft_limit(RLIMIT_NPROC, 1);
  say("no more processes", [&] { other.send<&add>()(1, 2).get(); });
  set_soft_limit(RLIMIT_NPROC, before.rlim_cur);
  say("processes again", [&] { other.send<&add>()(1, 2).get(); });
}

/// Makes its first call when a line has come.
void late() {
  const rh::cluster here = rh::local(1);
  std::puts("ready");
  std::fflush(stdout);
  std::string line;
  std::getline(std::cin, line);
  say("after the program's file was replaced", [&] { here.send<&add>()(2, 3).get(); });
}

void early() {
  const rh::cluster here = rh::local(1);
  say("a worker that ends early", [&] { here.send<&add>()(1, 2).get(); });
  say("another", [&] { here.send<&add>()(1, 2).get(); });
}

/// Its first worker dies in the call, and its second ends before it can serve.
void early_again() {
  const rh::cluster here = rh::local(1);
  here.send<&add>()(1, 2).get();
  ::setenv("FAIL_EARLY", "1", 1);
  say("a call that began, and has no worker any more", [&] { here.send<&die>().retry(1)().get(); });
}

/// A static object whose constructor fails, in workers.
struct fails_early {
  fails_early() {
    if (std::getenv("FAIL_EARLY") == nullptr || std::getenv("RUNHOUSE_WORKER") == nullptr) return;
    std::puts("no device found");
    std::exit(3);
  }
} fails_in_workers;

void crash() {
  const rh::cluster here = rh::local(1);
  say("a crash behind half a line", [&] { here.send<&print_and_crash>()().get(); });
}

}  // namespace

int main(int argc, char** argv) {
  rh::serve_if_asked(argc, argv);
  const std::map<std::string_view, void (*)()> cases = {
      {"gigabyte", &gigabyte},   {"memory", &memory}, {"descriptors", &descriptors},
      {"processes", &processes}, {"late", &late},     {"crash", &crash},
      {"early", &early},         {"early_again", &early_again}};
  const auto found = argc > 1 ? cases.find(argv[1]) : cases.end();
  if (found == cases.end()) return 2;
  found->second();
  return 0;
}
