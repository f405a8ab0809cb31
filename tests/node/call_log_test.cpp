// SPDX-License-Identifier: Apache-2.0
#include <runhouse/node/call_log.hpp>

#include <runhouse/node/log_folder.hpp>
#include <runhouse/node/log_reader.hpp>

#include "support/catch.hpp"
#include "support/temporary_file.hpp"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <sched.h>
#include <string>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using rh::detail::call_log;
using rh::detail::list_logs;
using rh::detail::log_bounds;
using rh::detail::log_folder;
using rh::detail::log_time;
using rh::detail::printed_on;
using rh::detail::read_log;
using rh::test::content;

namespace fs = std::filesystem;

namespace {

const log_time start = *rh::detail::parse_log_stamp("2026-11-27T21:20:23.123Z");
const std::string dead_life = "2026-11-26T000000Z-" + rh::os::host_name() + "-2147483646";

/// A home with nothing in it yet.
struct home {
  rh::test::temporary_file place;
  std::string logs() const { return place.path() + "/logs"; }
  /// An earlier life with a file of so many bytes.
  void old_file(const std::string& life, const std::string& name, std::size_t bytes, log_time written) const {
    fs::create_directories(logs() + "/" + life);
    for (const std::string& folder : {place.path(), logs(), logs() + "/" + life}) ::chmod(folder.c_str(), 0700);
    const std::string path = logs() + "/" + life + "/" + name;
    std::ofstream(path) << std::string(bytes, 'x');
    const timespec at{std::chrono::system_clock::to_time_t(written), 0};
    const timespec both[2] = {at, at};
    REQUIRE(::utimensat(AT_FDCWD, path.c_str(), both, 0) == 0);
  }
  bool has(const std::string& life, const std::string& name) const {
    return fs::exists(logs() + "/" + life + "/" + name);
  }
};

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::uint64_t bytes_below(const std::string& folder) {
  std::uint64_t sum = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file()) sum += entry.file_size();
  return sum;
}

int in_child(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

TEST_CASE("a log has the time, the stream and the text of each line, and is made with the first", "[node][call_log]") {
  const home h;
  const log_folder logs(h.logs(), start);
  call_log log = logs.log_of(3, 17, "physics::step<double>", start);
  CHECK_FALSE(fs::exists(h.place.path()));
  CHECK(log.path().empty());
  log.write("one", printed_on::out, start + 1ms);
  log.write("two\nthree\n", printed_on::err, start + 1s);
  log.write("", printed_on::out, start + 2s);
  CHECK(log.path() == logs.path() + "/17-physics.step_double-3.log");
  CHECK(contains(logs.path(), "/logs/2026-11-27T212023Z-" + rh::os::host_name() + "-" + std::to_string(::getpid())));
  const std::string path = log.path();
  log.end(start + 3s);
  CHECK(content(path) ==
        "2026-11-27T21:20:23.123Z log call 17 of session 3: physics::step<double>\n"
        "2026-11-27T21:20:23.124Z out one\n"
        "2026-11-27T21:20:24.123Z err two\n"
        "2026-11-27T21:20:24.123Z err three\n"
        "2026-11-27T21:20:25.123Z out \n"
        "2026-11-27T21:20:26.123Z log ended\n");
  struct stat facts {};
  REQUIRE(::stat(path.c_str(), &facts) == 0);
  CHECK((facts.st_mode & 07777) == 0600);
}

TEST_CASE("a log's name is safe whatever its function is called, and is read back", "[node][call_log]") {
  using rh::detail::log_file_name;
  CHECK(log_file_name(1, 2, "../../etc/passwd") == "2-etc_passwd-1.log");
  CHECK(log_file_name(1, 2, "") == "2-call-1.log");
  CHECK(log_file_name(1, 2, "main::{lambda#2}") == "2-main.lambda_2-1.log");
  CHECK(log_file_name(1, 2, std::string("a\0b\n-c", 6)) == "2-a_b_c-1.log");
  CHECK(log_file_name(1, 2, std::string(5000, 'f')).size() < 100);
  const auto name = rh::detail::parse_log_name(log_file_name(~0ull, ~0ull, "a::b"));
  REQUIRE(name);
  CHECK(name->call_id == ~0ull);
  CHECK(name->session == ~0ull);
  CHECK(name->function == "a.b");
  for (const char* other :
       {"", ".log", "-.log", "--.log", "1-f.log", "x-f-1.log", "1-f-99999999999999999999.log", "1-f-1.log.3"})
    CHECK_FALSE(rh::detail::is_log_file(other));
  CHECK(rh::detail::is_log_file("1-f-1.log.2"));
}

TEST_CASE("what a function prints is never taken for the log's own lines", "[node][call_log]") {
  const home h;
  const log_folder logs(h.logs(), start);
  call_log log = logs.log_of(1, 1, "f\nforged", start);
  log.write("2026-11-27T21:20:26.123Z log ended", printed_on::out, start);
  log.write("x\n2026-11-27T21:20:26.123Z log ended\n", printed_on::out, start);
  const std::vector<rh::detail::log_entry> entries = list_logs(logs.path());
  REQUIRE(entries.size() == 1);
  CHECK_FALSE(entries[0].ended);
  CHECK(entries[0].function == "f?forged");
}

TEST_CASE("of a call that prints without end the first and the last part are kept", "[node][call_log]") {
  const home h;
  log_bounds bounds;
  bounds.head_bytes = 64 * 1024;
  bounds.segment_bytes = 32 * 1024;
  const log_folder logs(h.logs(), start, bounds);
  call_log log = logs.log_of(1, 1, "chatty", start);
  std::uint64_t offset = 0, followed = 0, missing = 0;
  std::string last;
  for (int i = 0; i < 20'000; ++i) {
    log.write("line " + std::to_string(i), printed_on::out, start);
    if (i % 50 != 0) continue;
    REQUIRE(bytes_below(logs.path()) <= 128 * 1024);
    // A viewer that keeps up sees everything.
    for (;;) {
      const auto piece = read_log(log.path(), offset, 4096);
      REQUIRE(piece);
      missing += piece->missing;
      followed += piece->text.size();
      offset = piece->next;
      if (piece->text.empty()) break;
      last = piece->text;
    }
  }
  CHECK(missing == 0);
  CHECK(followed == offset);
  CHECK(contains(last, "line 19950\n"));
  const std::string path = log.path();
  log.end(start + 1s);

  const std::string head = content(path);
  CHECK(contains(head, "out line 0\n"));
  CHECK(contains(head, " bytes are missing here; go on with 1-chatty-1.log.1 and 1-chatty-1.log.2\n"));
  CHECK(contains(content(path + ".2"), "out line 19999\n"));
  CHECK(content(path + ".2").ends_with(" log ended\n"));
  // One who comes late sees the first part, how much is gone, and the last.
  std::string all;
  std::uint64_t gone = 0;
  for (offset = 0;;) {
    const auto piece = read_log(path, offset, 10'000);
    REQUIRE(piece);
    if (piece->text.empty()) break;
    all += piece->text;
    gone += piece->missing;
    offset = piece->next;
  }
  CHECK(all == content(path) + content(path + ".1") + content(path + ".2"));
  CHECK(gone > 500'000);
  CHECK(all.size() > 96 * 1024);
  const auto entries = list_logs(logs.path());
  REQUIRE(entries.size() == 1);
  CHECK(entries[0].ended);
  CHECK(entries[0].bytes == all.size());
  CHECK(logs.unwritten_bytes() == 0);
}

TEST_CASE("a log at its real limit stays within 64 MiB", "[node][call_log]") {
  const home h;
  const log_folder logs(h.logs(), start);
  call_log log = logs.log_of(1, 1, "f", start);
  const std::string line(60'000, 'x');
  for (int i = 0; i < 2'500; ++i) log.write(line, printed_on::out, start);
  const std::uint64_t sum = bytes_below(logs.path());
  CHECK(sum <= (64u << 20));
  CHECK(sum >= (48u << 20));
}

TEST_CASE("a line of any length is kept, in parts", "[node][call_log]") {
  const home h;
  const log_folder logs(h.logs(), start);
  call_log log = logs.log_of(1, 1, "f", start);
  log.write(std::string(1'000'000, 'y') + "\nz", printed_on::out, start);
  const std::string text = content(log.path());
  CHECK(std::count(text.begin(), text.end(), 'y') == 1'000'000);
  CHECK(text.ends_with("out z\n"));
}

TEST_CASE("many calls that print at once share few descriptors", "[node][call_log]") {
  const home h;
  log_bounds bounds;
  bounds.open_files = 8;
  const log_folder logs(h.logs(), start, bounds);
  const auto open_now = [] { return std::distance(fs::directory_iterator("/proc/self/fd"), fs::directory_iterator()); };
  const auto before = open_now();
  std::vector<call_log> many;
  for (unsigned i = 0; i < 300; ++i) many.push_back(logs.log_of(1, i, "f", start));
  for (int round = 0; round < 3; ++round)
    for (call_log& log : many) log.write("round " + std::to_string(round), printed_on::out, start);
  CHECK(open_now() - before <= 8 + 2);
  const std::string path = many[7].path();
  many.clear();
  CHECK(open_now() - before <= 2);
  const std::string text = content(path);
  CHECK(std::count(text.begin(), text.end(), '\n') == 5);
  CHECK(contains(text, "out round 2\n"));
}

TEST_CASE("a hundred thousand short logs stay within the bound, the oldest removed first", "[node][call_log]") {
  const home h;
  log_bounds bounds;
  bounds.all_bytes = 2000 * 4096;
  log_folder logs(h.logs(), start, bounds);
  for (unsigned i = 0; i < 100'000; ++i) {
    call_log log = logs.log_of(1, i, "f", start);
    log.write("hello", printed_on::out, start + std::chrono::milliseconds(i));
    log.end(start + std::chrono::milliseconds(i));
    if (i % 1000 == 0) CHECK(logs.bytes() <= bounds.all_bytes + 8192);
  }
  const auto entries = list_logs(logs.path(), 5000);
  CHECK(entries.size() <= 2001);
  CHECK(entries.size() >= 1990);
  CHECK(fs::exists(logs.path() + "/99999-f-1.log"));
  CHECK_FALSE(fs::exists(logs.path() + "/0-f-1.log"));
  // A week later all go.
  while (logs.sweep(start + 24h * 8)) {
  }
  CHECK(list_logs(logs.path()).empty());
  CHECK(logs.bytes() == 0);
}

TEST_CASE("a log that is still written is not removed", "[node][call_log]") {
  const home h;
  log_bounds bounds;
  bounds.all_bytes = 4096;
  log_folder logs(h.logs(), start, bounds);
  call_log open = logs.log_of(1, 1, "open", start);
  open.write(std::string(20'000, 'x'), printed_on::out, start);
  call_log ended = logs.log_of(1, 2, "ended", start);
  ended.write("x", printed_on::out, start);
  ended.end(start);
  while (logs.sweep(start + 24h * 30)) {
  }
  CHECK(fs::exists(open.path()));
  CHECK(list_logs(logs.path()).size() == 1);
}

TEST_CASE("logs of earlier lives are swept by age and sum, and nothing else is touched", "[node][call_log]") {
  const home h;
  const std::string living = "2026-11-26T000001Z-" + rh::os::host_name() + "-1";
  const std::string elsewhere = "2026-11-26T000002Z-other-2147483646";
  h.old_file(dead_life, "1-f-1.log", 10, start - 24h * 8);
  h.old_file(dead_life, "2-f-1.log", 100'000, start - 3h);
  h.old_file(dead_life, "3-f-1.log", 100'000, start - 1h);
  h.old_file(dead_life, "4-f-1.log.2", 100'000, start - 2h);
  h.old_file(dead_life, "notes.txt", 100'000, start - 24h * 100);
  h.old_file(living, "1-f-1.log", 100'000, start - 24h * 6);
  h.old_file(living, "2-f-1.log", 100'000, start - 24h * 8);
  h.old_file(elsewhere, "1-f-1.log", 100'000, start - 24h * 6);
  h.old_file("2026-11-01T000000Z-" + rh::os::host_name() + "-2147483645", "1-f-1.log", 10, start - 24h * 20);
  h.old_file("mine", "1-f-1.log", 10, start - 24h * 20);
  rh::test::append(h.place.path() + ".precious", "precious");
  fs::create_symlink(h.place.path() + ".precious", h.logs() + "/" + dead_life + "/5-f-1.log");
  fs::create_directory(h.place.path() + ".folder");
  rh::test::append(h.place.path() + ".folder/1-f-1.log", "precious");
  fs::create_symlink(h.place.path() + ".folder",
                     h.logs() + "/2026-11-02T000000Z-" + rh::os::host_name() + "-2147483645");

  log_bounds bounds;
  bounds.all_bytes = 250'000;
  bounds.sweep_files = 1;
  log_folder logs(h.logs(), start, bounds);
  int steps = 1;
  while (logs.sweep(start)) REQUIRE(++steps < 1000);
  CHECK(steps > 10);
  CHECK_FALSE(h.has(dead_life, "1-f-1.log"));
  CHECK_FALSE(h.has(dead_life, "2-f-1.log"));
  CHECK(h.has(dead_life, "3-f-1.log"));
  CHECK(h.has(dead_life, "4-f-1.log.2"));
  CHECK(h.has(dead_life, "notes.txt"));
  CHECK(h.has(living, "1-f-1.log"));
  CHECK_FALSE(h.has(living, "2-f-1.log"));
  CHECK(h.has(elsewhere, "1-f-1.log"));
  CHECK_FALSE(fs::exists(h.logs() + "/2026-11-01T000000Z-" + rh::os::host_name() + "-2147483645"));
  CHECK(h.has("mine", "1-f-1.log"));
  CHECK(content(h.place.path() + ".precious") == "precious\n");
  CHECK(content(h.place.path() + ".folder/1-f-1.log") == "precious\n");
}

TEST_CASE("a symbolic link planted as a log is not written through", "[node][call_log]") {
  const home h;
  const log_folder logs(h.logs(), start);
  logs.log_of(1, 1, "f", start).write("x", printed_on::out, start);
  const std::string target = h.place.path() + ".target";
  rh::test::append(target, "precious");
  fs::create_symlink(target, logs.path() + "/2-f-1.log");
  call_log log = logs.log_of(1, 2, "f", start);
  log.write("12345", printed_on::out, start);
  CHECK(content(target) == "precious\n");
  CHECK(logs.unwritten_bytes() == 5);
  CHECK_FALSE(logs.trouble().empty());
}

TEST_CASE("a home that cannot be used costs the logs only, and is tried again", "[node][call_log]") {
  const home h;
  rh::test::append(h.place.path(), "a file where the folder should be");
  log_folder logs(h.logs(), start);
  CHECK_FALSE(logs.sweep(start));
  call_log log = logs.log_of(1, 1, "f", start);
  log.write("lost", printed_on::out, start);
  CHECK(contains(logs.trouble(), h.place.path() + ": it is no folder"));
  fs::remove(h.place.path());
  log.write("lost", printed_on::out, start + 1s);
  CHECK_FALSE(fs::exists(h.place.path()));
  CHECK(logs.unwritten_bytes() == 8);
  log.write("kept", printed_on::out, start + 6s);
  CHECK(logs.unwritten_bytes() == 8);
  CHECK(logs.trouble().empty());
  CHECK(contains(content(log.path()), " log 8 bytes could not be written: "));
  CHECK(contains(content(log.path()), "out kept\n"));
  // And one that is removed meanwhile.
  fs::remove_all(h.place.path());
  call_log other = logs.log_of(1, 2, "f", start);
  other.write("lost", printed_on::out, start + 7s);
  other.write("kept", printed_on::out, start + 20s);
  CHECK(contains(content(other.path()), "out kept\n"));
}

TEST_CASE("a file that may grow no more ends with whole lines, and says what is missing once it can",
          "[node][call_log]") {
  const home h;
  const int code = in_child([&] {
    ::signal(SIGXFSZ, SIG_IGN);
    rlimit limit{5000, RLIM_INFINITY};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    const log_folder logs(h.logs(), start);
    call_log log = logs.log_of(1, 1, "f", start);
    for (int i = 0; i < 100; ++i) log.write(std::string(100, 'x'), printed_on::out, start);
    if (logs.unwritten_bytes() < 5000 || logs.unwritten_bytes() > 7000) return 1;
    limit.rlim_cur = RLIM_INFINITY;
    ::setrlimit(RLIMIT_FSIZE, &limit);
    log.write("again", printed_on::out, start + 10s);
    log.end(start + 11s);
    return 0;
  });
  CHECK(code == 0);
  fs::path life = fs::directory_iterator(h.logs())->path();
  const std::string text = content(life / "1-f-1.log");
  CHECK(contains(text, "x\n2026-11-27T21:20:33.123Z log "));
  CHECK(contains(text, " bytes could not be written: File too large\n"));
  CHECK(contains(text, "out again\n"));
}

TEST_CASE("on a full disk calls go on, and logs again when there is room", "[node][call_log]") {
  const home h;
  const int code = in_child([&] {
    fs::create_directory(h.place.path());
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", h.place.path().c_str(), "tmpfs", 0, "size=256k,mode=0700") != 0)
      return 77;
    const log_folder logs(h.logs(), start);
    call_log first = logs.log_of(1, 1, "first", start);
    call_log second = logs.log_of(1, 2, "second", start);
    first.write("small", printed_on::out, start);
    std::ofstream(h.place.path() + "/ballast") << std::string(200'000, 'b');
    for (int i = 0; i < 1000; ++i) second.write(std::string(100, 'x'), printed_on::out, start);
    const std::uint64_t lost = logs.unwritten_bytes();
    if (lost == 0) return 1;
    if (logs.trouble() != "No space left on device") return 2;
    const std::string before = content(second.path());
    if (!before.empty() && before.back() != '\n') return 3;
    fs::remove(h.place.path() + "/ballast");
    second.write("again", printed_on::out, start + 10s);
    first.write("again", printed_on::err, start + 10s);
    if (logs.unwritten_bytes() != lost) return 4;
    if (!contains(content(second.path()), " log " + std::to_string(lost) + " bytes could not be written: No space"))
      return 5;
    if (!contains(content(second.path()), "out again\n") || !contains(content(first.path()), "err again\n")) return 6;
    return 0;
  });
  if (code == 77) {
    WARN("skipped: only root may mount a small disk");
    return;
  }
  CHECK(code == 0);
}

TEST_CASE("logs are listed with call, function, beginning, size and whether they have ended", "[node][call_log]") {
  const home h;
  const log_folder logs(h.logs(), start);
  CHECK(list_logs(logs.path()).empty());
  CHECK_FALSE(read_log(logs.path() + "/1-f-1.log", 0, 100));
  call_log running = logs.log_of(4, 8, "std::vector<int> a::b(int)", start);
  running.write("x", printed_on::out, start + 5s);
  call_log done = logs.log_of(4, 9, "g", start + 1s);
  done.write("x", printed_on::out, start + 5s);
  const std::string path = done.path();
  done.end(start + 6s);
  auto entries = list_logs(logs.path());
  REQUIRE(entries.size() == 2);
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.call_id < b.call_id; });
  CHECK(entries[0].function == "std::vector<int> a::b(int)");
  CHECK(entries[0].session == 4);
  CHECK(entries[0].begun == start);
  CHECK_FALSE(entries[0].ended);
  CHECK(entries[1].call_id == 9);
  CHECK(entries[1].path == path);
  CHECK(entries[1].begun == start + 1s);
  CHECK(entries[1].bytes == content(path).size());
  CHECK(entries[1].ended);
  CHECK(list_logs(logs.path(), 1).size() == 1);
  const auto piece = read_log(path, 10'000, 100);
  REQUIRE(piece);
  CHECK(piece->text.empty());
  CHECK(piece->next == 10'000);
}
