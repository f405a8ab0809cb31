// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: run-time type information is needed to name functions; compile without -fno-rtti
// flags: -fno-rtti
#include <runhouse/core/config.hpp>
