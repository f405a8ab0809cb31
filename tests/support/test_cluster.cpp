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

  /// With its run folder, on this machine, in one of its own.
  rh::cluster start(unsigned workers, bool over_ssh) {
    namespace d = rh::detail;
    std::string folder = std::filesystem::temp_directory_path() / "runhouse-test-XXXXXX";
    if (::mkdtemp(folder.data()) == nullptr) throw std::runtime_error("no temporary folder");
    folders_.push_back(folder);
    const std::string count = std::to_string(workers);
    std::shared_ptr<d::node_contact> contact;
    if (over_ssh) {
      const std::string variables = "XDG_RUNTIME_DIR=" + folder + (workers != 0 ? " RUNHOUSE_WORKERS=" + count : "");
      ::setenv("TEST_SSH_SETENV", variables.c_str(), 1);
      contact = std::make_shared<d::ssh_contact>(rh::ssh_host(std::getenv("RUNHOUSE_TEST_SSH_HOST")));
    } else {
      if (workers != 0) ::setenv("RUNHOUSE_WORKERS", count.c_str(), 1);
      contact = std::make_shared<d::here_contact>(folder + "/runhouse");
    }
    auto session = d::new_session(!over_ssh);
    auto node = contact->reach(session);
    if (workers != 0) ::unsetenv("RUNHOUSE_WORKERS");
    return rh::cluster(std::make_shared<d::node_session>(std::move(contact), std::move(session), std::move(node), &d::print_output));
  }
  void end() {
    for (const std::string& folder : folders_) {
      rh::detail::here_contact(folder + "/runhouse").end_node();
      std::filesystem::remove_all(folder);
    }
    folders_.clear();
  }

 private:
  std::vector<std::string> folders_;
};

}  // namespace

bool test_cluster_is(std::string_view name) {
  const char* which = std::getenv("RUNHOUSE_TEST_CLUSTER");
  return (which != nullptr ? which : std::string_view("local")) == name;
}
rh::cluster test_cluster(unsigned workers) {
  if (!test_cluster_is("local")) return test_nodes::instance().start(workers, test_cluster_is("ssh"));
  return workers != 0 ? rh::local(workers) : rh::local();
}
