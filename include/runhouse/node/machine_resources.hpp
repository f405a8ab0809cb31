// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/needs/needs.hpp>

#include <cstdint>
#include <map>
#include <string>

namespace rh::detail {

/// Amounts of what a machine has, or of what workers take of it.
struct amounts {
  unsigned workers = 0;  ///< places for those that work at the same time
  unsigned cpus = 0;
  unsigned gpus = 0;
  std::uint64_t memory_bytes = 0;
  std::map<std::string, unsigned> counts;

  /// What each call of such needs takes while it runs.
  static amounts of(const needs& n) {
    const bool is_counted = n.workers == 0;  // else the user has said how many
    return {is_counted ? 1u : 0u, is_counted ? n.cpus : 0u, n.gpus.value_or(0), n.memory_bytes, n.counts};
  }
  void add(const amounts& other) {
    workers += other.workers;
    cpus += other.cpus;
    gpus += other.gpus;
    memory_bytes += other.memory_bytes;
    for (const auto& [name, count] : other.counts) counts[name] += count;
  }
  /// Precondition: none of it is more than this has.
  void subtract(const amounts& other) {
    workers -= other.workers;
    cpus -= other.cpus;
    gpus -= other.gpus;
    memory_bytes -= other.memory_bytes;
    for (const auto& [name, count] : other.counts) counts[name] -= count;
  }
  unsigned count(const std::string& name) const {
    const auto found = counts.find(name);
    return found != counts.end() ? found->second : 0;
  }
  /// That of `wanted` of which this has not enough; all zero if it has.
  amounts lacking(const amounts& wanted) const {
    amounts short_of;
    if (wanted.workers > workers) short_of.workers = wanted.workers;
    if (wanted.cpus > cpus) short_of.cpus = wanted.cpus;
    if (wanted.gpus > gpus) short_of.gpus = wanted.gpus;
    if (wanted.memory_bytes > memory_bytes) short_of.memory_bytes = wanted.memory_bytes;
    for (const auto& [name, n] : wanted.counts) {
      if (n > count(name)) short_of.counts[name] = n;
    }
    return short_of;
  }
  bool covers(const amounts& wanted) const { return lacking(wanted) == amounts(); }
  /// Whether both have some of the same.
  bool touches(const amounts& other) const {
    for (const auto& [name, n] : counts) {
      if (n > 0 && other.count(name) > 0) return true;
    }
    return (workers > 0 && other.workers > 0) || (cpus > 0 && other.cpus > 0) || (gpus > 0 && other.gpus > 0) ||
           (memory_bytes > 0 && other.memory_bytes > 0);
  }
  friend bool operator==(const amounts&, const amounts&) = default;
};

/// Why a machine with `all` can never run a call that takes `wanted`; empty if it can. GPUs are not looked at.
inline std::string why_impossible(const amounts& wanted, const amounts& all, const std::string& host) {
  const auto more = [&](const std::string& n, const std::string& has) {
    return "each call needs " + n + "; " + host + " has " + has;
  };
  if (wanted.cpus > all.cpus) return more(std::to_string(wanted.cpus) + " CPUs", std::to_string(all.cpus));
  if (wanted.memory_bytes > all.memory_bytes) {
    return more(std::to_string(wanted.memory_bytes) + " bytes of memory", std::to_string(all.memory_bytes));
  }
  for (const auto& [name, n] : wanted.counts) {
    if (n > all.count(name)) {
      return more(std::to_string(n) + " of '" + name + "'",
                  std::to_string(all.count(name)) + " (RUNHOUSE_RESOURCES says how many)");
    }
  }
  return {};
}

}  // namespace rh::detail
