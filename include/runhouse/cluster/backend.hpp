// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/rpc/session.hpp>

#include <atomic>
#include <memory>

namespace rh::detail {

/// What the light half of the library (send.hpp) asks of the other half (main.hpp), which knows Asio, nodes and
/// processes. rh::main and rh::serve_if_asked install it, so that a program in which neither is called, and whose
/// workers would therefore run main() like the program itself, never starts one.
class backend {
 public:
  /// A session with workers of this process; `workers` 0: as many as there are CPUs, or RUNHOUSE_WORKERS.
  virtual std::shared_ptr<session> local(unsigned workers) = 0;

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
