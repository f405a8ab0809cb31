// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/wire/archive_reader.hpp>
#include <runhouse/wire/archive_writer.hpp>

#include <cstddef>
#include <iterator>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

namespace rh::wire::detail {

/// Whether cereal can make a T on the heap.
template <class T>
inline constexpr bool is_loadable_object = (cereal::traits::is_default_constructible<T>::value ||
                                            cereal::traits::has_load_and_construct<T, archive_reader>::value) ||
                                           std::is_abstract_v<T>;

template <class T>
concept std_variant = in_std<T> && requires(const T& t) { t.valueless_by_exception(); };
template <class T>
concept std_smart_pointer = in_std<T> && requires(const T& t) { typename T::element_type; t.use_count(); };
template <class T>
concept std_with_elements = in_std<T> && requires { typename T::value_type; };

template <template <class...> class V, class... T>
consteval bool alternatives_are(std::type_identity<V<T...>>, auto check) {
  return (check(std::type_identity<T>{}) && ...);
}

/// Whether `check` holds for the types that a standard template is made of, about which cereal's traits say nothing.
template <class T>
consteval bool parts_are(auto check) {
  if constexpr (!std::is_class_v<T>) {
    return true;
  } else if constexpr (tuple_like<T>) {
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      return (check(std::type_identity<std::remove_cv_t<std::tuple_element_t<I, T>>>{}) && ...);
    }(std::make_index_sequence<std::tuple_size_v<T>>{});
  } else if constexpr (is_unique_ptr<T> || std_smart_pointer<T>) {
    return check(std::type_identity<std::remove_cv_t<typename T::element_type>>{});
  } else if constexpr (std_variant<T>) {
    return alternatives_are(std::type_identity<T>{}, check);
  } else if constexpr (std_with_elements<T>) {
    return check(std::type_identity<std::remove_cv_t<typename T::value_type>>{});
  } else {
    return true;
  }
}

template <class T>
consteval bool is_encodable() {
  if constexpr (!std::is_object_v<T> || std::is_pointer_v<T> || is_refused<T>) {
    return false;
  } else if constexpr (std::is_abstract_v<T>) {
    return true;
  } else if constexpr (!cereal::traits::is_output_serializable<T, archive_writer>::value) {
    return false;
  } else {
    return parts_are<T>([]<class P>(std::type_identity<P>) { return is_encodable<P>(); });
  }
}

/// As a part of another type; a container's elements are default-constructed first.
template <class T>
consteval bool is_decodable() {
  if constexpr (!std::is_object_v<T> || std::is_pointer_v<T> || is_refused<T>) {
    return false;
  } else if constexpr (std::is_abstract_v<T>) {
    return true;
  } else if constexpr (!cereal::traits::is_input_serializable<T, archive_reader>::value) {
    // an object with only load_and_construct is read through pointers
    return cereal::traits::has_load_and_construct<T, archive_reader>::value;
  } else {
    return parts_are<T>([]<class P>(std::type_identity<P>) { return is_decodable<P>(); });
  }
}

/// Whether what a standard template holds can be made before it is read.
template <class T>
consteval bool is_default_filled() {
  if constexpr (is_unique_ptr<T> || std_smart_pointer<T>) {
    return is_loadable_object<std::remove_cv_t<typename T::element_type>>;
  } else {
    constexpr bool makes_them = std_variant<T> || std_with_elements<T>;
    return parts_are<T>([]<class P>(std::type_identity<P>) {
      return (!makes_them || std::is_default_constructible_v<P>) && is_default_filled<P>();
    });
  }
}

template <class T>
consteval bool is_serializable() {
  if constexpr (!std::is_object_v<T> || std::is_const_v<T> || std::is_volatile_v<T> || std::is_array_v<T>) {
    return false;
  } else if constexpr (std::is_abstract_v<T> || !std::is_move_constructible_v<T>) {
    return false;
  } else if constexpr (!is_encodable<T>() || !is_decodable<T>()) {
    return false;
  } else {
    return is_loadable_object<T> && is_default_filled<T>();
  }
}

/// The cereal header for the type so spelled; nullptr if it is none of the standard's that cereal knows.
consteval const char* header_of(std::string_view spelled) {
  constexpr struct {
    std::string_view type;
    const char* header;
  } table[] = {
      {"map", "cereal/types/map.hpp"},
      {"multimap", "cereal/types/map.hpp"},
      {"set", "cereal/types/set.hpp"},
      {"multiset", "cereal/types/set.hpp"},
      {"unordered_map", "cereal/types/unordered_map.hpp"},
      {"unordered_multimap", "cereal/types/unordered_map.hpp"},
      {"unordered_set", "cereal/types/unordered_set.hpp"},
      {"unordered_multiset", "cereal/types/unordered_set.hpp"},
      {"list", "cereal/types/list.hpp"},
      {"forward_list", "cereal/types/forward_list.hpp"},
      {"deque", "cereal/types/deque.hpp"},
      {"queue", "cereal/types/queue.hpp"},
      {"priority_queue", "cereal/types/queue.hpp"},
      {"stack", "cereal/types/stack.hpp"},
      {"variant", "cereal/types/variant.hpp"},
      {"monostate", "cereal/types/variant.hpp"},
      {"unique_ptr", "cereal/types/memory.hpp"},
      {"shared_ptr", "cereal/types/memory.hpp"},
      {"weak_ptr", "cereal/types/memory.hpp"},
      {"duration", "cereal/types/chrono.hpp"},
      {"time_point", "cereal/types/chrono.hpp"},
      {"bitset", "cereal/types/bitset.hpp"},
      {"valarray", "cereal/types/valarray.hpp"},
      {"atomic", "cereal/types/atomic.hpp"},
  };
  // the name lies between the last "::" before the first of "<;]" and that
  const std::string_view name = spelled.substr(0, spelled.find_first_of("<;]"));
  if (!name.starts_with("std::")) return nullptr;
  const std::string_view last = name.substr(name.rfind("::") + 2);
  for (const auto& row : table) {
    if (row.type == last) return row.header;
  }
  return nullptr;
}

/// The header for T, or for the part of it that lacks one.
template <class T>
consteval const char* missing_header_of() {
  if constexpr (std::is_abstract_v<T> || cereal::traits::is_output_serializable<T, archive_writer>::value) {
    const char* header = nullptr;
    parts_are<T>([&]<class P>(std::type_identity<P>) {
      header = missing_header_of<P>();
      return header == nullptr;
    });
    return header;
  } else {
    return header_of(spelled<T>());
  }
}

}  // namespace rh::wire::detail
