// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/host/content_chunks.hpp>
#include <runhouse/host/program_image.hpp>
#include <runhouse/wire/hash.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace rh::detail {

/// A program that a host has already: its id, which is its folder's name there, and what it is made of.
struct host_program {
  std::string id;  ///< 64 hexadecimal digits
  content_manifest manifest;
};

/// How the far side's sh makes each file of a program: of ranges of files that it has, and of bytes that we send, the
/// literals, one behind the other.
struct shipping_plan {
  /// The next bytes of a file. At most max_steps in a plan, since each costs the far side a process or two.
  struct step {
    static constexpr std::size_t literal = static_cast<std::size_t>(-1);
    std::size_t base = literal;  ///< which of the host's programs to copy from
    std::size_t base_file = 0;   ///< which of its files
    std::uint64_t base_offset = 0;
    std::uint64_t size = 0;
    bool is_literal() const noexcept { return base == literal; }
  };
  /// Bytes of our image.
  struct range {
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
  };
  static constexpr std::size_t max_steps = 512;

  std::vector<std::vector<step>> files;  ///< in the manifest's order
  std::vector<range> literals;           ///< in the order in which they are sent
  std::uint64_t literal_bytes = 0;
  std::uint64_t disk_bytes = 0;  ///< what the far side needs while it puts the files together
  /// As the far side reads it:
  ///
  ///     runhouse-plan 1
  ///     file NAME SIZE SHA256
  ///     literal SIZE                  of the file above, the next bytes: as many of those that we send,
  ///     all                           all that we send, which is the whole file,
  ///     copy ID NAME OFFSET SIZE      or a range of a file of another program there
  ///     ...
  ///     end
  ///
  /// and behind it the new program's manifest.
  std::string text;
};

/// The plan to make `ours`, whose files lie in an image one behind the other. `theirs` may say what is not true, since
/// the far side compares what it has made with our hashes; names and sizes in it are as manifest_from lets them through.
inline shipping_plan plan_shipping(const content_manifest& ours, std::span<const host_program> theirs);

// ---- implementation

namespace plan_detail {

struct hash_of_hash {
  std::size_t operator()(const wire::hash256& hash) const noexcept {
    std::size_t first = 0;
    std::memcpy(&first, hash.data(), sizeof first);
    return first;
  }
};

/// One chunk that the host has.
struct base_chunk {
  std::size_t base;
  std::size_t file;
  std::uint64_t offset;
  const content_chunk* chunk;
};

using steps = std::vector<shipping_plan::step>;

/// True if one instruction can do the work of both.
inline bool continues(const shipping_plan::step& a, const shipping_plan::step& b) noexcept {
  if (a.is_literal() || b.is_literal()) return a.is_literal() && b.is_literal();
  return a.base == b.base && a.base_file == b.base_file && a.base_offset + a.size == b.base_offset;
}

inline void add(steps& to, const shipping_plan::step& next) {
  if (!to.empty() && continues(to.back(), next))
    to.back().size += next.size;
  else
    to.push_back(next);
}

inline std::size_t count(const std::vector<steps>& files) noexcept {
  std::size_t all = 0;
  for (const steps& file : files) all += file.size();
  return all;
}

/// Makes literals of the smallest copies until the plan is short enough.
inline void shorten(std::vector<steps>& files) {
  for (std::size_t now = count(files); now > shipping_plan::max_steps; now = count(files)) {
    std::vector<std::uint64_t> sizes;
    for (const steps& file : files)
      for (const auto& step : file)
        if (!step.is_literal()) sizes.push_back(step.size);
    if (sizes.empty()) return;
    // One that goes takes up to two with it.
    const std::size_t few = std::min(sizes.size() - 1, (now - shipping_plan::max_steps) / 2);
    std::nth_element(sizes.begin(), sizes.begin() + static_cast<std::ptrdiff_t>(few), sizes.end());
    const std::uint64_t longest = sizes[few];
    std::size_t left = few + 1;
    for (steps& file : files) {
      steps shorter;
      for (const auto& step : file) {
        const bool goes = !step.is_literal() && step.size <= longest && left > 0;
        left -= goes ? 1 : 0;
        add(shorter, goes ? shipping_plan::step{shipping_plan::step::literal, 0, 0, step.size} : step);
      }
      file = std::move(shorter);
    }
  }
}

}  // namespace plan_detail

inline shipping_plan plan_shipping(const content_manifest& ours, std::span<const host_program> theirs) {
  using namespace plan_detail;
  std::vector<base_chunk> known;
  std::unordered_map<wire::hash256, std::size_t, hash_of_hash> by_hash;
  for (std::size_t base = 0; base < theirs.size(); ++base) {
    const auto& base_files = theirs[base].manifest.files;
    for (std::size_t file = 0; file < base_files.size(); ++file) {
      std::uint64_t offset = 0;
      for (const content_chunk& chunk : base_files[file].chunks) {
        by_hash.emplace(chunk.hash, known.size());
        known.push_back({base, file, offset, &chunk});
        offset += chunk.size;
      }
    }
  }

  shipping_plan plan;
  for (const content_file& file : ours.files) {
    steps& made = plan.files.emplace_back();
    std::size_t next = known.size();  // what follows the last copy, over there
    for (const content_chunk& chunk : file.chunks) {
      // Of chunks with the same content, as zeros, the one that follows makes one instruction of two.
      if (next >= known.size() || *known[next].chunk != chunk) {
        const auto found = by_hash.find(chunk.hash);
        next = found == by_hash.end() || *known[found->second].chunk != chunk ? known.size() : found->second;
      }
      if (next == known.size()) {
        add(made, {shipping_plan::step::literal, 0, 0, chunk.size});
      } else {
        add(made, {known[next].base, known[next].file, known[next].offset, chunk.size});
        ++next;
      }
    }
  }
  shorten(plan.files);

  std::uint64_t at = 0;
  for (const steps& file : plan.files) {
    for (const auto& step : file) {
      if (step.is_literal()) {
        plan.literal_bytes += step.size;
        if (!plan.literals.empty() && plan.literals.back().offset + plan.literals.back().size == at)
          plan.literals.back().size += step.size;
        else
          plan.literals.push_back({at, step.size});
      }
      at += step.size;
    }
  }
  plan.disk_bytes = at + plan.literal_bytes;
  plan.text = "runhouse-plan 1\n";
  for (std::size_t i = 0; i < plan.files.size(); ++i) {
    const content_file& file = ours.files[i];
    plan.text += "file " + file.name + ' ' + std::to_string(file.size) + ' ' + hex_text(file.hash) + '\n';
    for (const auto& step : plan.files[i]) {
      if (!step.is_literal()) {
        const host_program& base = theirs[step.base];
        plan.text += "copy " + base.id + ' ' + base.manifest.files[step.base_file].name + ' ' +
                     std::to_string(step.base_offset) + ' ' + std::to_string(step.size) + '\n';
      } else if (step.size == plan.literal_bytes && step.size == file.size) {
        plan.text += "all\n";
        plan.disk_bytes -= step.size;  // not copied
      } else {
        plan.text += "literal " + std::to_string(step.size) + '\n';
      }
    }
  }
  plan.text += "end\n";
  // The path of its loader is put into a copy.
  if (std::ranges::any_of(ours.files, [](const content_file& file) { return file.name == "system/loader"; })) plan.disk_bytes += ours.files.front().size;
  return plan;
}

}  // namespace rh::detail
