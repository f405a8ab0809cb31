// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace rh::wire {

/// Something that a program asks a node: what the numbers and texts are depends on what is asked.
struct session_question {
  std::uint32_t what = 0;  ///< a session_topic
  std::vector<std::uint64_t> numbers;
  std::vector<std::string> texts;

  bool operator==(const session_question&) const = default;
};

/// What a program asks a node, and what it is told in the outcome.
enum class session_topic : std::uint32_t {
  keep_name = 1,    ///< numbers: value, replaces, then of the type as in find_name; texts: name, type. Nothing
  find_name = 2,    ///< numbers: of the type: layout[2], kind, version; texts: name, type. The value, which stays
  forget_name = 3,  ///< texts: name. Whether there was one: bool
  list_names = 4,   ///< The names: std::vector<rh::kept_name>
  queue_place = 5,  ///< numbers: call. How many are before it in its queue: std::uint64_t
};

/// As messages call it.
inline const char* name_of(session_topic t) noexcept {
  switch (t) {
    case session_topic::keep_name: return "keep";
    case session_topic::find_name: return "get";
    case session_topic::forget_name: return "forget";
    case session_topic::list_names: return "names";
    case session_topic::queue_place: return "queue_place";
  }
  return "a question";
}

}  // namespace rh::wire
