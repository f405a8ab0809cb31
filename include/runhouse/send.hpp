// SPDX-License-Identifier: Apache-2.0
#pragma once

/// The light half of the library: types and templates, for the files that send. One file of the program, the one
/// with main(), includes <runhouse/main.hpp> as well.

#include <runhouse/async/channel.hpp>
#include <runhouse/async/scope.hpp>
#include <runhouse/async/sync_wait.hpp>
#include <runhouse/async/task.hpp>
#include <runhouse/async/timer.hpp>
#include <runhouse/async/when_all.hpp>
#include <runhouse/async/when_any.hpp>
#include <runhouse/cluster/cluster.hpp>
#include <runhouse/core/error.hpp>
#include <runhouse/function/pin.hpp>
#include <runhouse/send/call.hpp>
#include <runhouse/send/each.hpp>
#include <runhouse/send/ref.hpp>
#include <runhouse/send/send.hpp>
