// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/cluster/backend.hpp>
#include <runhouse/function/pretty_name.hpp>
#include <runhouse/host/here.hpp>
#include <runhouse/host/ssh_contact.hpp>
#include <runhouse/node/local_session.hpp>
#include <runhouse/node/node_settings.hpp>
#include <runhouse/os/thread.hpp>
#include <runhouse/rpc/node_session.hpp>

#include <cstdio>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace rh::detail {

/// Shows what calls print on this program's own stdout and stderr, each line behind the function's name.
inline void print_output(const char* function, bool is_error, std::string_view line) {
  std::string text = "[" + (function != nullptr ? pretty_name(function) : "worker") + "] ";
  text.append(line).push_back('\n');
  std::FILE* to = is_error ? stderr : stdout;
  std::fwrite(text.data(), 1, text.size(), to);
  if (!is_error) std::fflush(to);
}

/// The half of the library that starts processes.
class local_backend final : public backend {
 public:
  [[gnu::visibility("default")]] static local_backend& instance() {
    static local_backend& only = *new local_backend;
    return only;
  }

  std::shared_ptr<session> local(unsigned workers) override {
    if (workers != 0) return make(workers);
    const std::lock_guard lock(mutex_);
    auto shared = shared_.lock();
    if (!shared) {
      shared = make(worker_count());
      shared_ = shared;
    }
    return shared;
  }

  counted<reached_session> reach(std::string_view name) override {
    if (name != "local") return reach(cluster_of(name));
    const counted<reached_session> reached(new reached_session);
    reached->set(local(0));
    return reached;
  }
  counted<reached_session> reach(const ssh_host& host) override { return reach(cluster_of(host)); }
  void end_node(std::string_view name) override {
    if (name == "local") fail(errc::unknown_cluster, "the workers of 'local' end with this program; there is no node to restart");
    cluster_of(name)->end_node();
  }
  void end_node(const ssh_host& host) override { cluster_of(host)->end_node(); }
  void observe(session& s, std::function<void(const disconnect&)> o) override {
    if (auto* node = dynamic_cast<node_session*>(&s)) node->observe(std::move(o));
  }

 private:
  /// A node, and this program's one session with it.
  class known_cluster {
   public:
    /// Nothing: the node of this machine. Errors: errc::unknown_cluster.
    explicit known_cluster(std::optional<ssh_host> host) : host_(std::move(host)) {
      if (host_) check_host(*host_);
    }
    std::shared_ptr<session> reach() {
      const std::lock_guard lock(mutex_);
      auto shared = session_.lock();
      if (shared && !shared->has_ended()) return shared;
      auto contact = make_contact();
      wire::open_session opened = new_session(contact->is_same_machine());
      reached_node node = contact->reach(opened);
      if (!node.opened.notice.empty()) std::fprintf(stderr, "[%s] %s\n", contact->name().c_str(), node.opened.notice.c_str());
      shared = std::make_shared<node_session>(std::move(contact), std::move(opened), std::move(node), &print_output);
      session_ = shared;
      return shared;
    }
    void end_node() {
      const std::lock_guard lock(mutex_);
      make_contact()->end_node();
      session_.reset();  // it has ended, whether or not that has been noticed
    }

   private:
    std::shared_ptr<node_contact> make_contact() const {
      if (!host_) return std::make_shared<here_contact>();
      return std::make_shared<ssh_contact>(*host_);
    }
    const std::optional<ssh_host> host_;
    std::mutex mutex_;
    std::weak_ptr<node_session> session_;
  };

  static counted<reached_session> reach(std::shared_ptr<known_cluster> known) {
    const counted<reached_session> reached(new reached_session);
    // To connect, and to start a node, blocks.
    os::start_thread([known = std::move(known), reached] {
      try {
        reached->set(known->reach());
      } catch (...) {
        reached->set(std::current_exception());
      }
    });
    return reached;
  }
  std::shared_ptr<known_cluster> cluster_of(std::string_view name) {
    return name == "here" ? cluster_of("here", std::nullopt) : cluster_of(ssh_host(std::string(name)));
  }
  std::shared_ptr<known_cluster> cluster_of(const ssh_host& host) { return cluster_of(identity_of(host), host); }
  std::shared_ptr<known_cluster> cluster_of(const std::string& identity, const std::optional<ssh_host>& host) {
    const std::lock_guard lock(mutex_);
    auto& known = clusters_[identity];
    if (!known) known = std::make_shared<known_cluster>(host);
    return known;
  }
  static std::shared_ptr<local_session> make(unsigned workers) {
    return std::make_shared<local_session>(local_resources{workers, resource_counts()}, &print_output,
                                           limits::worker_idle, store_bytes());
  }
  std::mutex mutex_;
  std::weak_ptr<local_session> shared_;
  std::map<std::string, std::shared_ptr<known_cluster>> clusters_;
};

}  // namespace rh::detail
