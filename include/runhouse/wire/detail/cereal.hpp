// SPDX-License-Identifier: Apache-2.0
#pragma once

/// cereal, whose table of class versions must bear several threads; CMake and pkg-config define the same.
#if !defined(CEREAL_THREAD_SAFE)
#define CEREAL_THREAD_SAFE 1
#endif
#include <cereal/cereal.hpp>
