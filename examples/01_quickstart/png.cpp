// SPDX-License-Identifier: Apache-2.0
#include "png.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include <png.h>

void write_png(const std::string& path, const image& picture) {
  std::vector<png_byte> bytes(picture.rgb.size());
  std::transform(picture.rgb.begin(), picture.rgb.end(), bytes.begin(), [](float light) {
    // The ACES film curve as K. Narkowicz fitted it (2016), then gamma.
    const float shown = light * (2.51f * light + 0.03f) / (light * (2.43f * light + 0.59f) + 0.14f);
    return static_cast<png_byte>(255 * std::pow(std::clamp(shown, 0.0f, 1.0f), 1 / 2.2f) + 0.5f);
  });
  png_image header{};
  header.version = PNG_IMAGE_VERSION;
  header.width = static_cast<png_uint_32>(picture.width);
  header.height = static_cast<png_uint_32>(picture.height);
  header.format = PNG_FORMAT_RGB;
  if (bytes.size() != std::size_t{3} * header.width * header.height)
    throw std::runtime_error("cannot write the picture to " + path + ": its rows are not complete");
  if (!png_image_write_to_file(&header, path.c_str(), 0, bytes.data(), 0, nullptr))
    throw std::runtime_error("cannot write the picture to " + path + ": " + header.message);
}
