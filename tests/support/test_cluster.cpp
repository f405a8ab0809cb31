// SPDX-License-Identifier: Apache-2.0
#include "support/test_cluster.hpp"

#include <runhouse/runhouse.hpp>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unistd.h>
#include <utility>
#include <vector>

namespace {

/// The nodes that a test program has started; they end with it.
class test_nodes {
 public:
  static test_nodes& instance() {
    static test_nodes& only = *new test_nodes;  // destroyed by nobody, since end() comes last
    return only;
  }
  test_nodes() { std::atexit([] { instance().end(); }); }

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

}  // namespace

bool test_cluster_is_node() {
  const char* which = std::getenv("RUNHOUSE_TEST_CLUSTER");
  return which != nullptr && std::string_view(which) == "here";
}
rh::cluster test_cluster(unsigned workers) {
  if (test_cluster_is_node()) return test_nodes::instance().start(workers);
  return workers != 0 ? rh::local(workers) : rh::local();
}
