// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/core/result.hpp>
#include <runhouse/needs/needs.hpp>
#include <runhouse/wire/bytes.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace rh::detail {

/// What calls need that name it by `index`, from 1, from now on: the payload of a needs frame.
/// Source: wire/session.md, section 5.
struct session_needs {
  std::uint32_t index = 0;
  rh::needs needs;

  bool operator==(const session_needs&) const = default;
};

inline std::vector<std::byte> encode(const session_needs& n) {
  std::vector<std::byte> bytes;
  wire::byte_writer out(bytes);
  out.put(n.index);
  out.put(n.needs.gpus ? *n.needs.gpus : 0xffffffffu);
  out.put(n.needs.memory_bytes);
  out.put(n.needs.cpus);
  out.put(n.needs.workers);
  out.put(static_cast<std::uint32_t>(n.needs.counts.size()));
  for (const auto& [name, count] : n.needs.counts) {
    out.put_text(name);
    out.put(count);
  }
  out.put(static_cast<std::uint32_t>(n.needs.env.size()));
  for (const auto& [name, value] : n.needs.env) {
    out.put_text(name);
    out.put_text(value);
  }
  out.put_text(n.needs.cwd);
  return bytes;
}

/// Errors: errc::protocol_error, also where one of them makes no sense.
inline result<session_needs> decode_session_needs(std::span<const std::byte> in) {
  wire::byte_reader read(in);
  session_needs n;
  n.index = read.get<std::uint32_t>();
  const auto gpus = read.get<std::uint32_t>();
  if (gpus != 0xffffffffu) n.needs.gpus = gpus;
  n.needs.memory_bytes = read.get<std::uint64_t>();
  n.needs.cpus = read.get<std::uint32_t>();
  n.needs.workers = read.get<std::uint32_t>();
  if (n.needs.cpus == 0) return errc::protocol_error;
  try {
    for (auto left = read.get<std::uint32_t>(); left > 0 && read.ok(); --left) {
      std::string name = read.text();
      n.needs.add(rh::resource(std::move(name), read.get<std::uint32_t>()));
    }
    for (auto left = read.get<std::uint32_t>(); left > 0 && read.ok(); --left) {
      std::string name = read.text();
      n.needs.add(rh::env(std::move(name), read.text()));
    }
    std::string folder = read.text();
    if (!folder.empty()) n.needs.add(rh::cwd(std::move(folder)));
  } catch (const error&) {
    return errc::protocol_error;
  }
  if (!read.ok()) return errc::protocol_error;
  return n;
}

}  // namespace rh::detail
