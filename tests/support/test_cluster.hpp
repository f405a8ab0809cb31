// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/cluster/cluster.hpp>

#include <string_view>

/// So many workers of what the variable RUNHOUSE_TEST_CLUSTER says: of this program, which is "local"; of a node of their
/// own, for "here"; of one that is reached by ssh, for "ssh", at the host RUNHOUSE_TEST_SSH_HOST, which is this machine and
/// this user (tests/support/sshd.py). 0: as many as there are CPUs.
rh::cluster test_cluster(unsigned workers = 0);
bool test_cluster_is(std::string_view name);
