// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/wire/hash.hpp>
#include <runhouse/wire/payload.hpp>

#include <atomic>
#include <cstdint>
#include <span>
#include <stop_token>

namespace rh::detail {

/// One argument where it arrives: a payload, or a list of them, each an element of a vector.
struct argument_view {
  wire::payload_view value;
  std::span<const wire::payload_view> elements;
  bool is_list = false;
};

/// Who gets the items of a function that gives several.
class item_sink {
 public:
  /// May wait until its consumer has taken some. Errors: errc::cancelled.
  virtual void put(wire::payload item) = 0;

 protected:
  ~item_sink() = default;
};

/// What a worker hands to a function's thunk.
struct invocation {
  std::span<const argument_view> arguments;
  std::stop_token stop;
  item_sink* items = nullptr;  ///< of a generator
  bool* began = nullptr;       ///< set when the arguments are there and the function is called
};

/// Decodes the arguments, runs the function, encodes its result. Throws what the function throws.
using thunk = wire::payload (*)(const invocation&);

/// One function that can be called from outside: a static object of each instantiated send.
struct function_entry {
  static constexpr std::uint64_t unknown_place = ~std::uint64_t{0};

  function_entry(thunk run_it, const char* mangled, const wire::hash128& hash) noexcept
      : run(run_it), name(mangled), signature(hash) {}

  const thunk run;
  const char* const name;  ///< mangled name of the callable's type
  const wire::hash128 signature;
  mutable const function_entry* next = nullptr;
  mutable std::atomic<std::uint64_t> place{unknown_place};  ///< kept by place_of()
};

/// All entries of the program. A list and not a container: entries of other translation units are added before any
/// static object here would be constructed. Default visibility, so that a shared object built with
/// -fvisibility=hidden adds to the same list as the executable.
[[gnu::visibility("default")]] inline constinit std::atomic<const function_entry*> function_table{nullptr};

inline void add_function(const function_entry& entry) noexcept {
  entry.next = function_table.load(std::memory_order_relaxed);
  while (
      !function_table.compare_exchange_weak(entry.next, &entry, std::memory_order_release, std::memory_order_relaxed)) {
  }
}

template <class Matches>
const function_entry* find_function(Matches&& matches) noexcept {
  for (const function_entry* e = function_table.load(std::memory_order_acquire); e != nullptr; e = e->next) {
    if (matches(*e)) return e;
  }
  return nullptr;
}

}  // namespace rh::detail
