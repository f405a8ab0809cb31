// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/wire/hash.hpp>
#include <runhouse/wire/session_question.hpp>

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

namespace rh {

/// A value that a cluster keeps under a name.
struct kept_name {
  std::string name;
  std::string type;               ///< as a person writes it
  std::uint64_t size_bytes = 0;   ///< encoded; 0 while it is not there yet
  std::uint64_t age_seconds = 0;  ///< since it was kept
  bool is_ready = false;          ///< it is there, or its call has failed

  template <class Archive>
  void serialize(Archive& archive) {
    archive(name, type, size_bytes, age_seconds, is_ready);
  }
};

namespace detail {

/// What is known of the type of a kept value, so that no other program reads it as something else.
struct value_type {
  enum class kinds : std::uint64_t {
    of_program = 0,  ///< holds classes of the program's own
    versioned = 1,   ///< is a class of its own that says its version
    standard = 2,    ///< holds nothing but arithmetic and standard types
  };
  std::string mangled;
  wire::hash128 layout{};
  kinds kind = kinds::of_program;
  std::uint64_t version = 0;
};

/// The question for a name, and what it says of the type. Source: wire/session.md, section 6.
inline wire::session_question name_question(wire::session_topic topic, std::string name, const value_type& type) {
  wire::session_question q;
  q.what = static_cast<std::uint32_t>(topic);
  q.numbers.resize(4);
  std::memcpy(q.numbers.data(), type.layout.data(), sizeof type.layout);
  q.numbers[2] = static_cast<std::uint64_t>(type.kind);
  q.numbers[3] = type.version;
  q.texts = {std::move(name), type.mangled};
  return q;
}
/// `first`: of the four numbers. Precondition: they and two texts are there.
inline value_type type_in(const wire::session_question& q, std::size_t first) {
  value_type type;
  std::memcpy(type.layout.data(), q.numbers.data() + first, sizeof type.layout);
  type.kind = q.numbers[first + 2] <= 2 ? static_cast<value_type::kinds>(q.numbers[first + 2]) : value_type::kinds::of_program;
  type.version = q.numbers[first + 3];
  type.mangled = q.texts[1];
  return type;
}

}  // namespace detail
}  // namespace rh
