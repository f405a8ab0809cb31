// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/core/limits.hpp>
#include <runhouse/host/bootstrap.hpp>
#include <runhouse/host/handshake.hpp>
#include <runhouse/host/program_image.hpp>
#include <runhouse/host/session_start.hpp>
#include <runhouse/rpc/node_contact.hpp>
#include <runhouse/ssh/ssh_failure.hpp>
#include <runhouse/ssh/ssh_way.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <poll.h>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace rh::detail {

/// The way to this user's node on another machine, over SSH: the program is copied there where it is not there yet, and
/// starts the node where none runs.
class ssh_contact final : public node_contact {
 public:
  /// Errors: errc::unknown_cluster.
  explicit ssh_contact(ssh_host host) : name_(host.name()), way_(std::move(host)) {}
  inline ~ssh_contact() override;
  inline reached_node reach(const wire::open_session& session) override;
  inline void end_node() override;
  const std::string& name() const noexcept override { return name_; }
  bool is_same_machine() const noexcept override { return false; }
  std::string reached_by() const override { return way_.text(); }

 private:
  using clock = std::chrono::steady_clock;
  /// A login that runs the bootstrap.
  class login final : public far_channel {
   public:
    explicit login(std::shared_ptr<ssh_command> ssh) : ssh_(std::move(ssh)), stream_(ssh_->take_stream()) {}
    inline std::size_t read(std::span<std::byte> into, clock::time_point deadline) override;
    inline std::size_t write_some(std::span<const std::byte> from) override;
    inline bool wait(bool for_reading, bool for_writing, clock::time_point deadline) override;
    os::duplex take_stream() noexcept { return std::move(stream_); }

   private:
    std::shared_ptr<ssh_command> ssh_;
    os::duplex stream_;
    os::received_fds none_;
  };

  bootstrapped log_in(bootstrap_options& options, os::duplex& stream);
  bool log_in_once(const bootstrap_options& options, unsigned tries);
  [[noreturn]] void fail_by(errc code, const std::string& what);
  void pause_before_next(std::chrono::milliseconds pause);
  void show_progress(std::uint64_t done, std::uint64_t of);

  const std::string name_;
  std::mutex mutex_;  // one login at a time
  ssh_way way_;
  std::shared_ptr<ssh_command> ssh_;
  const std::string token_ = new_shipping_token();
  std::string far_name_;  // of the machine, once it was reached
  std::minstd_rand random_{std::random_device{}()};
};

// ---- implementation

inline bool ssh_contact::login::wait(bool for_reading, bool for_writing, clock::time_point deadline) {
  std::array<pollfd, 2> waits{pollfd{for_reading ? stream_.in() : -1, POLLIN, 0}, {for_writing ? stream_.out() : -1, POLLOUT, 0}};
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - clock::now()).count();
    if (left <= 0) return false;
    const int ready = ::poll(waits.data(), waits.size(), static_cast<int>(std::min<std::int64_t>(left, 1000000)));
    if (ready >= 0 || errno != EINTR) return ready > 0;
  }
}

inline std::size_t ssh_contact::login::read(std::span<std::byte> into, clock::time_point deadline) {
  for (;;) {
    const auto got = stream_.receive(into, none_);
    if (got.how == os::transfer::some) return got.bytes;
    if (got.how != os::transfer::would_block) fail(errc::connection_lost, "the connection closed");
    if (!wait(true, false, deadline)) fail(errc::timed_out, "nothing came in time");
  }
}

/// 0: it takes nothing now.
inline std::size_t ssh_contact::login::write_some(std::span<const std::byte> from) {
  const auto sent = stream_.send(from);
  if (sent.how == os::transfer::closed) fail(errc::connection_lost, "the connection closed");
  return sent.how == os::transfer::some ? sent.bytes : 0;
}

inline void ssh_contact::show_progress(std::uint64_t done, std::uint64_t of) {
  if (::isatty(STDERR_FILENO) != 1) return;
  std::fprintf(stderr, "\r[%s] copying this program: %.1f of %.1f MB", name_.c_str(), static_cast<double>(done) / 1e6, static_cast<double>(of) / 1e6);
  if (done == of) std::fprintf(stderr, "\n");
  std::fflush(stderr);
}

/// Until the far side's bridge, or what was asked for instead, has done its part. Where the host closes the connection
/// at once, as one to which many connect does, or an upload breaks off, some tries are made.
inline bootstrapped ssh_contact::log_in(bootstrap_options& options, os::duplex& stream) {
  if (const char* folder = std::getenv("RUNHOUSE_REMOTE_FOLDER")) options.folder = folder;
  options.whole = &program_image::whole_of_this_program;
  options.progress = [this](std::uint64_t done, std::uint64_t of) { show_progress(done, of); };
  std::chrono::milliseconds pause = limits::login_again;
  std::uint64_t uploaded = 0;
  if (questions_of_ssh() != ssh_questions::none) options.first_line = limits::somebody_answers;
  for (unsigned tries = 1;; ++tries, pause = std::min(2 * pause, limits::reconnect_longest)) {
    if (ssh_) ssh_->terminate();
    const bool as_older = is_older_ssh().load();
    if (!log_in_once(options, tries)) {
      pause_before_next(pause);
      continue;
    }
    login far(ssh_);
    try {
      bootstrapped there = bootstrap(far, program_image::of_this_program(), options, token_);
      stream = far.take_stream();
      ssh_->is_in_use();
      if (const char* verbose = std::getenv("RUNHOUSE_VERBOSE"); verbose != nullptr && *verbose == '1') {
        std::fprintf(stderr, "[%s] copied %llu bytes of this program's %llu to %s\n[%s] by %s\n", name_.c_str(), static_cast<unsigned long long>(there.shipped_bytes),
                     static_cast<unsigned long long>(there.program_bytes), there.host.folder.c_str(), name_.c_str(),
                     way_.text().c_str());
      }
      return there;
    } catch (const error& e) {
      const bool is_closed = e.kind() == errc::connection_lost;
      if (!is_closed && e.kind() != errc::timed_out) {
        // A name that stands for several machines may lead to the right one the next time.
        if (e.kind() != errc::node_elsewhere || tries >= limits::logins) throw;
      } else if (!options.state.had_begun && is_closed) {
        const auto ended = ssh_->wait(limits::silence);
        ssh_failure why = ssh_->failure(name_);
        if (why.is_older_ssh && !as_older) {
          is_older_ssh().store(true);
          continue;
        }
        if (!ended) why = {errc::node_not_started, name_ + " answers with what is none of ours"};  // the connection is not at fault
        if (why.code == errc::node_not_started) why.what += std::string("; ") + e.what();  // with what the shell printed
        if (options.resumes && why.code != errc::host_key_refused) fail(errc::connection_lost, why.what);
        if (!why.may_be_busy || tries >= limits::logins) fail_by(why.code, why.what);
      } else {
        const std::string what = is_closed ? "the connection to " + name_ + " broke while this program was started there; " + e.what() : name_ + ": " + e.what();
        if (options.resumes) fail(errc::connection_lost, what);
        if (!options.state.had_begun) fail(errc::node_not_started, what);
        if (std::exchange(uploaded, options.state.uploaded) < options.state.uploaded) {  // it gets on
          tries = 1;
          pause = limits::login_again;
        }
        if (tries >= limits::logins) fail(errc::host_unreachable, what);
      }
    }
    pause_before_next(pause);
  }
}

/// With by what it was tried.
inline void ssh_contact::fail_by(errc code, const std::string& what) {
  const std::string by = way_.text();
  fail(code, by.empty() ? what : what + " [by " + by + "]");
}

/// False where the host is too busy and may be tried again.
inline bool ssh_contact::log_in_once(const bootstrap_options& options, unsigned tries) {
  try {
    ssh_ = way_.run("exec /bin/sh -s");
    return true;
  } catch (const error& e) {
    if (options.resumes && e.kind() != errc::host_key_refused) fail(errc::connection_lost, e.what());
    if (dynamic_cast<const libssh2_dropped*>(&e) == nullptr || tries >= limits::logins) fail_by(e.kind(), e.what());
    return false;
  }
}

/// Not all that lost their connections at once come back at once.
inline void ssh_contact::pause_before_next(std::chrono::milliseconds pause) {
  std::this_thread::sleep_for(pause * std::uniform_int_distribution<int>(50, 150)(random_) / 100);
}

/// ssh ends by itself when the far side has closed the connection; but not where something there, as what a start-up file
/// has left in the background, holds the login's output.
inline ssh_contact::~ssh_contact() {
  if (!ssh_ || ssh_->wait(std::chrono::milliseconds(0))) return;
  try {
    os::start_thread([ssh = ssh_] {
      if (!ssh->wait(limits::login_end)) ssh->terminate();
    });
  } catch (const std::exception&) {  // no thread is left
    ssh_->terminate();
  }
}

inline reached_node ssh_contact::reach(const wire::open_session& session) {
  const std::lock_guard lock(mutex_);
  bootstrap_options options;
  options.resumes = session.resumes;
  options.said = greeting(hello_of_program(), session);
  if (session.resumes) options.expected_host = far_name_;
  const auto begun = clock::now();
  for (unsigned tries = 1;; ++tries) {
    open_connection fresh;
    const bootstrapped there = log_in(options, fresh.stream);
    far_name_ = there.host.name;
    fresh.in.add(there.rest);
    try {
      return shake_hands(std::move(fresh), {}, session.resumes, {}, name_);
    } catch (const error& e) {
      // The node may have ended just then, or the connection broke; what is resumed is tried again by who does so.
      if (e.kind() != errc::connection_lost || session.resumes) throw;
      if (tries >= limits::logins || clock::now() - begun >= limits::connect) fail(errc::node_not_started, e.what());
    }
  }
}

inline void ssh_contact::end_node() {
  const std::lock_guard lock(mutex_);
  bootstrap_options options;
  options.ends_node = true;
  os::duplex stream;
  log_in(options, stream);
}

}  // namespace rh::detail
