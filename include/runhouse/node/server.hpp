// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/runtime.hpp>
#include <runhouse/node/local_session.hpp>
#include <runhouse/node/log_folder.hpp>
#include <runhouse/node/program_session.hpp>
#include <runhouse/os/duplex.hpp>
#include <runhouse/os/unix_listener.hpp>
#include <runhouse/wire/frame_buffer.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace rh::detail {

/// What a node is made of and made for.
struct server_options {
  explicit server_options(local_resources h) : has(std::move(h)) {}
  local_resources has;
  std::uint64_t store_bytes = os::usable_memory() / 2;
  std::chrono::steady_clock::duration worker_idle = limits::worker_idle;
  std::string logs;    ///< the folder of logs; empty: there are none
  std::string notice;  ///< told to the first program that connects, for people
  // Of the workers of programs on other machines.
  std::string folder;
  std::vector<std::string> environment;  ///< NAME=value
  /// What the time is, for what ends when it was not used for long.
  std::function<std::chrono::steady_clock::time_point()> now = [] { return std::chrono::steady_clock::now(); };
};

/// A node that programs connect to: it greets them, has a session for each, and ends when it holds nothing for
/// limits::node_idle. On the strand, but for the constructor.
class server final : program_session::owner {
 public:
  /// `ended` is called once, on the strand, when it is to end.
  server(runtime& r, os::unix_listener listener, server_options options, std::function<void()> ended);
  server(const server&) = delete;
  server& operator=(const server&) = delete;
  ~server();

  void start();
  /// Looks whether it, or a name, was not used for long; from time to time by itself.
  void look_at_the_time();
  std::uint64_t incarnation() const noexcept { return incarnation_; }
  std::size_t sessions() const noexcept { return sessions_.size(); }

 private:
  using clock = std::chrono::steady_clock;
  /// What came with a connection from another machine, through a bridge: a process here, which goes when its socket is
  /// closed.
  struct bridged {
    os::unique_fd socket;
    os::unique_fd executable;
    wire::bridged_program program;
  };
  /// A connection that has not said yet what it is for.
  struct greeting {
    greeting(runtime& r, os::duplex s) : stream(std::move(s)), events(r.io(), stream.in()), deadline(r.io()) {}
    ~greeting() { close_events(); }
    void close_events() noexcept {
      if (events.is_open()) events.release();
      deadline.cancel();
    }
    os::duplex stream;
    asio::posix::stream_descriptor events;
    asio::steady_timer deadline;
    wire::frame_buffer in;
    os::received_fds files;
    std::optional<wire::hello> hello;
    std::optional<bridged> bridge;
  };
  using shared_greeting = std::shared_ptr<greeting>;

  inline void session_ended(const wire::session_id& id) noexcept override;
  inline call_log log_of(std::uint64_t session, std::uint64_t call, const char* function) override;

  void accept();
  void accept_all();
  void expect(shared_greeting g);
  void watch(const shared_greeting& g);
  void serve(const shared_greeting& g);
  bool bridge(const shared_greeting& g, const wire::frame& in);
  bool read(const shared_greeting& g);
  bool greet(const shared_greeting& g, const wire::frame& in);
  void open(const shared_greeting& g, wire::open_session open);
  std::shared_ptr<const worker_program> program_of(const shared_greeting& g, wire::open_session& open);
  bool say(greeting& g, const wire::session_opened& opened);
  void refuse(greeting& g, errc code, const std::string& why);
  std::string holds() const;
  bool holds_anything() const;
  void watch_time();
  void used() { last_used_ = options_.now(); }

  runtime& runtime_;
  os::unix_listener listener_;
  asio::posix::stream_descriptor listener_events_;
  server_options options_;
  const std::function<void()> ended_;
  const std::uint64_t incarnation_;
  std::optional<log_folder> logs_;
  std::uint64_t session_numbers_ = 0;
  const std::shared_ptr<hosted_node> node_;
  const std::shared_ptr<store_account> store_;
  std::list<shared_greeting> greetings_;
  std::map<wire::session_id, std::shared_ptr<program_session>> sessions_;
  std::vector<std::weak_ptr<const worker_program>> programs_;
  asio::steady_timer time_;
  asio::steady_timer accept_again_;
  clock::time_point last_used_;
  const std::shared_ptr<int> life_ = std::make_shared<int>(0);
};

}  // namespace rh::detail

#include <runhouse/node/detail/server.hpp>
