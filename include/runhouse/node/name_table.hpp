// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/core/limits.hpp>
#include <runhouse/function/pretty_name.hpp>
#include <runhouse/rpc/kept_name.hpp>
#include <runhouse/rpc/value_holder.hpp>
#include <runhouse/wire/hash.hpp>
#include <runhouse/wire/session_message.hpp>

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace rh::detail {

/// The values of a node that have a name, which keeps them until it is forgotten, or not used for limits::name_idle.
/// On the strand.
class name_table {
 public:
  using clock = std::chrono::steady_clock;
  using shared_value = std::shared_ptr<const value_holder>;

  /// Errors: errc::name_taken, unless it replaces.
  void keep(const std::string& name, shared_value value, value_type type, const wire::hash256& program, bool replaces, clock::time_point now) {
    if (name.empty()) fail(errc::unknown_name, "keep(\"\"): a name has at least one character");
    const auto at = names_.find(name);
    if (at != names_.end() && !replaces) {
      fail(errc::name_taken, "the name '" + name + "' is taken by a value of type " + pretty_type(at->second.type.mangled) +
                                 "; replace() it, forget() it, or choose another name");
    }
    names_[name] = {std::move(value), std::move(type), program, now, now};
  }
  /// Errors: errc::unknown_name, errc::type_changed.
  shared_value find(const std::string& name, const value_type& wanted, const wire::hash256& program, clock::time_point now) {
    const auto at = names_.find(name);
    if (at == names_.end()) fail(errc::unknown_name, "there is no value of the name '" + name + "'" + others());
    check(name, at->second, wanted, program);
    at->second.used = now;
    return at->second.value;
  }
  /// Whether there was one.
  bool forget(const std::string& name) { return names_.erase(name) != 0; }
  void expire(clock::time_point now) {
    std::erase_if(names_, [&](const auto& n) { return now - n.second.used >= limits::name_idle; });
  }
  bool is_empty() const noexcept { return names_.empty(); }

  std::vector<kept_name> list(clock::time_point now) const {
    std::vector<kept_name> all;
    for (const auto& [name, entry] : names_) {
      kept_name n;
      n.name = name;
      n.type = pretty_type(entry.type.mangled);
      n.is_ready = entry.value->value()->has_ended();
      n.age_seconds = static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(now - entry.kept).count());
      if (n.is_ready && entry.value->value()->failure() == nullptr) n.size_bytes = size_of(*entry.value->value());
      all.push_back(std::move(n));
    }
    return all;
  }

 private:
  static std::uint64_t size_of(pending& value) {
    if (const auto file = value.in_file()) return file->size_bytes();
    std::vector<std::span<const std::byte>> segments;
    const wire::payload_view bytes = value.result(0, segments);
    std::uint64_t sum = bytes.stream.size();
    for (const auto& s : bytes.segments) sum += s.size();
    return sum;
  }
  struct named_value {
    shared_value value;
    value_type type;
    wire::hash256 program;
    clock::time_point kept;
    clock::time_point used;
  };

  static std::string pretty_type(const std::string& mangled) { return pretty_name(mangled.c_str()); }
  std::string others() const {
    if (names_.empty()) return "; there are none";
    std::string text = "; there are: ";
    std::size_t shown = 0;
    for (const auto& [name, entry] : names_) {
      if (++shown > 10) return text + ", ...";
      text += (shown > 1 ? ", " : "") + name;
    }
    return text;
  }
  /// The bytes of one program's value are read by another's code: where the types are the program's own, only what it
  /// says of their versions tells whether that code fits.
  static void check(const std::string& name, const named_value& has, const value_type& wanted, const wire::hash256& program) {
    const std::string which = "the value of the name '" + name + "' ";
    if (has.type.mangled != wanted.mangled) {
      fail(errc::type_changed, which + "is of type " + pretty_type(has.type.mangled) + ", not " + pretty_type(wanted.mangled));
    }
    if (has.program == program) return;
    using kind = value_type::kinds;
    if (has.type.kind != wanted.kind || has.type.layout != wanted.layout) {
      fail(errc::type_changed, which + "was kept by another build, in which " + pretty_type(wanted.mangled) + " is laid out otherwise");
    }
    if (wanted.kind == kind::standard) return;
    if (wanted.kind == kind::of_program) {
      fail(errc::type_changed, which + "was kept by another build, and nothing says whether " + pretty_type(wanted.mangled) +
                                   " is still the same there; give the class a version, with CEREAL_CLASS_VERSION");
    }
    if (has.type.version > wanted.version) {
      fail(errc::type_changed, which + "has version " + std::to_string(has.type.version) + " of " + pretty_type(wanted.mangled) +
                                   ", this program's is " + std::to_string(wanted.version));
    }
  }

  std::map<std::string, named_value> names_;
};

}  // namespace rh::detail
