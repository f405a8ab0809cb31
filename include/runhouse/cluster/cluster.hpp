// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/cluster/backend.hpp>
#include <runhouse/function/fn.hpp>
#include <runhouse/rpc/session.hpp>

#include <coroutine>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace rh {

template <class F>
class send;

/// Where sends run. A handle: copies mean the same workers, which end when the last handle, send and call of theirs
/// is gone.
class cluster {
 public:
  /// Precondition: `s` is not null.
  explicit cluster(std::shared_ptr<detail::session> s) : session_(std::move(s)) {}

  /// What messages call it: "local".
  const std::string& name() const noexcept { return session_->host(); }
  /// How many calls may run there at the same time.
  unsigned workers() const noexcept { return session_->workers(); }

  /// A function bound to this cluster: `auto there = gpu.send<&render>();`, or with what each of its calls needs:
  /// `gpu.send<&train>(rh::gpus(1), rh::cpus(4))`, see needs/needs.hpp.
  /// Errors: errc::impossible_needs where a need makes no sense. One that the cluster cannot meet fails the call.
  template <auto Function, class... Needs>
  rh::send<fn<Function>> send(const Needs&... needs) const;

  /// Takes a value there, as an rh::ref for the sends of this cluster: it travels once, whatever number of calls take
  /// it. Text becomes a std::string there, a std::span<const raw> a std::vector. Errors: errc::bad_payload where the
  /// value's own serialize() fails.
  template <class T>
  auto put(const T& value) const;

  /// What this program has there now: for tests, and for who looks for a leak.
  rh::usage usage() const noexcept { return session_->usage_now(); }

  const std::shared_ptr<detail::session>& session() const noexcept { return session_; }

 private:
  std::shared_ptr<detail::session> session_;
};

/// Workers of this process on this machine, as many as it may use CPUs (affinity mask and cgroup quota; overridden by
/// RUNHOUSE_WORKERS). They start on demand, stay warm, and end with the program.
/// Errors: errc::not_served.
inline cluster local() {
  return cluster(detail::backend::get().local(0));
}

/// The same with at most `workers` of its own. Precondition: workers > 0.
inline cluster local(unsigned workers) {
  return cluster(detail::backend::get().local(workers));
}

/// A connection being made: co_await it, or get().
class [[nodiscard]] connecting {
 public:
  using queue_aware = void;
  explicit connecting(cluster c) : cluster_(std::move(c)) {}

  cluster get() && { return std::move(cluster_); }
  class awaiter {
   public:
    using queue_aware = void;
    explicit awaiter(cluster made) noexcept : made_(std::move(made)) {}
    bool await_ready() const noexcept { return true; }
    void await_suspend(std::coroutine_handle<>) const noexcept {}
    cluster await_resume() noexcept { return std::move(made_); }

   private:
    cluster made_;
  };
  awaiter operator co_await() && noexcept { return awaiter(std::move(cluster_)); }

 private:
  cluster cluster_;
};

/// Reaches a cluster by name. This version knows "local".
/// Errors: errc::unknown_cluster, errc::not_served.
inline connecting connect(std::string_view name) {
  if (name != "local") {
    fail(errc::unknown_cluster,
         "there is no cluster named '" + std::string(name) + "'; this version of runhouse knows 'local'");
  }
  return connecting(local());
}

}  // namespace rh
