// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/core/limits.hpp>
#include <runhouse/wire/detail/element_count.hpp>
#include <runhouse/wire/detail/type_name.hpp>
#include <runhouse/wire/raw.hpp>

#include <runhouse/wire/detail/cereal.hpp>

#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <typeinfo>

namespace cereal::memory_detail {
template <class T>
struct PtrWrapper;  // cereal/types/memory.hpp, which only the user's code includes
}

namespace rh::wire {

class archive_writer;
class archive_reader;

namespace detail {

template <class T>
inline constexpr bool is_function_object = false;
template <class R, class... A>
inline constexpr bool is_function_object<std::function<R(A...)>> = true;

template <class T>
inline constexpr bool is_shared_ptr = false;
template <class T>
inline constexpr bool is_shared_ptr<std::shared_ptr<T>> = true;

template <class T>
inline constexpr bool is_unique_ptr = false;
template <class T, class D>
inline constexpr bool is_unique_ptr<std::unique_ptr<T, D>> = true;

template <class T>
concept scalar = std::is_arithmetic_v<T> && !std::is_same_v<T, long double>;

/// A class that the user declared raw, and so needs no serialize().
template <class T>
concept opted_in_raw = std::is_class_v<T> && !in_std<T> && !in_cereal<T> && is_raw_v<T>;

/// A std::valarray that cereal takes for one block. cereal's own functions for it ask for the address of its first
/// element, also where there is none.
template <class T>
concept block_valarray = in_std<T> && requires(T& t) {
  typename T::value_type;
  t.cshift(0);
} && scalar<typename T::value_type> && is_raw_v<typename T::value_type>;

/// Only classes of the user's can nest without end, whatever of the standard's lies between.
template <class T>
inline constexpr bool counts_depth = (std::is_class_v<T> || std::is_union_v<T>) && !in_std<T> && !in_cereal<T>;

/// The types that no payload holds and that cereal, or a hidden overload of ours, would seem to take.
template <class T>
inline constexpr bool is_refused = std::is_same_v<T, long double> || std::is_member_pointer_v<T> ||
                                   is_function_object<T>;

/// One sentence for what the archives refuse. A result type of prologue(), since the compilers look at that before they
/// come to cereal's pages of it.
template <class T, bool IsSerializable>
struct check_supported {
  using type = void;
  static_assert(!std::is_same_v<T, long double>,
                "runhouse: long double is not the same on all machines; convert it to double");
  static_assert(!std::is_pointer_v<T> && !std::is_member_pointer_v<T>,
                "runhouse: a raw pointer means nothing on another machine; use a value, a std::unique_ptr or a "
                "std::shared_ptr");
  static_assert(!is_function_object<T>,
                "runhouse: a std::function cannot travel; use a struct with operator() and serialize()");
  static_assert(is_refused<T> || std::is_pointer_v<T> || in_cereal<T> || IsSerializable,
                "runhouse: a type in the value cannot be serialized; give it a serialize(), or include the cereal "
                "header of the standard type, such as <cereal/types/map.hpp>");
};

/// The element type of cereal::binary_data, which may hold raw elements only.
template <class T>
struct block_element {
  using type = std::remove_cv_t<std::remove_pointer_t<std::remove_cvref_t<T>>>;
  static_assert(is_raw_v<type>,
                "runhouse: cereal::binary_data of a whole struct would send its padding and pointers; give the struct "
                "a serialize(), or specialise rh::is_raw for it");
};
template <class T>
using element_of_block = typename block_element<T>::type;

[[noreturn, gnu::cold, gnu::noinline]] inline void fail_depth() {
  fail(errc::bad_payload, "the value is nested deeper than " + std::to_string(limits::archive_depth) +
                              " objects; keep the objects in one container and let them refer to each other by index");
}
[[noreturn, gnu::cold, gnu::noinline]] inline void fail_empty_elements(const std::type_info& type) {
  fail(errc::bad_payload, "elements of " + type_name(type) +
                              " encode to nothing; serialize at least one byte in each, or only their count");
}

struct archive_hooks;
struct reader_hooks;

}  // namespace detail
}  // namespace rh::wire
