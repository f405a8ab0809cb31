// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: exceptions are needed to report remote failures; compile without -fno-exceptions
// flags: -fno-exceptions
#include <runhouse/core/config.hpp>
