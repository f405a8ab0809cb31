// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/rpc/disconnect.hpp>
#include <runhouse/rpc/pending.hpp>
#include <runhouse/rpc/session.hpp>
#include <runhouse/ssh/ssh_host.hpp>

#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace rh::detail {

/// A session that is being made: ends when it is there. Any thread.
class reached_session final : public pending {
 public:
  void cancel() noexcept override {}
  wire::payload_view result(std::size_t, std::vector<std::span<const std::byte>>&) override { return {}; }
  std::shared_ptr<session> take() {
    if (error_) std::rethrow_exception(error_);
    return session_;
  }
  /// Called with it before anybody has it; at once if it is there.
  void when_made(std::function<void(session&)> f) {
    const std::lock_guard lock(mutex_);
    if (session_) return f(*session_);
    when_made_ = std::move(f);
  }
  void set(std::shared_ptr<session> s) {
    {
      const std::lock_guard lock(mutex_);
      session_ = std::move(s);
      if (when_made_) when_made_(*session_);
    }
    end();
  }
  void set(std::exception_ptr e) noexcept {
    error_ = std::move(e);
    end();
  }

 private:
  std::mutex mutex_;
  std::function<void(session&)> when_made_;
  std::shared_ptr<session> session_;
  std::exception_ptr error_;
};

/// What the light half of the library (send.hpp) asks of the other half (main.hpp), which knows Asio, nodes and
/// processes. rh::main and rh::serve_if_asked install it, so that a program in which neither is called, and whose
/// workers would therefore run main() like the program itself, never starts one.
class backend {
 public:
  /// A session with workers of this process; `workers` 0: as many as there are CPUs, or RUNHOUSE_WORKERS.
  virtual std::shared_ptr<session> local(unsigned workers) = 0;
  /// A session with the node of that name, which is found or started meanwhile. Errors: errc::unknown_cluster.
  virtual counted<reached_session> reach(std::string_view name) = 0;
  virtual counted<reached_session> reach(const ssh_host& host) = 0;
  /// Ends that node, and all that it has. Blocks.
  virtual void end_node(std::string_view name) = 0;
  virtual void end_node(const ssh_host& host) = 0;
  /// Has `o` called, on the strand, when the connection of that session breaks or comes back.
  virtual void observe(session& s, std::function<void(const disconnect&)> o) = 0;

  static backend& get() {
    backend* b = installed().load(std::memory_order_acquire);
    if (b == nullptr) {
      fail(errc::not_served,
           "no worker can be started: main() must begin with rh::serve_if_asked(argc, argv), or be "
           "`return rh::main(argc, argv, program);`, both from <runhouse/main.hpp>");
    }
    return *b;
  }
  static void install(backend& b) noexcept { installed().store(&b, std::memory_order_release); }

 protected:
  ~backend() = default;

 private:
  [[gnu::visibility("default")]] static std::atomic<backend*>& installed() noexcept {
    static std::atomic<backend*> pointer{nullptr};
    return pointer;
  }
};

}  // namespace rh::detail
