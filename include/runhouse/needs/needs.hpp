// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace rh {

/// GPUs of its own for each call: no other call has them meanwhile. Its process sees these alone. With 0 it sees none;
/// a send that says nothing of GPUs sees those that the program sees.
struct gpus {
  explicit constexpr gpus(unsigned n) noexcept : count(n) {}
  unsigned count;
};

/// CPUs for each call; 1 where nothing is said. They are counted, not enforced: a call that needs 4 runs where 3 others
/// would.
struct cpus {
  explicit constexpr cpus(unsigned n) noexcept : count(n) {}
  unsigned count;
};

/// Memory for each call, in bytes: `rh::memory(8ull << 30)`. It is counted, not enforced.
struct memory {
  explicit constexpr memory(std::uint64_t n) noexcept : bytes(n) {}
  std::uint64_t bytes;
};

/// So many of anything else that there is only so much of, as in `rh::resource("license", 1)`. How many a machine has
/// is said by RUNHOUSE_RESOURCES, as in "license=2,camera=1".
struct resource {
  resource(std::string n, unsigned c) : name(std::move(n)), count(c) {}
  std::string name;
  unsigned count;
};

/// A variable of the environment that the calls run in.
struct env {
  env(std::string n, std::string v) : name(std::move(n)), value(std::move(v)) {}
  std::string name;
  std::string value;
};

/// The folder that the calls run in; where nothing is said, the program's own.
struct cwd {
  explicit cwd(std::string p) : path(std::move(p)) {}
  std::string path;
};

class needs;

namespace detail {
template <class N>
inline constexpr bool is_need = std::same_as<N, gpus> || std::same_as<N, cpus> || std::same_as<N, memory> ||
                                std::same_as<N, resource> || std::same_as<N, env> || std::same_as<N, cwd>;
}

/// What each call of a send needs, all together: `rh::needs(rh::gpus(1), rh::cpus(4))`. Calls of equal needs share
/// worker processes; those of other needs never run in these.
class needs {
 public:
  /// Errors: errc::impossible_needs where one makes no sense by itself.
  template <class... N>
    requires(detail::is_need<N> && ...)
  explicit needs(const N&... all) {
    (add(all), ...);
  }

  void add(rh::gpus n) { gpus = n.count; }
  void add(rh::cpus n) {
    if (n.count == 0)
      refuse("rh::cpus(0)", "a call needs a CPU; for calls that mostly wait, .workers(n) says how many run at once");
    cpus = n.count;
  }
  void add(rh::memory n) { memory_bytes = n.bytes; }
  void add(const rh::resource& n) {
    if (n.name.empty()) refuse("rh::resource", "the name is empty");
    counts[n.name] = n.count;
  }
  void add(const rh::env& n) {
    const std::string what = "rh::env(\"" + n.name + "\")";
    if (n.name.empty() || n.name.find('=') != std::string::npos || n.name.find('\0') != std::string::npos) {
      refuse(what, "that is no name of a variable");
    }
    if (n.value.find('\0') != std::string::npos) refuse(what, "its value holds a null character");
    if (n.name.size() + n.value.size() > longest_variable) {
      refuse(what, "it has " + std::to_string(n.name.size() + n.value.size()) + " bytes, and Linux gives no process a variable of more than " + std::to_string(longest_variable));
    }
    if (n.name.starts_with("RUNHOUSE_"))
      refuse(what, "these variables are the library's own, and not seen by functions");
    env[n.name] = n.value;
  }
  void add(const rh::cwd& n) {
    if (n.path.empty() || n.path.find('\0') != std::string::npos) refuse("rh::cwd", "that is no path");
    cwd = n.path;
  }

  friend bool operator==(const needs&, const needs&) = default;
  /// For those who include <cereal/types/map.hpp>.
  template <class Archive>
  void serialize(Archive& archive) {
    archive(gpus, cpus, memory_bytes, counts, env, cwd, workers);
  }

  std::optional<unsigned> gpus;  ///< none: it sees those that the program sees
  unsigned cpus = 1;
  std::uint64_t memory_bytes = 0;
  std::map<std::string, unsigned> counts;  ///< of resources, by name
  std::map<std::string, std::string> env;
  std::string cwd;  ///< empty: the program's
  unsigned workers = 0;  ///< at most so many at once, whatever the CPUs; 0: as many as there are CPUs for

 private:
  static constexpr std::size_t longest_variable = 128 * 1024 - 2;  // MAX_ARG_STRLEN, with '=' and the null character
  [[noreturn]] static void refuse(const std::string& what, const std::string& why) {
    fail(errc::impossible_needs, what + ": " + why);
  }
};

namespace detail {
/// What a send takes behind its cluster: single needs, or all of them as one rh::needs.
template <class... N>
inline constexpr bool are_needs = (is_need<N> && ...) || (sizeof...(N) == 1 && (std::same_as<N, needs> && ...));
}  // namespace detail

}  // namespace rh
