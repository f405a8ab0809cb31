// SPDX-License-Identifier: Apache-2.0
#pragma once

/// All of the library. A project of many files includes <runhouse/send.hpp> in most, and <runhouse/main.hpp> in the one
/// with main(), which costs less to compile.

#include <runhouse/main.hpp>
#include <runhouse/send.hpp>
