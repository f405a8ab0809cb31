// SPDX-License-Identifier: Apache-2.0
#include <runhouse/host/bootstrap.hpp>

#include <runhouse/os/process.hpp>
#include <runhouse/os/socket.hpp>
#include <runhouse/os/system.hpp>

#include "support/catch.hpp"
#include "support/temporary_file.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <poll.h>
#include <random>
#include <string>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

using namespace rh::detail;
using rh::errc;
namespace fs = std::filesystem;
using clock_type = std::chrono::steady_clock;

namespace {

/// A shell that may be /bin/sh on a host, and where its tools are.
struct shell {
  std::string name;
  std::string path;
};

std::string busybox_path() {
  const char* told = std::getenv("RUNHOUSE_TEST_BUSYBOX");
  for (const std::string& path : {std::string(told != nullptr ? told : ""), std::string("/bin/busybox"), std::string("/usr/bin/busybox")})
    if (!path.empty() && ::access(path.c_str(), X_OK) == 0) return path;
  return "";
}

std::vector<shell> shells() {
  std::vector<shell> found;
  for (const char* name : {"dash", "bash"})
    if (const std::string path = std::string("/bin/") + name; ::access(path.c_str(), X_OK) == 0) found.push_back({name, path});
  if (const std::string path = busybox_path(); !path.empty()) found.push_back({"busybox", path});
  return found;
}

/// A host: a home, and a shell. Its tools are the shell's own where that is busybox.
class far_machine {
 public:
  explicit far_machine(shell sh = shells().front()) : shell_(std::move(sh)) {
    fs::create_directory(home());
    if (shell_.name != "busybox") return;
    fs::create_directory(place_.path() + ".bin");
    for (const char* tool : {"sh", "uname", "head", "tail", "cat", "mkdir", "rmdir", "mv", "rm", "ls", "ln", "chmod", "df", "wc", "sha256sum", "sleep",
                             "find", "sync"})
      fs::create_symlink(shell_.path, place_.path() + ".bin/" + tool);
    path = place_.path() + ".bin";
  }
  std::string home() const { return place_.path(); }
  std::string stderr_path() const { return home() + ".stderr"; }
  std::string folder() const { return home() + "/.runhouse"; }
  std::string program(const program_image& image) const { return folder() + "/programs/" + image.id(); }
  std::vector<std::string> incoming() const { return incoming_of(".runhouse"); }
  std::vector<std::string> incoming_of(const std::string& name) const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(home() + "/" + name + "/incoming")) names.push_back(entry.path().filename());
    return names;
  }
  const shell& sh() const { return shell_; }

  std::string path = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";
  std::vector<std::string> environment;
  std::string before;  ///< what a start-up file of the login shell does

 private:
  rh::test::temporary_file place_;
  shell shell_;
};

/// A connection to a shell there, which breaks after so many bytes to it.
class connection final : public far_channel {
 public:
  explicit connection(const far_machine& machine, std::size_t breaks_after = static_cast<std::size_t>(-1)) : left_(breaks_after) {
    auto [ours, theirs] = rh::os::socket_pair();
    const rh::os::unique_fd errors(::open(machine.stderr_path().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    rh::os::spawn_request request;
    request.path = machine.sh().path;
    request.arguments = {"sh", "-s"};
    if (!machine.before.empty()) request.arguments = {"sh", "-c", machine.before};
    request.environment = machine.environment;
    request.environment.push_back("HOME=" + machine.home());
    request.environment.push_back("PATH=" + machine.path);
    request.environment.push_back("SH=" + machine.sh().path);
    request.descriptors = {theirs.get(), theirs.get(), errors.get()};
    shell_ = rh::os::spawn(request);
    socket_ = std::move(ours);
  }
  ~connection() override {
    socket_.reset();
    if (outlives_) return;
    pollfd ended{shell_.pidfd(), POLLIN, 0};
    if (::poll(&ended, 1, 20000) != 1) shell_.signal_group(SIGKILL);
    ::waitpid(shell_.pid(), nullptr, 0);
  }
  connection(const connection&) = delete;
  connection& operator=(const connection&) = delete;

  std::size_t read(std::span<std::byte> into, time_point deadline) override {
    for (;;) {
      const auto got = rh::os::receive(socket_.get(), into, rh::os::blocking::no);
      if (got.how == rh::os::transfer::some) return got.bytes;
      if (got.how != rh::os::transfer::would_block) rh::fail(errc::connection_lost, "closed");
      if (!wait(true, false, deadline)) rh::fail(errc::timed_out, "nothing came");
    }
  }
  std::size_t write_some(std::span<const std::byte> from) override {
    if (left_ == 0) {
      socket_.reset();
      rh::fail(errc::connection_lost, "cut");
    }
    const auto sent = rh::os::send(socket_.get(), from.first(std::min(from.size(), left_)), rh::os::blocking::no);
    if (sent.how == rh::os::transfer::closed) rh::fail(errc::connection_lost, "closed");
    if (sent.how != rh::os::transfer::some) return 0;
    left_ -= sent.bytes;
    written_ += sent.bytes;
    return sent.bytes;
  }
  bool wait(bool for_reading, bool for_writing, time_point deadline) override {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - clock_type::now()).count();
    pollfd p{socket_.get(), static_cast<short>((for_reading ? POLLIN : 0) | (for_writing ? POLLOUT : 0)), 0};
    return left > 0 && ::poll(&p, 1, static_cast<int>(left)) > 0;
  }

  std::size_t written() const { return written_; }
  pid_t pid() const { return shell_.pid(); }
  const rh::os::process& process() const { return shell_; }
  /// The far side does not hear of it, and goes on.
  void forget() {
    outlives_ = true;
    leaked_ = ::dup(socket_.get());
  }
  void let_go() {
    ::close(leaked_);
    ::waitpid(shell_.pid(), nullptr, 0);
  }
  void kill_shell() { ::kill(shell_.pid(), SIGKILL); }

 private:
  rh::os::unique_fd socket_;
  rh::os::process shell_;
  std::size_t left_;
  std::size_t written_ = 0;
  bool outlives_ = false;
  int leaked_ = -1;
};

constexpr const char* good_program =
    "#!/bin/sh\n"
    "case $RUNHOUSE_BRIDGE in probe) exit 0 ;; 'end '*) echo \"${RUNHOUSE_BRIDGE#end } ended\"; exit 0 ;; esac\n"
    "printf 'from a library\\nand more '\n"
    "echo \"$RUNHOUSE_BRIDGE bridged\"\n"
    "echo \"$(umask) ${LC_ALL-unset} ${LD_LIBRARY_PATH-unset}\"\n"
    "exec cat\n";

/// A program that is a shell script, and bytes that no shell comes to read.
std::string program_text(const std::string& script, std::size_t bytes, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::string text = script + "exit 0\n";
  text.reserve(text.size() + bytes);
  for (std::size_t i = 0; i < bytes; ++i) text += static_cast<char>(random());
  return text;
}

/// An image of files that are made for it.
class made_image {
 public:
  explicit made_image(const std::string& program, const std::vector<std::pair<std::string, std::string>>& libraries = {}) {
    add("program", program);
    for (const auto& [name, text] : libraries) add(name.find('/') == name.npos ? "lib/" + name : name, text);
    image_.emplace(sources_);
  }
  const program_image& operator*() const { return *image_; }
  const program_image* operator->() const { return &*image_; }

 private:
  void add(const std::string& name, const std::string& text) {
    const auto& file = files_.emplace_back(std::make_unique<rh::test::temporary_file>());
    std::ofstream(file->path(), std::ios::binary) << text;
    sources_.push_back({name, file->path()});
  }
  std::vector<std::unique_ptr<rh::test::temporary_file>> files_;
  std::vector<program_image::source> sources_;
  std::optional<program_image> image_;
};

std::string text_of_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// What came behind the line, and up to the end of the next one.
std::string next_line(connection& far, const bootstrapped& made) {
  std::string text(reinterpret_cast<const char*>(made.rest.data()), made.rest.size());
  std::byte block[4096];
  while (text.find('\n') == text.npos) {
    const std::size_t n = far.read(block, clock_type::now() + std::chrono::seconds(20));
    text.append(reinterpret_cast<const char*>(block), n);
  }
  return text.substr(0, text.find('\n'));
}

struct outcome {
  std::optional<errc> failed;
  std::string what;
  bootstrapped made;
  std::string line;  ///< what the program said then
  bootstrap_state state;
  std::size_t written = 0;
};

outcome try_once(const far_machine& machine, const program_image& image, const std::string& token, bootstrap_options options = {},
                 std::size_t breaks_after = static_cast<std::size_t>(-1), const std::function<void(connection&)>& begun = {}) {
  outcome now;
  connection far(machine, breaks_after);
  if (begun) begun(far);
  try {
    now.made = bootstrap(far, image, options, token);
    if (!options.ends_node) now.line = next_line(far, now.made);
  } catch (const rh::error& e) {
    now.failed = e.kind();
    now.what = e.what();
  }
  now.state = options.state;
  now.written = far.written();
  return now;
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

#define CHECK_MADE(outcome)       \
  do {                            \
    INFO((outcome).what);         \
    CHECK_FALSE((outcome).failed); \
  } while (false)

/// A small file system of its own, for root.
class small_disk {
 public:
  small_disk(std::string at, const std::string& options, unsigned long flags = 0) : at_(std::move(at)) {
    fs::create_directories(at_);
    is_there_ = ::mount("tmpfs", at_.c_str(), "tmpfs", flags, options.c_str()) == 0;
    if (!is_there_) WARN("skipped: only root can mount a file system");
  }
  ~small_disk() {
    if (is_there_) ::umount2(at_.c_str(), MNT_DETACH);
  }
  small_disk(const small_disk&) = delete;
  small_disk& operator=(const small_disk&) = delete;
  bool remount(unsigned long flags) { return ::mount("tmpfs", at_.c_str(), "tmpfs", MS_REMOUNT | flags, nullptr) == 0; }
  explicit operator bool() const { return is_there_; }

 private:
  std::string at_;
  bool is_there_ = false;
};

}  // namespace

TEST_CASE("a program is copied to a host once and started there, by any sh", "[host][bootstrap]") {
  for (const shell& sh : shells()) {
    INFO(sh.name);
    far_machine machine(sh);
    machine.environment = {"LC_ALL=C.UTF-8"};
    const made_image image(program_text(good_program, 700000), {{"libx.so.1", std::string(50000, 'x')}, {"libnone.so", ""}});
    std::uint64_t reported = 0;
    bootstrap_options options;
    options.progress = [&](std::uint64_t done, std::uint64_t of) {
      CHECK(of == image->size());
      CHECK(done > reported);
      reported = done;
    };
    const outcome first = try_once(machine, *image, new_shipping_token(), options);
    CHECK_MADE(first);
    CHECK(first.made.host.name == rh::os::host_name());
    CHECK(first.made.host.folder == machine.folder());
    CHECK(first.made.shipped_bytes == image->size());
    CHECK(first.made.program_bytes == image->size());
    CHECK(reported == image->size());
    CHECK(first.state.had_begun);
    const std::string there = machine.program(*image);
    const std::string lib = there + "/lib";
    CHECK(first.line == "0022 C.UTF-8 " + lib);
    CHECK(text_of_file(there + "/program") == program_text(good_program, 700000));
    CHECK(text_of_file(lib + "/libx.so.1") == std::string(50000, 'x'));
    CHECK(fs::exists(lib + "/libnone.so"));
    CHECK(text_of_file(there + "/manifest") == text_of(manifest_of(*image)));
    CHECK(machine.incoming().empty());
    for (const std::string& folder : {machine.folder(), machine.folder() + "/programs", there})
      CHECK((fs::status(folder).permissions() & fs::perms::mask) == fs::perms::owner_all);

    machine.environment = {"LD_LIBRARY_PATH=/opt/old"};
    const outcome second = try_once(machine, *image, new_shipping_token());
    CHECK_MADE(second);
    CHECK(second.made.shipped_bytes == 0);
    CHECK(second.line == "0022 unset " + lib + ":/opt/old");
    CHECK(text_of_file(machine.stderr_path()) == "");
  }
}

TEST_CASE("a host that lacks what a program needs gets that too, and knows so from then on", "[host][bootstrap]") {
  for (const shell& sh : shells()) {
    INFO(sh.name);
    far_machine machine(sh);
    // As a loader says it.
    const made_image image(program_text("#!/bin/sh\necho \"$0: error while loading shared libraries: libnew.so.1: cannot open shared object file\" >&2\nexit 127\n", 100000));
    const std::string text = program_text(good_program, 700000);
    const std::string room(program_image::loader_name_bytes, '\0');
    const std::string noise = program_text("", 300000, 3);
    const made_image whole(text + room, {{"system/libnew.so.1", noise}, {"system/loader", noise + "l"}});
    int asked = 0;
    bootstrap_options options;
    options.whole = [&] {
      ++asked;
      return &*whole;
    };
    const std::string there = machine.program(*whole);
    const outcome first = try_once(machine, *image, new_shipping_token(), options);
    CHECK_MADE(first);
    CHECK(first.made.program_bytes == whole->size());
    CHECK(first.line == "0022 unset " + there + "/system");
    // The loader's path is where the kernel looks for it.
    std::string named = room;
    named.replace(0, there.size() + 14, there + "/system/loader");
    CHECK(text_of_file(there + "/program") == text + named);
    CHECK(fs::status(there + "/system/loader").permissions() == fs::perms::owner_all);

    const outcome second = try_once(machine, *image, new_shipping_token(), options);
    CHECK_MADE(second);
    CHECK(second.made.shipped_bytes == 0);
    CHECK(asked == 2);
    // A later build is made of both of those that are there, also of the end that has changed there.
    const made_image later(text + "more" + room, {{"system/libnew.so.1", noise}, {"system/loader", noise + "l"}});
    const made_image plain(program_text("#!/bin/sh\nexit 127\n", 100000, 2));
    options.whole = [&] { return &*later; };
    const outcome third = try_once(machine, *plain, new_shipping_token(), options);
    CHECK_MADE(third);
    CHECK(third.made.shipped_bytes < plain->size() + 400000);
    // In a folder that was moved, or is mounted elsewhere, the loader's path is another.
    fs::rename(machine.folder(), machine.home() + "/other");
    options.folder = "other";
    options.whole = [&] { return &*whole; };
    const outcome moved = try_once(machine, *image, new_shipping_token(), options);
    CHECK_MADE(moved);
    CHECK(moved.made.shipped_bytes == 0);
    const std::string elsewhere = machine.home() + "/other/programs/" + whole->id();
    CHECK(moved.line == "0022 unset " + elsewhere + "/system");
    named = room;
    named.replace(0, elsewhere.size() + 14, elsewhere + "/system/loader");
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(elsewhere)) names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    CAPTURE(names);
    REQUIRE(names.size() == 5);
    CHECK(names[1] == "program");  // which may be running
    CHECK(contains(names[2], "program-"));
    CHECK(text_of_file(elsewhere + "/" + names[2]) == text + named);
    const outcome again = try_once(machine, *image, new_shipping_token(), options);
    CHECK_MADE(again);
    CHECK(machine.incoming_of("other").empty());
    options.folder.clear();
    // Where there is nothing that would help, it is said what is missing.
    options.whole = [] { return nullptr; };
    const outcome none = try_once(machine, *made_image(program_text("#!/bin/sh\necho 'x: error while loading shared libraries: libnew.so.1: no' >&2\nexit 127\n", 100)), new_shipping_token(), options);
    CHECK(none.failed == errc::incompatible_host);
    CHECK(contains(none.what, "libnew.so.1"));
    options.whole = []() -> const program_image* { throw std::runtime_error("libold.so is gone"); };
    for (const made_image* each : {&image, &plain}) {
      const outcome failed = try_once(machine, **each, new_shipping_token(), options);
      CHECK(failed.failed == errc::incompatible_host);
      CHECK(contains(failed.what, "libold.so is gone"));
    }
    // What is there and cannot be loaded is no older system.
    options.whole = [&] { return &*whole; };
    const outcome busy = try_once(machine, *made_image(program_text("#!/bin/sh\necho 'x: error while loading shared libraries: libnew.so.1: failed to map segment from shared object' >&2\nexit 127\n", 100)),
                                  new_shipping_token(), options);
    CHECK(busy.failed == errc::node_not_started);
    CHECK(contains(busy.what, "failed to map segment"));
  }
}

TEST_CASE("the node of a host is ended by the program there", "[host][bootstrap]") {
  const far_machine machine;
  const made_image image(program_text(good_program, 100));
  bootstrap_options options;
  options.ends_node = true;
  CHECK_MADE(try_once(machine, *image, new_shipping_token(), options));
}

TEST_CASE("an upload that is cut anywhere goes on where it was cut", "[host][bootstrap]") {
  const made_image image(program_text(good_program, 600000), {{"liby.so", program_text("", 30000, 9)}});
  for (const shell& sh : shells()) {
    INFO(sh.name);
    std::size_t all = 0;
    {
      const far_machine machine(sh);
      const outcome whole = try_once(machine, *image, new_shipping_token());
      CHECK_MADE(whole);
      all = whole.written;
    }
    for (std::size_t cut = 1; cut < all; cut += all / 23) {
      INFO(cut << " of " << all);
      const far_machine machine(sh);
      const std::string token = new_shipping_token();
      const outcome first = try_once(machine, *image, token, {}, cut);
      CHECK(first.failed == errc::connection_lost);
      const outcome second = try_once(machine, *image, token);
      CHECK_MADE(second);
      // What was read by then counts: all but what was in the socket.
      if (cut > all - 300000) CHECK(second.made.shipped_bytes < image->size() / 2);
      CHECK(text_of_file(machine.program(*image) + "/program") == program_text(good_program, 600000));
      CHECK(machine.incoming().empty());
    }
  }
}

TEST_CASE("an upload over a connection that breaks again and again gets to its end", "[host][bootstrap]") {
  const far_machine machine;
  const made_image image(program_text(good_program, 3000000));
  const std::string token = new_shipping_token();
  int tries = 0;
  std::uint64_t uploaded = 0;
  for (;; ++tries) {
    REQUIRE(tries < 100);
    const outcome now = try_once(machine, *image, token, {}, 200000);
    if (!now.failed) break;
    REQUIRE(now.failed == errc::connection_lost);
    CHECK(now.state.had_begun);
    CHECK(now.state.uploaded >= uploaded);
    uploaded = now.state.uploaded;
  }
  CHECK(tries > 14);
  CHECK(text_of_file(machine.program(*image) + "/program") == program_text(good_program, 3000000));
}

TEST_CASE("another process goes on with what one that is gone has begun", "[host][bootstrap]") {
  const far_machine machine;
  const made_image image(program_text(good_program, 1000000));
  CHECK(try_once(machine, *image, new_shipping_token(), {}, 900000).failed == errc::connection_lost);
  const outcome second = try_once(machine, *image, new_shipping_token());
  CHECK_MADE(second);
  CHECK(second.made.shipped_bytes < 500000);
  CHECK(machine.incoming().empty());
}

TEST_CASE("what another host has begun is taken once it was not touched for two minutes", "[host][bootstrap]") {
  const far_machine machine;
  const made_image image(program_text(good_program, 1000000));
  const std::string token = new_shipping_token();
  CHECK(try_once(machine, *image, token, {}, 900000).failed == errc::connection_lost);
  const std::string part = machine.folder() + "/incoming/" + image->id() + "-" + token;
  for (const char* file : {"/owner", "/writer"}) std::ofstream(part + file) << "elsewhere boot 1 1\n";
  const bool is_old = GENERATE(false, true);
  if (is_old) {
    for (const auto& entry : fs::directory_iterator(part)) fs::last_write_time(entry, fs::file_time_type::clock::now() - std::chrono::minutes(5));
    fs::last_write_time(part, fs::file_time_type::clock::now() - std::chrono::minutes(5));
  }
  const outcome second = try_once(machine, *image, new_shipping_token());
  CHECK_MADE(second);
  CHECK((second.made.shipped_bytes < image->size()) == is_old);
}

TEST_CASE("an earlier connection of the same process that still lives is ended first", "[host][bootstrap]") {
  for (const shell& sh : shells()) {
    INFO(sh.name);
    const far_machine machine(sh);
    const made_image image(program_text(good_program, 2000000));
    const std::string token = new_shipping_token();
    std::optional<connection> old;
    old.emplace(machine);
    bootstrap_options options;
    options.progress = [](std::uint64_t done, std::uint64_t) {
      if (done > 1500000) throw 1;
    };
    CHECK_THROWS_AS(bootstrap(*old, *image, options, token), int);
    const auto part = machine.folder() + "/incoming/" + image->id() + "-" + token;
    CHECK(rh::test::in_time([&] { return fs::exists(part + "/data") && fs::file_size(part + "/data") > 1000000; }));
    old->forget();
    const outcome second = try_once(machine, *image, token);
    CHECK_MADE(second);
    CHECK(second.made.shipped_bytes < 1100000);
    pollfd ended{old->process().pidfd(), POLLIN, 0};
    CHECK(::poll(&ended, 1, 10000) == 1);
    old->let_go();
  }
}

TEST_CASE("a pid that is another process's by now is left alone", "[host][bootstrap]") {
  const far_machine machine;
  const made_image image(program_text(good_program, 1000000));
  const std::string token = new_shipping_token();
  CHECK(try_once(machine, *image, token, {}, 900000).failed == errc::connection_lost);
  const std::string part = machine.folder() + "/incoming/" + image->id() + "-" + token;
  const pid_t unrelated = ::fork();
  if (unrelated == 0)
    for (;;) ::pause();
  std::ifstream in(part + "/owner");
  std::string host;
  std::string boot;
  in >> host >> boot;
  CHECK(host == rh::os::host_name());
  CHECK(boot.size() == 36);
  for (const char* file : {"/owner", "/writer"}) std::ofstream(part + file) << host << ' ' << boot << ' ' << unrelated << " 12345\n";
  const outcome second = try_once(machine, *image, token);
  CHECK_MADE(second);
  CHECK(second.made.shipped_bytes < 500000);
  CHECK(::waitpid(unrelated, nullptr, WNOHANG) == 0);
  ::kill(unrelated, SIGKILL);
  ::waitpid(unrelated, nullptr, 0);
}

TEST_CASE("two that copy the same program at once both get it", "[host][bootstrap]") {
  for (const shell& sh : shells()) {
    const made_image image(program_text(good_program, 300000));
    for (int round = 0; round < 10; ++round) {
      INFO(sh.name << " " << round);
      const far_machine machine(sh);
      outcome outcomes[3];
      std::vector<std::thread> threads;
      for (outcome& each : outcomes) threads.emplace_back([&] { each = try_once(machine, *image, new_shipping_token()); });
      for (std::thread& thread : threads) thread.join();
      for (const outcome& each : outcomes) CHECK_MADE(each);
      CHECK(machine.incoming().empty());
      CHECK_FALSE(fs::exists(machine.program(*image) + "/new"));
      CHECK(text_of_file(machine.program(*image) + "/program") == program_text(good_program, 300000));
    }
  }
}

TEST_CASE("of an edited program little is sent", "[host][bootstrap]") {
  for (const shell& sh : shells()) {
    INFO(sh.name);
    const far_machine machine(sh);
    std::string text = program_text(good_program, 4000000);
    const made_image before(text, {{"libz.so", program_text("", 200000, 5)}});
    CHECK_MADE(try_once(machine, *before, new_shipping_token()));
    text.insert(2000000, "an edit");
    text.erase(3000000, 100);
    const made_image after(text, {{"libz.so", program_text("", 200000, 5)}});
    REQUIRE(after->id() != before->id());
    const outcome second = try_once(machine, *after, new_shipping_token());
    CHECK_MADE(second);
    CHECK(second.made.shipped_bytes > 0);
    CHECK(second.made.shipped_bytes < 1000000);
    CHECK(text_of_file(machine.program(*after) + "/program") == text);

    // Cut in the middle of the plan's few bytes, and on from there.
    text.insert(1000000, program_text("", 500000, 6));
    const made_image third(text, {{"libz.so", program_text("", 200000, 5)}});
    const std::string token = new_shipping_token();
    CHECK(try_once(machine, *third, token, {}, 400000).failed == errc::connection_lost);
    const outcome resumed = try_once(machine, *third, token);
    CHECK_MADE(resumed);
    CHECK(text_of_file(machine.program(*third) + "/program") == text);
  }
}

TEST_CASE("a program on the host that is not what its manifest says costs an upload, and no more", "[host][bootstrap]") {
  const far_machine machine;
  std::string text = program_text(good_program, 2000000);
  const made_image before(text);
  CHECK_MADE(try_once(machine, *before, new_shipping_token()));
  const std::string there = machine.program(*before);
  SECTION("its bytes were changed") {
    std::fstream file(there + "/program", std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(1000000);
    file << "changed";
  }
  SECTION("it was cut") { fs::resize_file(there + "/program", 1000); }
  SECTION("it went away") {
    fs::copy_file(there + "/manifest", there + "/kept");
    fs::remove(there + "/program");
  }
  SECTION("its manifest is no text of ours") { std::ofstream(there + "/manifest") << "runhouse-manifest 1\nfile ../../x 1 1\n"; }
  SECTION("its manifest is endless") { fs::resize_file(there + "/manifest", 100 << 20); }
  SECTION("its manifest is empty") { fs::resize_file(there + "/manifest", 0); }
  SECTION("there are names that are no programs") {
    for (const char* name : {"a b", "*", "..x", "$(reboot)", "-rf"}) fs::create_directory(machine.folder() + "/programs/" + name);
  }
  text.insert(500, "edit");
  const made_image after(text.replace(500, 4, "1234"));
  const outcome second = try_once(machine, *after, new_shipping_token());
  CHECK_MADE(second);
  CHECK(text_of_file(machine.program(*after) + "/program") == text);
}

TEST_CASE("what has come and was changed there is sent again", "[host][bootstrap]") {
  const far_machine machine;
  const made_image image(program_text(good_program, 1000000));
  const std::string token = new_shipping_token();
  CHECK(try_once(machine, *image, token, {}, 900000).failed == errc::connection_lost);
  const std::string data = machine.folder() + "/incoming/" + image->id() + "-" + token + "/data";
  SECTION("a byte") {
    std::fstream file(data, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(1000);
    file << "changed";
  }
  SECTION("it is longer than it should be") { fs::resize_file(data, 2000000); }
  SECTION("it went away") { fs::remove(data); }
  const outcome second = try_once(machine, *image, token);
  CHECK_MADE(second);
  CHECK(text_of_file(machine.program(*image) + "/program") == program_text(good_program, 1000000));
}

TEST_CASE("a host that never gets the bytes that were sent is given up", "[host][bootstrap]") {
  far_machine machine;
  // Its sha256sum is broken, as its disk may be.
  fs::create_directory(machine.home() + "/bin");
  std::ofstream(machine.home() + "/bin/sha256sum") << "#!/bin/sh\necho 0000 -\n";
  fs::permissions(machine.home() + "/bin/sha256sum", fs::perms::owner_all);
  machine.path = machine.home() + "/bin:" + machine.path;
  const made_image image(program_text(good_program, 100000));
  const outcome failed = try_once(machine, *image, new_shipping_token());
  CHECK(failed.failed == errc::shipping_failed);
  CHECK(contains(failed.what, "not what was sent"));
  CHECK(contains(failed.what, machine.folder()));
  CHECK_FALSE(fs::exists(machine.program(*image)));
}

TEST_CASE("a shell that is killed in the middle is a lost connection, and the next goes on", "[host][bootstrap]") {
  for (const shell& sh : shells()) {
    INFO(sh.name);
    const far_machine machine(sh);
    const made_image image(program_text(good_program, 2000000));
    const std::string token = new_shipping_token();
    connection* far = nullptr;
    bootstrap_options options;
    options.progress = [&](std::uint64_t done, std::uint64_t) {
      if (done > 1200000) far->kill_shell();
    };
    const outcome first = try_once(machine, *image, token, options, static_cast<std::size_t>(-1), [&](connection& c) { far = &c; });
    CHECK(first.failed == errc::connection_lost);
    const outcome second = try_once(machine, *image, token);
    CHECK_MADE(second);
    CHECK(second.made.shipped_bytes < 1300000);
    CHECK(text_of_file(machine.program(*image) + "/program") == program_text(good_program, 2000000));
  }
}

TEST_CASE("a full disk is said before anything is sent, and when it fills meanwhile", "[host][bootstrap]") {
  for (const shell& sh : shells()) {
    INFO(sh.name);
    const far_machine machine(sh);
    const small_disk disk(machine.folder(), "size=4m,mode=700");
    if (!disk) return;
    const made_image large(program_text(good_program, 5000000));
    const outcome refused = try_once(machine, *large, new_shipping_token());
    CHECK(refused.failed == errc::shipping_failed);
    CHECK(refused.written < 100000);
    CHECK(contains(refused.what, machine.folder()));
    CHECK(contains(refused.what, "KiB are free"));
    CHECK(contains(refused.what, "RUNHOUSE_REMOTE_FOLDER"));

    const made_image image(program_text(good_program, 3000000));
    const std::string token = new_shipping_token();
    bootstrap_options options;
    options.progress = [&](std::uint64_t, std::uint64_t) {
      if (!fs::exists(machine.folder() + "/filler")) std::ofstream(machine.folder() + "/filler") << std::string(3000000, 'f');
    };
    const outcome filled = try_once(machine, *image, token, options);
    CHECK(filled.failed == errc::shipping_failed);
    INFO(filled.what);
    CHECK(contains(filled.what, machine.folder() + ": the disk is full"));
    fs::remove(machine.folder() + "/filler");
    const outcome later = try_once(machine, *image, token);
    CHECK_MADE(later);
    CHECK(text_of_file(machine.program(*image) + "/program") == program_text(good_program, 3000000));
  }
}

TEST_CASE("a folder that cannot be used is named, with what to do", "[host][bootstrap]") {
  const shell sh = GENERATE(from_range(shells()));
  INFO(sh.name);
  const far_machine machine(sh);
  const made_image image(program_text(good_program, 100000));
  const auto refusal = [&](bootstrap_options options = {}) {
    const outcome now = try_once(machine, *image, new_shipping_token(), options);
    CHECK(now.failed == errc::shipping_failed);
    CHECK(contains(now.what, "RUNHOUSE_REMOTE_FOLDER"));
    CHECK(contains(now.what, ".runhouse"));
    CHECK(now.written < 60000);
    INFO(now.what);
    return now.what;
  };
  SECTION("read-only") {
    const small_disk disk(machine.home(), "size=1m", MS_RDONLY);
    if (!disk) return;
    CHECK(contains(refusal(), "Read-only file system"));
  }
  SECTION("programs may not run there") {
    const small_disk disk(machine.folder(), "size=4m,mode=700", MS_NOEXEC);
    if (!disk) return;
    CHECK(contains(refusal(), "programs may not run there"));
  }
  SECTION("a symbolic link") {
    fs::create_directory(machine.home() + "/other");
    fs::create_directory_symlink(machine.home() + "/other", machine.folder());
    CHECK(contains(refusal(), "is a symbolic link"));
    CHECK(fs::is_empty(machine.home() + "/other"));
  }
  SECTION("a file") {
    std::ofstream(machine.folder()) << "x";
    CHECK(contains(refusal(), "is no folder"));
  }
  SECTION("others may write there") {
    fs::create_directory(machine.folder());
    fs::permissions(machine.folder(), fs::perms::all);
    CHECK(contains(refusal(), "others may write"));
  }
  SECTION("another user's") {
    if (::geteuid() != 0) return;
    fs::create_directory(machine.folder());
    REQUIRE(::chown(machine.folder().c_str(), 65534, 65534) == 0);
    CHECK(contains(refusal(), "another user"));
  }
  SECTION("others may only read it: it is closed to them") {
    fs::create_directory(machine.folder());
    fs::permissions(machine.folder(), static_cast<fs::perms>(0755));
    CHECK_MADE(try_once(machine, *image, new_shipping_token()));
    CHECK((fs::status(machine.folder()).permissions() & fs::perms::mask) == fs::perms::owner_all);
  }
  SECTION("a tool is missing") {
    far_machine bare(sh);
    fs::create_directory(bare.home() + "/bin");
    for (const char* tool : {"uname", "tail", "cat"}) fs::create_symlink(std::string("/usr/bin/") + tool, bare.home() + "/bin/" + tool);
    bare.path = bare.home() + "/bin";
    const outcome now = try_once(bare, *image, new_shipping_token());
    INFO(now.what);
    // busybox may have it built in.
    if (sh.name != "busybox") {
      CHECK(now.failed == errc::shipping_failed);
      CHECK(contains(now.what, "'head' in PATH there"));
    }
  }
}

TEST_CASE("another folder is taken as it is written", "[host][bootstrap]") {
  const rh::test::temporary_file elsewhere;
  const far_machine machine;
  const made_image image(program_text(good_program, 1000));
  const auto lands_in = [&](const std::string& asked, const std::string& expected) {
    bootstrap_options options;
    options.folder = asked;
    const outcome now = try_once(machine, *image, new_shipping_token(), options);
    CHECK_MADE(now);
    CHECK(now.made.host.folder == expected);
    CHECK(fs::exists(expected + "/programs/" + image->id() + "/program"));
  };
  lands_in(elsewhere.path() + "/it's \"a\" $(folder); `x` *", elsewhere.path() + "/it's \"a\" $(folder); `x` *");
  lands_in("~/some/where", machine.home() + "/some/where");
  lands_in("below", machine.home() + "/below");
  bootstrap_options options;
  options.folder = "two\nlines";
  CHECK(try_once(machine, *image, new_shipping_token(), options).failed == errc::shipping_failed);
}

TEST_CASE("what start-up files of a shell print is skipped", "[host][bootstrap]") {
  const shell sh = GENERATE(from_range(shells()));
  INFO(sh.name);
  far_machine machine(sh);
  const made_image image(program_text(good_program, 100000));
  const auto works = [&](const std::string& before) {
    machine.before = before;
    CHECK_MADE(try_once(machine, *image, new_shipping_token()));
  };
  const std::string shell_name = sh.name == "busybox" ? "sh" : "\"$SH\"";
  works("echo Welcome; printf 'no newline: '; exec " + shell_name + " -s");
  works("printf 'runhouse-00 host x\\nrunhouse-'; exec " + shell_name + " -s");
  works("head -c 900000 /dev/zero; exec " + shell_name + " -s");
  // One that reads lines, all of which stand before the script.
  works("read x; read y; [ \"$x$y\" = '' ] || exit 1; exec " + shell_name + " -s");
  // One that echoes what it reads.
  works("exec " + shell_name + " -v -s 2>&1");
}

TEST_CASE("a host whose shell does not come to run the script says what it printed", "[host][bootstrap]") {
  far_machine machine;
  const made_image image(program_text(good_program, 1000));
  machine.before = "printf 'This account is \\033[1mnot available.\\n'; exit 1";
  const outcome closed = try_once(machine, *image, new_shipping_token());
  CHECK(closed.failed == errc::connection_lost);
  CHECK_FALSE(closed.state.had_begun);
  CHECK(contains(closed.what, "This account is  [1mnot available."));
  machine.before = "while :; do printf 'yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\\n'; done";
  const outcome endless = try_once(machine, *image, new_shipping_token());
  CHECK(endless.failed == errc::connection_lost);
  CHECK(contains(endless.what, "print less"));
}

TEST_CASE("a resume wants the same host, and the program there", "[host][bootstrap]") {
  const far_machine machine;
  const made_image image(program_text(good_program, 1000));
  bootstrap_options options;
  options.expected_host = "other.host";
  const outcome elsewhere = try_once(machine, *image, new_shipping_token(), options);
  CHECK(elsewhere.failed == errc::node_elsewhere);
  CHECK(contains(elsewhere.what, rh::os::host_name()));
  options.expected_host = rh::os::host_name();
  options.resumes = true;
  CHECK(try_once(machine, *image, new_shipping_token(), options).failed == errc::node_lost);
  CHECK_FALSE(fs::exists(machine.folder()));
  CHECK_MADE(try_once(machine, *image, new_shipping_token()));
  CHECK_MADE(try_once(machine, *image, new_shipping_token(), options));
}

TEST_CASE("a program of another architecture is not sent", "[host][bootstrap]") {
  far_machine machine;
  fs::create_directory(machine.home() + "/bin");
  std::ofstream(machine.home() + "/bin/uname") << "#!/bin/sh\n[ $1 = -n ] && echo far || echo ia64\n";
  fs::permissions(machine.home() + "/bin/uname", fs::perms::owner_all);
  machine.path = machine.home() + "/bin:" + machine.path;
  const program_image image(std::vector<program_image::source>{{"program", "/bin/true"}});
  const outcome now = try_once(machine, image, new_shipping_token());
  CHECK(now.failed == errc::incompatible_host);
  CHECK(contains(now.what, "far is ia64"));
  CHECK(contains(now.what, image.machine()));
  CHECK_FALSE(fs::exists(machine.folder()));
}

TEST_CASE("a program that does not start says why, and what to do", "[host][bootstrap]") {
  const shell sh = GENERATE(from_range(shells()));
  INFO(sh.name);
  const far_machine machine(sh);
  const auto failure = [&](const std::string& script, errc expected) {
    const made_image image(program_text("#!/bin/sh\n" + script, 100));
    const outcome now = try_once(machine, *image, new_shipping_token());
    CHECK(now.failed == expected);
    return now.what;
  };
  std::string what = failure("echo \"$0: /lib/libc.so.6: version \\`GLIBC_2.99' not found (required by $0)\" >&2\nexit 1\n", errc::incompatible_host);
  CHECK(contains(what, "has no GLIBC_2.99"));
  CHECK(contains(what, "build it on an older system"));
  what = failure("echo \"$0: version \\`GLIBCXX_3.4.99' not found (required by $0)\" >&2\nexit 1\n", errc::incompatible_host);
  CHECK(contains(what, "-static-libstdc++"));
  what = failure("echo \"$0: error while loading shared libraries: libfoo.so.7: cannot open shared object file: No such file\" >&2\nexit 127\n",
                 errc::incompatible_host);
  CHECK(contains(what, "libfoo.so.7"));
  what = failure("kill -ILL $$\n", errc::incompatible_host);
  CHECK(contains(what, "-march=native"));
  what = failure("kill -SEGV $$\n", errc::node_not_started);
  CHECK(contains(what, "by signal 11"));
  what = failure("echo one; echo; echo '  two' >&2; exit 3\n", errc::node_not_started);
  CHECK(contains(what, "with code 3 (it said: one two)"));
  what = failure("echo \"$RUNHOUSE_BRIDGE failed node_incompatible it speaks version 9\"; exit 0\n", errc::node_incompatible);
  CHECK(contains(what, "it speaks version 9"));
  what = failure("echo \"$RUNHOUSE_BRIDGE failed strange because\"; exit 0\n", errc::node_not_started);
  what = failure("exit 0\n", errc::connection_lost);
  // Once the bridge has said that it is one, what becomes of it is not said into the session's bytes.
  const made_image killed(program_text("#!/bin/sh\necho \"$RUNHOUSE_BRIDGE bridged\"\necho line\nkill -USR1 $PPID\nkill -9 $$\n", 100));
  connection far(machine);
  bootstrap_options options;
  const bootstrapped made = bootstrap(far, *killed, options, new_shipping_token());
  std::string text(reinterpret_cast<const char*>(made.rest.data()), made.rest.size());
  try {
    for (std::byte block[100];;) {
      const std::size_t n = far.read(block, clock_type::now() + std::chrono::seconds(20));
      text.append(reinterpret_cast<const char*>(block), n);
    }
  } catch (const rh::error& e) {
    CHECK(e.kind() == errc::connection_lost);
  }
  CHECK(text == "line\n");
}

TEST_CASE("a real executable that its host cannot load is reported", "[host][bootstrap]") {
  const shell sh = GENERATE(from_range(shells()));
  INFO(sh.name);
  const far_machine machine(sh);
  const auto failure = [&](const std::function<void(std::string&)>& change) {
    std::string text = text_of_file("/bin/true");
    change(text);
    const made_image image(text);
    const outcome now = try_once(machine, *image, new_shipping_token());
    CHECK(now.failed == errc::incompatible_host);
    return now.what;
  };
  const auto replace = [](std::string& text, const std::string& from, const std::string& to) {
    const std::size_t at = text.find(from);
    REQUIRE(at != text.npos);
    text.replace(at, from.size(), to);
  };
  std::string what = failure([&](std::string& text) { replace(text, "libc.so.6", "libq.so.6"); });
  CHECK(contains(what, "the library libq.so.6"));
  const std::size_t at = text_of_file("/bin/true").find("/ld-linux");
  if (at != std::string::npos) {
    what = failure([&](std::string& text) { replace(text, "/ld-linux", "/ld-linuq"); });
    CHECK(contains(what, "loader"));
  }
}

TEST_CASE("a folder in which programs may no longer run is reported", "[host][bootstrap]") {
  const shell sh = GENERATE(from_range(shells()));
  INFO(sh.name);
  const far_machine machine(sh);
  small_disk disk(machine.folder(), "size=4m,mode=700");
  if (!disk) return;
  const made_image image(program_text(good_program, 1000));
  CHECK_MADE(try_once(machine, *image, new_shipping_token()));
  REQUIRE(disk.remount(MS_NOEXEC));
  const outcome now = try_once(machine, *image, new_shipping_token());
  CHECK(now.failed == errc::shipping_failed);
  CHECK(contains(now.what, "noexec"));
  // And one that is read-only serves what is there.
  REQUIRE(disk.remount(MS_RDONLY));
  CHECK_MADE(try_once(machine, *image, new_shipping_token()));
}

TEST_CASE("what was not used for long is removed when another program is copied", "[host][bootstrap]") {
  const shell sh = GENERATE(from_range(shells()));
  INFO(sh.name);
  const far_machine machine(sh);
  const auto now = fs::file_time_type::clock::now();
  const made_image old(program_text(good_program, 1000, 1));
  const made_image recent(program_text(good_program, 1000, 2));
  const made_image again(program_text(good_program, 1000, 3));
  for (const made_image* image : {&old, &recent, &again}) CHECK_MADE(try_once(machine, **image, new_shipping_token()));
  fs::last_write_time(machine.program(*old) + "/used", now - std::chrono::hours(24 * 40));
  fs::last_write_time(machine.program(*recent) + "/used", now - std::chrono::hours(24 * 20));
  fs::last_write_time(machine.program(*again) + "/used", now - std::chrono::hours(24 * 40));
  CHECK_MADE(try_once(machine, *again, new_shipping_token()));  // used now
  const std::string dead = machine.folder() + "/incoming/" + std::string(64, 'a') + "-x";
  const std::string alive = machine.folder() + "/incoming/" + std::string(64, 'b') + "-x";
  for (const std::string& folder : {dead, alive}) {
    fs::create_directory(folder);
    std::ofstream(folder + "/data") << "x";
  }
  fs::last_write_time(dead + "/data", now - std::chrono::hours(50));
  fs::last_write_time(dead, now - std::chrono::hours(50));
  fs::last_write_time(alive, now - std::chrono::hours(50));
  CHECK_MADE(try_once(machine, *made_image(program_text(good_program, 1000, 4)), new_shipping_token()));
  CHECK_FALSE(fs::exists(machine.program(*old)));
  CHECK(fs::exists(machine.program(*recent)));
  CHECK(fs::exists(machine.program(*again)));
  CHECK(machine.incoming() == std::vector<std::string>{std::string(64, 'b') + "-x"});
}

namespace {

/// A host that says what it likes: to each thing that it gets, the next of its answers, with its marker for '@'.
class liar final : public far_channel {
 public:
  explicit liar(std::vector<std::string> answers) : answers_(std::move(answers)) {}
  std::size_t read(std::span<std::byte> into, time_point deadline) override {
    if (said_.empty() && next_ < answers_.size() && !marker_.empty()) {
      for (const char c : answers_[next_++]) said_ += c == '@' ? marker_ : std::string(1, c);
    }
    if (said_.empty() && deadline <= clock_type::now()) rh::fail(errc::timed_out, "nothing");
    if (said_.empty()) rh::fail(errc::connection_lost, "closed");
    const std::size_t n = std::min(into.size(), said_.size());
    std::memcpy(into.data(), said_.data(), n);
    said_.erase(0, n);
    return n;
  }
  std::size_t write_some(std::span<const std::byte> from) override {
    const std::string text(reinterpret_cast<const char*>(from.data()), from.size());
    if (const std::size_t at = text.find("rh_marker='"); at != text.npos) {
      marker_ = text.substr(at + 11, text.find('\n', at) - at - 12);
      marker_.erase(marker_.find("''"), 2);
    }
    return from.size();
  }
  bool wait(bool, bool, time_point) override { return true; }

 private:
  std::vector<std::string> answers_;
  std::size_t next_ = 0;
  std::string said_;
  std::string marker_;
};

std::optional<errc> against(std::vector<std::string> answers) {
  static const made_image image(program_text(good_program, 600000));
  liar far(std::move(answers));
  bootstrap_options options;
  try {
    bootstrap(far, *image, options, "token");
  } catch (const rh::error& e) {
    return e.kind();
  }
  return std::nullopt;
}

}  // namespace

TEST_CASE("a host that says what is not allowed is not believed", "[host][bootstrap]") {
  const std::string id(64, 'a');
  const std::string host = "@ host m n /f\n";
  CHECK_FALSE(against({"@ host m n /f\r\n@ ready\r\n@ bridged\r\n"}));
  CHECK_FALSE(against({host, "@ missing\n", "@ have 600000\n", "@ shipped\n@ ready\n@ bridged\n"}));
  CHECK_FALSE(against({host, "@ missing " + id + " x ../.. " + id + "\n", "@ manifest 0\n", "@ manifest 3\nabc", "@ have 0\n", "@ got 5\n@ shipped\n",
                       "@ ready\n", "@ bridged\n"}));
  for (const auto& wrong : std::vector<std::vector<std::string>>{
           {},
           {"@ ready\n"},
           {"@ host m n /f"},
           {host, "@ ready\n", "@ shipped\n"},
           {host, "@ ready\n", "@ ended\n"},
           {host, "@ have 0\n"},
           {host, "@ missing " + id + "\n", "@ manifest 99999999999\n"},
           {host, "@ missing " + id + "\n", "@ manifest -1\n"},
           {host, "@ missing " + id + "\n", "@ manifest 1000000\nabc"},
           {host, "@ missing\n", "@ have 99999999\n"},
           {host, "@ missing\n", "@ have\n"},
           {host, "@ missing\n", "@ have 0\n", "@ got x\n"},
           {host, "@ missing\n", "@ have 0\n", "@ ready\n"},
           {host, "@ " + std::string(100000, 'x') + "\n"},
           {host + "@ " + std::string(100000, 'x')},
           {host, std::string(3000000, 'x')},
       }) {
    CHECK(against(wrong) == errc::connection_lost);
  }
  CHECK(against({host, "@ missing\n", "@ have 0\n", "@ mismatch program\n", "@ have 0\n", "@ mismatch program\n"}) == errc::shipping_failed);
  CHECK(against({host, "@ failed\n"}) == errc::shipping_failed);
  CHECK(against({host, "@ missing\n", "@ failed no-space x\n"}) == errc::shipping_failed);
  CHECK(against({host, "@ ready\n", "@ broken\n"}) == errc::node_not_started);
  CHECK(against({host, "@ ready\n", "@ broken 99999 x\n"}) == errc::node_not_started);
  CHECK(against({host, "@ ready\n", "@ failed\n"}) == errc::node_not_started);
}

TEST_CASE("the marker does not stand in the script", "[host][bootstrap]") {
  script_options options;
  options.marker = "runhouse-0123456789abcdef";
  options.folder = "it's";
  const std::string text = bootstrap_script(options);
  CHECK_FALSE(contains(text, options.marker));
  CHECK(contains(text, "rh_asked='it'\\''s'\n"));
  CHECK(text.find_first_not_of('\n') > 0);
  CHECK(text.substr(text.find_first_not_of('\n')).starts_with("{\n"));
  CHECK(text.ends_with("\n}\n"));
}
