// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/runhouse.hpp>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <unistd.h>
#include <vector>

/// The nodes that a test program has started; they end with it.
class test_nodes {
 public:
  static test_nodes& instance() {
    static test_nodes only;
    return only;
  }
  test_nodes() { atexit([] { instance().end(); }); }

  rh::cluster start(unsigned workers) {
    namespace d = rh::detail;
    std::string folder = std::filesystem::temp_directory_path() / "runhouse-test-XXXXXX";
    if (::mkdtemp(folder.data()) == nullptr) throw std::runtime_error("no temporary folder");
    folders_.push_back(folder);
    if (workers != 0) ::setenv("RUNHOUSE_WORKERS", std::to_string(workers).c_str(), 1);
    auto contact = std::make_shared<d::here_contact>(folder);
    auto session = d::new_session(true);
    auto node = contact->reach(session);
    if (workers != 0) ::unsetenv("RUNHOUSE_WORKERS");
    return rh::cluster(std::make_shared<d::node_session>(std::move(contact), std::move(session), std::move(node), &d::print_output));
  }
  void end() {
    for (const std::string& folder : folders_) {
      rh::detail::here_contact(folder).end_node();
      std::filesystem::remove_all(folder);
    }
    folders_.clear();
  }

 private:
  std::vector<std::string> folders_;
};

/// What the variable RUNHOUSE_TEST_CLUSTER says: workers of this program, or of a node of their own.
inline bool test_cluster_is_node() {
  const char* which = std::getenv("RUNHOUSE_TEST_CLUSTER");
  return which != nullptr && std::string_view(which) == "here";
}
inline rh::cluster test_cluster(unsigned workers = 0) {
  if (test_cluster_is_node()) return test_nodes::instance().start(workers);
  return workers != 0 ? rh::local(workers) : rh::local();
}
