// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/errc.hpp>
#include <runhouse/core/result.hpp>
#include <runhouse/function/program_objects.hpp>
#include <runhouse/host/program_image.hpp>
#include <runhouse/wire/hash.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rh::detail {

/// Sizes of chunks. With the table that gear_table() makes they are a format: two builds of this library that cut
/// differently still ship, but all of each program.
struct chunk_sizes {
  static constexpr std::size_t least = 16 * 1024;
  static constexpr std::size_t average = 64 * 1024;
  static constexpr std::size_t most = 256 * 1024;
};

/// What a file is made of: pieces that are cut by their content, so that bytes put in or taken out change only the
/// pieces around them.
struct content_chunk {
  std::uint32_t size = 0;
  wire::hash256 hash{};  ///< SHA-256

  friend bool operator==(const content_chunk&, const content_chunk&) = default;
};

struct content_file {
  std::string name;
  std::uint64_t size = 0;  ///< of all its chunks
  wire::hash256 hash{};    ///< SHA-256 of the whole
  std::vector<content_chunk> chunks;

  friend bool operator==(const content_file&, const content_file&) = default;
};

/// The files of a program, the executable first.
struct content_manifest {
  std::vector<content_file> files;

  friend bool operator==(const content_manifest&, const content_manifest&) = default;
};

/// The size of the chunk with which `bytes` begins: all of them if they are few.
inline std::size_t first_chunk(std::span<const std::byte> bytes) noexcept;

/// Hashes all bytes: about as long as making the image took.
inline content_manifest manifest_of(const program_image& image);

/// Of a manifest as text:
///
///     runhouse-manifest 1
///     file NAME SIZE SHA256
///     chunk SIZE SHA256         of the file above: as many as make up its size
///     ...
///
/// with one space between two words, sizes in decimal, hashes in 64 digits of lower case, and a newline after each line.
inline std::string text_of(const content_manifest& manifest);

/// Bounds of what is read: a program of 14 GB has that many chunks.
inline constexpr std::size_t manifest_bytes = 16 * 1024 * 1024;
inline constexpr std::size_t manifest_files = 256;

/// Reads such a text, which comes from another machine: strictly, and allocating no more than a few times its size.
/// Errors: errc::bad_payload.
inline result<content_manifest> manifest_from(std::string_view text);

/// A hash from its 64 digits; nothing for any other text.
inline std::optional<wire::hash256> hash_from(std::string_view digits) noexcept;

/// A number in decimal, without sign or zeros before it, up to `most`.
inline std::optional<std::uint64_t> number_from(std::string_view digits, std::uint64_t most) noexcept;

// ---- implementation

/// The random number of each byte value, by splitmix64 from a fixed seed. Never to change.
constexpr std::array<std::uint64_t, 256> gear_table() noexcept {
  std::array<std::uint64_t, 256> table{};
  std::uint64_t state = 0x72756e686f757365;  // "runhouse"
  for (std::uint64_t& entry : table) {
    state += 0x9e3779b97f4a7c15;
    std::uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    entry = z ^ (z >> 31);
  }
  return table;
}

inline std::size_t first_chunk(std::span<const std::byte> bytes) noexcept {
  static constexpr auto gear = gear_table();
  constexpr std::uint64_t cut_below = ~std::uint64_t{0} / (chunk_sizes::average - chunk_sizes::least);
  constexpr std::size_t window = 64;  // a byte has left the hash after so many more
  if (bytes.size() <= chunk_sizes::least) return bytes.size();
  const std::size_t most = std::min(bytes.size(), chunk_sizes::most);
  std::uint64_t hash = 0;
  for (std::size_t i = chunk_sizes::least - window; i < chunk_sizes::least; ++i)
    hash = (hash << 1) + gear[std::to_integer<std::size_t>(bytes[i])];
  for (std::size_t i = chunk_sizes::least; i < most; ++i) {
    if (hash < cut_below) return i;
    hash = (hash << 1) + gear[std::to_integer<std::size_t>(bytes[i])];
  }
  return most;
}

inline content_manifest manifest_of(const program_image& image) {
  content_manifest manifest;
  for (const program_image::file& file : image.files()) {
    content_file& made = manifest.files.emplace_back();
    made.name = file.name;
    made.size = file.size();
    made.hash = file.hash;
    made.chunks.reserve(file.bytes.size() / chunk_sizes::average + 1);
    for (auto rest = file.bytes; !rest.empty();) {
      const std::size_t size = first_chunk(rest);
      sha256 hash;
      hash.add(rest.data(), size);
      made.chunks.push_back({static_cast<std::uint32_t>(size), hash.finish()});
      rest = rest.subspan(size);
    }
  }
  return manifest;
}

inline std::string text_of(const content_manifest& manifest) {
  std::string text = "runhouse-manifest 1\n";
  for (const content_file& file : manifest.files) {
    text += "file " + file.name + ' ' + std::to_string(file.size) + ' ' + hex_text(file.hash) + '\n';
    for (const content_chunk& chunk : file.chunks)
      text += "chunk " + std::to_string(chunk.size) + ' ' + hex_text(chunk.hash) + '\n';
  }
  return text;
}

inline std::optional<wire::hash256> hash_from(std::string_view digits) noexcept {
  wire::hash256 hash{};
  if (digits.size() != 2 * hash.size()) return std::nullopt;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    const char c = digits[i];
    const bool is_number = c >= '0' && c <= '9';
    if (!is_number && !(c >= 'a' && c <= 'f')) return std::nullopt;
    const auto value = static_cast<std::byte>(is_number ? c - '0' : c - 'a' + 10);
    hash[i / 2] = hash[i / 2] << 4 | value;
  }
  return hash;
}

inline std::optional<std::uint64_t> number_from(std::string_view digits, std::uint64_t most) noexcept {
  std::uint64_t number = 0;
  const char* end = digits.data() + digits.size();
  const auto [read, error] = std::from_chars(digits.data(), end, number);
  if (digits.empty() || error != std::errc() || read != end || number > most) return std::nullopt;
  if (digits.front() == '0' && digits.size() > 1) return std::nullopt;
  return number;
}

inline result<content_manifest> manifest_from(std::string_view text) {
  constexpr std::uint64_t most_bytes = std::uint64_t{1} << 40;
  if (text.size() > manifest_bytes) return errc::bad_payload;
  const auto take_until = [&text](char mark) -> std::optional<std::string_view> {
    const std::size_t at = text.substr(0, 1024).find(mark);  // no line is so long
    if (at == text.npos) return std::nullopt;
    const std::string_view taken = text.substr(0, at);
    text.remove_prefix(at + 1);
    return taken;
  };
  if (take_until('\n') != "runhouse-manifest 1") return errc::bad_payload;
  content_manifest manifest;
  std::uint64_t missing = 0;  // bytes of the last file whose chunks have not come
  while (!text.empty()) {
    const auto word = take_until(' ');
    if (word == "file" && missing == 0 && manifest.files.size() < manifest_files) {
      const auto name = take_until(' ');
      const auto size = take_until(' ');
      const auto hash = take_until('\n');
      if (!name || !size || !hash || !is_shipped_name(*name)) return errc::bad_payload;
      const auto bytes = number_from(*size, most_bytes);
      const auto digest = hash_from(*hash);
      const bool is_twice =
          std::any_of(manifest.files.begin(), manifest.files.end(), [&](const auto& f) { return f.name == *name; });
      if (!bytes || !digest || is_twice) return errc::bad_payload;
      manifest.files.push_back({std::string(*name), *bytes, *digest, {}});
      missing = *bytes;
    } else if (word == "chunk" && missing != 0) {
      const auto size = take_until(' ');
      const auto hash = take_until('\n');
      if (!size || !hash) return errc::bad_payload;
      const auto bytes = number_from(*size, std::min<std::uint64_t>(missing, chunk_sizes::most));
      const auto digest = hash_from(*hash);
      if (!bytes || *bytes == 0 || !digest) return errc::bad_payload;
      manifest.files.back().chunks.push_back({static_cast<std::uint32_t>(*bytes), *digest});
      missing -= *bytes;
    } else {
      return errc::bad_payload;
    }
  }
  if (missing != 0 || manifest.files.empty()) return errc::bad_payload;
  return manifest;
}

}  // namespace rh::detail
