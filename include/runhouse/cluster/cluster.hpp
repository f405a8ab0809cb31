// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/cluster/backend.hpp>
#include <runhouse/function/fn.hpp>
#include <runhouse/rpc/call_handle.hpp>
#include <runhouse/rpc/session.hpp>
#include <runhouse/ssh/ssh_host.hpp>

#include <functional>
#include <memory>
#include <semaphore>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rh {

template <class F>
class send;
template <class R>
class call;
template <class T>
class ref;
struct kept_name;

/// Where sends run. A handle: copies mean the same session, which ends when the last handle, send and call of it is gone.
class cluster {
 public:
  /// Precondition: `s` is not null.
  explicit cluster(std::shared_ptr<detail::session> s) : session_(std::move(s)) {}

  /// What messages call it: "local".
  const std::string& name() const noexcept { return session_->host(); }
  /// By what it is reached, and why so, for people: "libssh2: nothing in the configuration needs the program 'ssh'".
  std::string reached_by() const { return session_->reached_by(); }
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

  /// A value that was kept there under this name (ref::keep), by this or another program of the same user. The name
  /// goes on keeping it.
  /// Errors, when it is used: errc::unknown_name; errc::type_changed where it is no T, or is one of another build whose T
  /// may be another: of a class of the program's own, that is so unless CEREAL_CLASS_VERSION says that it is the same,
  /// or older.
  template <class T>
  ref<T> get(std::string name) const;
  /// The name keeps its value no longer. Gives whether there was such a name.
  call<bool> forget(std::string name) const;
  /// All names that there are.
  call<std::vector<kept_name>> names() const;

  /// What to call from now on when the connection breaks, comes back, or is given up; see rh::on_disconnect.
  void on_disconnect(std::function<void(const disconnect&)> f) const { detail::backend::get().observe(*session_, std::move(f)); }

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
/// Errors, at the await: errc::node_not_started, errc::node_incompatible, errc::run_folder; of another machine also
/// errc::host_unreachable, errc::host_key_refused, errc::authentication_failed, errc::incompatible_host and
/// errc::shipping_failed.
class [[nodiscard]] connecting {
 public:
  using queue_aware = void;
  explicit connecting(detail::counted<detail::reached_session> to) noexcept : to_(std::move(to)) {}

  /// Blocks until it is made. Not inside a task.
  cluster get() {
    struct waiter final : detail::end_waiter {
      void ended() noexcept override { done.release(); }
      std::binary_semaphore done{0};
    } w;
    if (to_->wait(w)) w.done.acquire();
    return cluster(to_->take());
  }
  auto operator co_await() noexcept { return detail::call_awaiter<cluster>(to_, &take); }

 private:
  static cluster take(detail::pending& made) { return cluster(static_cast<detail::reached_session&>(made).take()); }

  detail::counted<detail::reached_session> to_;
};

/// Reaches a cluster by name: "local", the workers of this process; "here", this machine's node, which goes on when
/// this program ends, and is started where none runs; any other name is a machine as `ssh` takes it ("gpu-1",
/// "me@gpu-1", "ssh://me@gpu-1:2222", or a Host of ~/.ssh/config), whose node is reached over SSH: by libssh2 where nothing in
/// the user's configuration needs more, else by the user's ssh program. This program is copied there, into ~/.runhouse, the
/// first time; nothing needs to be installed.
/// Errors: errc::unknown_cluster, errc::not_served.
inline connecting connect(std::string_view name) { return connecting(detail::backend::get().reach(name)); }

/// The same of a machine, with what this program says itself of how to reach it. See ssh/ssh_host.hpp.
inline connecting connect(const ssh_host& host) { return connecting(detail::backend::get().reach(host)); }

/// What to call when the connection to a cluster breaks, comes back, or is given up: calls that are under way only take
/// longer meanwhile. On the library's own thread, so it must not block.
struct on_disconnect {
  explicit on_disconnect(std::function<void(const disconnect&)> f) : call(std::move(f)) {}
  std::function<void(const disconnect&)> call;
};

namespace detail {

template <class Where>
connecting connect_observed(const Where& where, on_disconnect told) {
  backend& b = backend::get();
  const auto reached = b.reach(where);
  reached->when_made([&b, call = std::move(told.call)](session& s) { b.observe(s, call); });
  return connecting(reached);
}

}  // namespace detail

/// The same as connect(), which says so when the connection breaks.
inline connecting connect(std::string_view name, on_disconnect told) { return detail::connect_observed(name, std::move(told)); }
inline connecting connect(const ssh_host& host, on_disconnect told) { return detail::connect_observed(host, std::move(told)); }

/// Ends the node of that name, with all that it has of all programs, also one that is not compatible with this program;
/// the next connect() starts another. Blocks, for some seconds at most.
/// Errors: errc::unknown_cluster; errc::node_not_started where it does not end.
inline void restart(std::string_view name) { detail::backend::get().end_node(name); }
inline void restart(const ssh_host& host) { detail::backend::get().end_node(host); }

}  // namespace rh
