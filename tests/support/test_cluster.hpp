// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/cluster/cluster.hpp>

/// So many workers of what the variable RUNHOUSE_TEST_CLUSTER says: of this program, or, for "here", of a node of their
/// own. 0: as many as there are CPUs.
rh::cluster test_cluster(unsigned workers = 0);
bool test_cluster_is_node();
