// SPDX-License-Identifier: Apache-2.0
#include <runhouse/node/server.hpp>

#include <runhouse/host/handshake.hpp>
#include <runhouse/host/session_start.hpp>
#include <runhouse/runhouse.hpp>

#include "support/catch.hpp"

#include <chrono>
#include <cstdint>
#include <fcntl.h>
#include <filesystem>
#include <memory>
#include <optional>
#include <semaphore>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
namespace d = rh::detail;
namespace wire = rh::wire;

namespace {

int seven() { return 7; }

/// Has it done on the strand, and waits.
template <class F>
void on_strand(F what) {
  struct once final : d::strand_work {
    explicit once(F& f) : run_it(f) {}
    void run() noexcept override {
      run_it();
      done.release();
    }
    F& run_it;
    std::binary_semaphore done{0};
  } work(what);
  d::runtime::instance().defer(work);
  work.done.acquire();
}

/// A node in this process, whose clock stands still.
class node_here {
 public:
  node_here() : folder_(std::filesystem::temp_directory_path() / "runhouse-server-XXXXXX") {
    if (::mkdtemp(folder_.data()) == nullptr) throw std::runtime_error("no temporary folder");
    d::server_options options(d::local_resources(1));
    options.store_bytes = 1 << 20;
    options.now = [this] { return now; };
    node_ = std::make_unique<d::server>(d::runtime::instance(), rh::os::unix_listener::listen(rh::os::private_folder::open(folder_), "s"),
                                        std::move(options), [this] { ++ends; });
    on_strand([&] { node_->start(); });
  }
  ~node_here() {
    on_strand([&] { node_.reset(); });
    std::filesystem::remove_all(folder_);
  }
  void look() {
    on_strand([&] { node_->look_at_the_time(); });
  }
  std::size_t sessions() {
    std::size_t count = 0;
    on_strand([&] { count = node_->sessions(); });
    return count;
  }
  d::open_connection connect() {
    d::open_connection fresh;
    fresh.stream = rh::os::duplex(std::move(rh::os::connect_unix(folder_ + "/s").fd));
    return fresh;
  }

  std::chrono::steady_clock::time_point now{};
  int ends = 0;

 private:
  std::string folder_;
  std::unique_ptr<d::server> node_;
};

/// A program that says what it is told.
class fake_program {
 public:
  explicit fake_program(node_here& node) {
    session_ = d::new_session(true);
    wire::hello hello;
    hello.pid = static_cast<std::uint32_t>(::getpid());
    hello.program = d::program_files();
    const rh::os::unique_fd executable(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    const int passed[] = {executable.get()};
    reached_ = d::shake_hands(node.connect(), d::greeting(hello, session_), false, passed, "test");
    connection_ = std::move(reached_.connection.stream);
  }
  /// Goes on over a new connection, as if so many of the node's frames had come. Gives how many of its own have.
  std::uint64_t resume(node_here& node, std::uint64_t received) {
    connection_ = rh::os::duplex();
    session_.resumes = true;
    session_.received = received;
    wire::hello hello;
    hello.pid = static_cast<std::uint32_t>(::getpid());
    reached_ = d::shake_hands(node.connect(), d::greeting(hello, session_), true, {}, "test");
    connection_ = std::move(reached_.connection.stream);
    return reached_.connection.peer_received;
  }
  void say(wire::frame_type type, std::uint64_t stream, std::span<const std::byte> payload = {}, std::uint8_t flags = 0) {
    std::vector<std::byte> out;
    wire::append_frame(out, {type, flags, 0, stream}, payload);
    send(out);
  }
  void send(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const auto done = connection_.send(bytes);
      if (done.how == rh::os::transfer::closed) return;
      if (done.how == rh::os::transfer::would_block) {
        pollfd p{connection_.in(), POLLOUT, 0};
        ::poll(&p, 1, 5000);
        continue;
      }
      bytes = bytes.subspan(done.bytes);
    }
  }
  /// The next frame that comes; nothing when the node has closed the connection, or says nothing.
  std::optional<wire::frame> next() {
    auto& in = reached_.connection.in;
    for (;;) {
      if (const auto frame = in.next()) return *frame;
      pollfd p{connection_.in(), POLLIN, 0};
      if (::poll(&p, 1, 5000) != 1) return std::nullopt;
      const auto got = connection_.receive(in.room(), files_);
      is_closed_ = got.how == rh::os::transfer::closed;
      if (got.how != rh::os::transfer::some) return std::nullopt;
      in.received(got.bytes);
    }
  }
  /// Whether the node closes the connection, whatever it says before.
  bool is_refused() {
    while (next()) {
    }
    return is_closed_;
  }
  /// Describes seven() as function 1.
  void describe() {
    const d::function_entry* entry = d::find_function([](const auto& e) { return std::string_view(e.name) == typeid(rh::fn<&seven>).name(); });
    REQUIRE(entry != nullptr);
    say(wire::frame_type::function, 0, encode(wire::session_function{1, entry->signature, d::place_of(*entry), entry->name}));
  }
  void call(std::uint64_t id, bool stays = false) {
    wire::session_call head;
    head.function = 1;
    head.keeps_result = stays;
    std::vector<std::byte> bytes;
    wire::byte_writer out(bytes);
    wire::message_traits<wire::session_call>::encode(head, out);
    say(wire::frame_type::call, id, bytes);
  }

 private:
  wire::open_session session_;
  d::reached_node reached_;
  rh::os::duplex connection_;
  rh::os::received_fds files_;
  bool is_closed_ = false;
};

/// Never called: with a send of it, seven() is known to the workers.
[[maybe_unused]] int send_seven(const rh::cluster& c) { return c.send<&seven>()().get(); }

}  // namespace

TEST_CASE("a node that holds nothing for 24 hours ends", "[node][server]") {
  node_here node;
  node.now += 23h;
  node.look();
  CHECK(node.ends == 0);
  node.now += 1h;
  node.look();
  CHECK(node.ends == 1);
}

TEST_CASE("a node that has a session does not end, and counts from the session's end", "[node][server]") {
  node_here node;
  fake_program program(node);
  node.now += 100h;
  node.look();
  CHECK(node.ends == 0);
  program.say(wire::frame_type::close, 0);
  CHECK(program.is_refused());
  CHECK(node.sessions() == 0);
  node.now += 23h;
  node.look();
  CHECK(node.ends == 0);
  node.now += 1h;
  node.look();
  CHECK(node.ends == 1);
}

TEST_CASE("a call by hand is answered", "[node][server]") {
  node_here node;
  fake_program program(node);
  program.describe();
  program.call(5);
  const auto answer = program.next();
  REQUIRE(answer);
  CHECK(answer->header.type == wire::frame_type::outcome);
  CHECK(answer->header.stream == 5);
}

TEST_CASE("what the protocol does not allow ends the connection, and no other", "[node][server]") {
  node_here node;
  fake_program well_behaved(node);
  well_behaved.describe();
  const std::vector<std::byte> zeros(64);
  const auto refused = [&](auto&& say) {
    fake_program program(node);
    say(program);
    return program.is_refused();
  };
  CHECK(refused([&](auto& p) { p.call(1); }));  // of a function that was not described
  CHECK(refused([&](auto& p) { p.say(wire::frame_type::outcome, 1, zeros); }));
  CHECK(refused([&](auto& p) { p.say(wire::frame_type::opened, 0, zeros); }));
  CHECK(refused([&](auto& p) { p.say(wire::frame_type::data, 1, zeros); }));
  CHECK(refused([&](auto& p) { p.say(wire::frame_type::fetch, 1, std::span(zeros).first(8)); }));
  CHECK(refused([&](auto& p) { p.say(wire::frame_type::release, 0, std::span(zeros).first(7)); }));
  CHECK(refused([&](auto& p) { p.say(wire::frame_type::ask, 1, std::span(zeros).first(3)); }));
  CHECK(refused([&](auto& p) { p.send(zeros); }));
  CHECK(refused([&](auto& p) { p.say(wire::frame_type::ping, 1, std::vector<std::byte>(65)); }));
  CHECK(refused([&](auto& p) {
    std::vector<std::byte> count;
    wire::byte_writer(count).put(std::uint64_t{1} << 60);
    p.say(wire::frame_type::ack, 0, count);
  }));
  SECTION("the same id twice") {
    fake_program program(node);
    program.describe();
    program.call(1, true);
    program.call(1, true);
    CHECK(program.is_refused());
  }
  SECTION("a function that is described as the second") {
    fake_program program(node);
    program.say(wire::frame_type::function, 0, encode(wire::session_function{2, {}, {}, "f"}));
    CHECK(program.is_refused());
  }
  SECTION("a memory file that did not come") {
    fake_program program(node);
    program.describe();
    wire::session_call head;
    head.function = 1;
    head.parameters = {{4, {}, wire::payload_kind::in_file}};
    std::vector<std::byte> bytes;
    wire::byte_writer out(bytes);
    wire::message_traits<wire::session_call>::encode(head, out);
    program.say(wire::frame_type::call, 1, bytes);
    CHECK(program.is_refused());
  }
  SECTION("a thousand messages that begin and do not end") {
    fake_program program(node);
    program.describe();
    wire::session_call head;
    head.function = 1;
    head.parameters = {{1 << 20, {}}};
    std::vector<std::byte> bytes;
    wire::byte_writer out(bytes);
    wire::message_traits<wire::session_call>::encode(head, out);
    for (std::uint64_t id = 1; id <= 1000; ++id) program.say(wire::frame_type::call, id, bytes, wire::flag_more);
    CHECK(program.is_refused());
  }
  well_behaved.call(1);
  const auto answer = well_behaved.next();
  REQUIRE(answer);
  CHECK(answer->header.type == wire::frame_type::outcome);
}

TEST_CASE("a program that never reads holds up no other", "[node][server]") {
  node_here node;
  fake_program silent(node);
  silent.describe();
  for (std::uint64_t id = 1; id <= 200'000; ++id) silent.call(id);
  // The outcomes wait in the node, whose other programs are served meanwhile.
  fake_program other(node);
  other.describe();
  other.call(1);
  CHECK(other.next().has_value());
}

TEST_CASE("a session whose connection breaks is resumed where it was", "[node][server]") {
  node_here node;
  fake_program program(node);
  program.describe();
  program.call(1);
  REQUIRE(program.next().has_value());
  CHECK(program.resume(node, 0) == 2);  // the function and the call have come
  const auto again = program.next();
  REQUIRE(again);  // and the outcome, which has not, comes again
  CHECK(again->header.stream == 1);
  CHECK(program.resume(node, 1) == 2);
  program.call(2);
  const auto next = program.next();
  REQUIRE(next);
  CHECK(next->header.stream == 2);
  CHECK(node.sessions() == 1);
}

namespace {

/// What a bridge brings of a program on another machine: two pipes, as a login has.
class far_program {
 public:
  explicit far_program(node_here& node, bool says_by_bridge = false, std::uint64_t received = 0, wire::open_session* resumed = nullptr) {
    session_ = resumed != nullptr ? *resumed : d::new_session(false);
    session_.resumes = resumed != nullptr;
    session_.received = received;
    auto [up_end, up] = rh::os::make_pipe();
    auto [down, down_end] = rh::os::make_pipe();
    const std::vector<std::byte> first = d::greeting(d::hello_of_program(), session_);
    wire::bridged_program program;
    program.files = d::program_files();
    program.variables = {"FROM_BRIDGE=yes"};
    if (says_by_bridge) program.said.assign(reinterpret_cast<const char*>(first.data()), first.size());
    const rh::os::unique_fd executable(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    bridge_ = bridge_to(node, encode(program), {up_end.get(), down_end.get(), executable.get()});
    d::open_connection fresh;
    fresh.stream = rh::os::duplex(std::move(down), std::move(up));
    node_ = d::shake_hands(std::move(fresh), says_by_bridge ? std::span<const std::byte>() : std::span(first), session_.resumes, {}, "test");
  }
  static rh::os::unique_fd bridge_to(node_here& node, std::span<const std::byte> payload, const std::vector<int>& passed) {
    rh::os::unique_fd bridge = node.connect().stream.take_in();
    std::vector<std::byte> out;
    wire::append_frame(out, {wire::frame_type::bridge, 0, 0, 0}, payload);
    if (passed.empty()) {
      REQUIRE(rh::os::send(bridge.get(), out, rh::os::blocking::yes).bytes == out.size());
    } else {
      REQUIRE(rh::os::send(bridge.get(), out, std::span<const int>(passed)).bytes == out.size());
    }
    return bridge;
  }
  /// The node has closed the bridge's socket, and said nothing there.
  static bool is_closed(const rh::os::unique_fd& bridge) {
    pollfd p{bridge.get(), POLLIN, 0};
    char byte = 0;
    return ::poll(&p, 1, 5000) == 1 && ::recv(bridge.get(), &byte, 1, 0) == 0;
  }
  bool is_closed() const { return is_closed(bridge_); }
  void hang_up() { node_.connection.stream = rh::os::duplex(); }
  wire::open_session& session() noexcept { return session_; }
  const d::reached_node& node() const noexcept { return node_; }
  void say(wire::frame_type type, std::span<const std::byte> payload = {}) {
    std::vector<std::byte> out;
    wire::append_frame(out, {type, 0, 0, 0}, payload);
    REQUIRE(node_.connection.stream.send(out).bytes == out.size());
  }

 private:
  wire::open_session session_;
  rh::os::unique_fd bridge_;
  d::reached_node node_;
};

}  // namespace

TEST_CASE("a program on another machine has a session over what its bridge hands over", "[node][server]") {
  node_here node;
  for (const bool says_by_bridge : {false, true}) {
    far_program program(node, says_by_bridge);
    CHECK(program.node().opened.workers == 1);
    CHECK(node.sessions() == 1);
    program.say(wire::frame_type::close);
    CHECK(program.is_closed());
    CHECK(node.sessions() == 0);
  }
}

TEST_CASE("the session of a program on another machine outlives its login, and goes on over the next", "[node][server]") {
  node_here node;
  far_program first(node);
  first.say(wire::frame_type::function, encode(wire::session_function{1, {}, {}, "f"}));
  first.hang_up();
  CHECK(first.is_closed());
  CHECK(node.sessions() == 1);
  far_program second(node, true, 0, &first.session());
  CHECK(second.node().connection.peer_received == 1);
  CHECK(second.node().hello.incarnation == first.node().hello.incarnation);
  // A third, while the second is still there, as after a network that swallows everything.
  far_program third(node, true, 0, &first.session());
  CHECK(second.is_closed());
  CHECK(node.sessions() == 1);
}

TEST_CASE("a session whose first answer was lost is opened again, and is one", "[node][server]") {
  node_here node;
  far_program first(node);
  auto again = first.session();
  first.hang_up();
  CHECK(first.is_closed());
  auto [up_end, up] = rh::os::make_pipe();
  auto [down, down_end] = rh::os::make_pipe();
  wire::bridged_program program;
  program.files = d::program_files();
  const rh::os::unique_fd executable(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  const auto bridge = far_program::bridge_to(node, encode(program), {up_end.get(), down_end.get(), executable.get()});
  d::open_connection fresh;
  fresh.stream = rh::os::duplex(std::move(down), std::move(up));
  const auto reached = d::shake_hands(std::move(fresh), d::greeting(d::hello_of_program(), again), false, {}, "test");
  CHECK(reached.connection.peer_received == 0);
  CHECK(node.sessions() == 1);
}

TEST_CASE("what is no bridge is closed, and harms nobody", "[node][server]") {
  node_here node;
  far_program well_behaved(node);
  wire::bridged_program program;
  const auto payload = encode(program);
  const rh::os::unique_fd nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
  const rh::os::unique_fd executable(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  auto [one, other] = rh::os::make_pipe();
  const auto refused = [&](std::span<const std::byte> bytes, const std::vector<int>& passed) {
    auto bridge = far_program::bridge_to(node, bytes, passed);
    pollfd p{bridge.get(), POLLIN, 0};
    std::byte block[4096];
    for (;;) {
      if (::poll(&p, 1, 5000) != 1) return false;
      const auto got = rh::os::receive(bridge.get(), block, rh::os::blocking::no);
      if (got.how == rh::os::transfer::closed) return true;
    }
  };
  CHECK(refused(payload, {}));
  CHECK(refused(payload, {one.get()}));
  CHECK(refused(payload, {one.get(), other.get()}));
  CHECK(refused(payload, {one.get(), other.get(), executable.get(), executable.get()}));
  CHECK(refused(std::span(payload).first(20), {one.get(), other.get(), executable.get()}));
  CHECK(refused(payload, {nothing.get(), nothing.get(), executable.get()}));  // cannot be waited for
  SECTION("a bridge over a bridge") {
    std::vector<std::byte> out;
    wire::append_frame(out, {wire::frame_type::bridge, 0, 0, 0}, payload);
    program.said.assign(reinterpret_cast<const char*>(out.data()), out.size());
    CHECK(refused(encode(program), {one.get(), other.get(), executable.get()}));
  }
  SECTION("an executable that is none") {
    auto [up_end, up] = rh::os::make_pipe();
    auto [down, down_end] = rh::os::make_pipe();
    const auto first = d::greeting(d::hello_of_program(), d::new_session(false));
    program.said.assign(reinterpret_cast<const char*>(first.data()), first.size());
    const auto bridge = far_program::bridge_to(node, encode(program), {up_end.get(), down_end.get(), nothing.get()});
    CHECK(far_program::is_closed(bridge));
  }
  CHECK(node.sessions() == 1);
  well_behaved.say(wire::frame_type::close);
  CHECK(well_behaved.is_closed());
}
