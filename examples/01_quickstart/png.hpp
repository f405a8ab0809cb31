// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>

#include "tracer.hpp"

/// Writes a picture in linear light as an 8-bit sRGB PNG, its highlights rolled off as film does.
/// Throws std::runtime_error, which names the path and the reason.
void write_png(const std::string& path, const image& picture);
