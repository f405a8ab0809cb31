// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/wire/archive_reader.hpp>
#include <runhouse/wire/archive_writer.hpp>
#include <runhouse/wire/detail/serializable.hpp>
#include <runhouse/wire/payload.hpp>

#include <cereal/types/array.hpp>
#include <cereal/types/complex.hpp>
#include <cereal/types/optional.hpp>
#include <cereal/types/string.hpp>
#include <cereal/types/tuple.hpp>
#include <cereal/types/utility.hpp>
#include <cereal/types/vector.hpp>

#include <concepts>
#include <cxxabi.h>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace rh::wire {

/// What encode takes: any value with cereal's functions for it, and views of what encodes alike.
template <class T>
concept encodable = detail::is_encodable<std::remove_cv_t<T>>();

/// What can be encoded, decoded and returned. Standard types other than string, vector, array, pair, tuple, optional
/// and complex count only where the cereal header for them was included; so do members of the user's types, which a
/// concept cannot look into: those are refused, in one sentence, where they are encoded.
template <class T>
concept serializable = detail::is_serializable<T>();

/// The cereal header that a standard type, or a type that it is made of, needs and has not: "cereal/types/map.hpp";
/// nullptr if there is none.
template <class T>
consteval const char* missing_header() {
  return detail::missing_header_of<std::remove_cvref_t<T>>();
}

/// What CEREAL_CLASS_VERSION says of a class; 0 where it says nothing.
template <class T>
std::uint32_t class_version() noexcept {
  return cereal::detail::Version<T>::version;
}

/// The bytes of a value, as archive_writer describes them. A string_view, a string literal and a span of raw elements
/// give the bytes of the string and the vector that they would be copied to.
///
/// Errors:
///   errc::bad_payload  the value is nested too deep, a container's elements encode to nothing, or a polymorphic type
///                      was not registered
template <class T>
payload encode(const T& value);
payload encode(const char* text);
/// The same of a vector or a string of raw elements, which is not copied, but taken over. Precondition: its memory is its
/// own, and at least limits::segment_bytes.
template <class T>
payload encode_taken(T&& value);

/// The value that these bytes encode. Bytes may be anything; what is allocated is in proportion to what is in `in`.
///
/// Errors:
///   errc::bad_payload  anything else than exactly one T; or an exception that T's own loading throws
template <class T>
T decode(payload_view in);

/// The elements of an encoded std::vector<T>, or span, where they are.
///
/// Lifetime: the payload's memory.
/// Errors: as for decode.
template <class T>
std::span<const T> decode_span(payload_view in);

/// The characters of an encoded std::string where they are; otherwise as decode_span.
std::string_view decode_string_view(payload_view in);

// ---- implementation

namespace detail {

/// Values that need no archive, at the top of a payload: most arguments and results are such.
template <class T>
inline constexpr bool is_plain = scalar<T> || rh::detail::is_raw_scalar<T>() || opted_in_raw<T> || is_raw_array<T>;
template <class C, class Traits>
inline constexpr bool is_plain<std::basic_string_view<C, Traits>> = true;
template <class T, std::size_t N>
inline constexpr bool is_plain<std::span<T, N>> = is_raw_v<T>;
template <class T, std::size_t N>
inline constexpr bool is_plain<std::array<T, N>> = is_raw_v<std::array<T, N>>;

template <class T>
void write_plain(payload_writer& out, const T& value) {
  if constexpr (scalar<T> || rh::detail::is_raw_scalar<T>()) {
    out.write(&value, sizeof value);
  } else if constexpr (is_raw_v<T>) {
    out.write_raw(&value, sizeof value, alignof(T));
  } else {
    using element = typename T::value_type;
    out.write_elements(value.data(), value.size(), sizeof(element), alignof(element));
  }
}
template <class T>
void read_plain(payload_reader& in, T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    value = in.read_bool();
  } else if constexpr (scalar<T> || rh::detail::is_raw_scalar<T>()) {
    in.read(&value, sizeof value);
  } else if constexpr (is_raw_v<T>) {
    std::memcpy(static_cast<void*>(&value), in.raw(sizeof value, alignof(T)).data(), sizeof value);
  } else {
    load_elements(in, value);
  }
}

/// The error that the exception being handled means, with the type's name. Called in a catch block.
[[noreturn, gnu::cold, gnu::noinline]] inline void fail_coding(const char* verb, const std::type_info& type) {
  const std::string what_failed = verb + (" " + type_name(type)) + ": ";
  try {
    throw;
  } catch (const error& e) {
    if (e.kind() != errc::bad_payload) throw;
    fail(errc::bad_payload, what_failed + e.what());
  } catch (const std::exception& e) {
    fail(errc::bad_payload, what_failed + e.what());
  } catch (...) {
    const std::type_info* thrown = abi::__cxa_current_exception_type();
    fail(errc::bad_payload,
         what_failed + "it threw " + (thrown != nullptr ? type_name(*thrown) : "what is no exception class"));
  }
}

/// Reads exactly one value: `read` is given a reader of `in`, which it must use up, and `to`. By pointers, so that it
/// is compiled once and not for each type.
template <class Reader>
void read_all(payload_view in, const std::type_info& type, void (*read)(Reader&, void*), void* to) {
  try {
    Reader reader(in);
    read(reader, to);
    reader.finish();
  } catch (...) {
    fail_coding("cannot decode", type);
  }
}
inline payload write_all(const std::type_info& type, void (*write)(archive_writer&, const void*), const void* value) {
  try {
    archive_writer writer;
    write(writer, value);
    return std::move(writer).take();
  } catch (const std::bad_alloc&) {
    throw;
  } catch (...) {
    fail_coding("cannot encode", type);
  }
}

}  // namespace detail

template <class T>
payload encode(const T& value) {
  static_assert(encodable<T>,
                "runhouse: a value of this type cannot be serialized; give it a serialize(), or include the cereal "
                "header of the standard type, such as <cereal/types/map.hpp>");
  if constexpr (detail::is_plain<T>) {
    payload_writer writer;
    detail::write_plain(writer, value);
    return std::move(writer).take();
  } else if constexpr (encodable<T>) {
    return detail::write_all(
        typeid(T), [](archive_writer& ar, const void* from) { ar(*static_cast<const T*>(from)); }, std::addressof(value));
  } else {
    __builtin_unreachable();
  }
}

inline payload encode(const char* text) { return encode(std::string_view(text)); }

template <class T>
payload encode_taken(T&& value) {
  payload taken;
  byte_writer(taken.stream).put(std::uint64_t{value.size()});
  taken.segments.push_back(buffer::taken_from(std::forward<T>(value)));
  return taken;
}

template <class T>
T decode(payload_view in) {
  static_assert(serializable<T>,
                "runhouse: a value of this type cannot be deserialized; give it a serialize() and a default "
                "constructor, or include the cereal header of the standard type, such as <cereal/types/map.hpp>");
  if constexpr (!serializable<T>) {
    __builtin_unreachable();
  } else if constexpr (!std::is_default_constructible_v<T>) {
    std::unique_ptr<T> value;
    detail::read_all<archive_reader>(
        in, typeid(T),
        [](archive_reader& ar, void* to) {
          detail::load_object<T>(ar, [&](T* object) { static_cast<std::unique_ptr<T>*>(to)->reset(object); });
        },
        &value);
    return std::move(*value);
  } else {
    T value{};
    if constexpr (detail::is_plain<T>) {
      detail::read_all<payload_reader>(
          in, typeid(T), [](payload_reader& from, void* to) { detail::read_plain(from, *static_cast<T*>(to)); },
          std::addressof(value));
    } else {
      detail::read_all<archive_reader>(
          in, typeid(T), [](archive_reader& ar, void* to) { ar(*static_cast<T*>(to)); }, std::addressof(value));
    }
    return value;
  }
}

template <class T>
std::span<const T> decode_span(payload_view in) {
  static_assert(is_raw_v<T>, "runhouse: only a std::span of raw elements views a payload; take a std::vector");
  std::span<const T> elements;
  detail::read_all<payload_reader>(
      in, typeid(elements),
      [](payload_reader& from, void* to) {
        const std::size_t count = from.read_count(sizeof(T));
        const std::span<const std::byte> bytes = from.raw(count * sizeof(T), alignof(T));
        if (reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(T) != 0) {
          fail(errc::bad_payload, "the elements are not aligned");
        }
        *static_cast<std::span<const T>*>(to) = {reinterpret_cast<const T*>(bytes.data()), count};
      },
      &elements);
  return elements;
}

inline std::string_view decode_string_view(payload_view in) {
  const std::span<const char> text = decode_span<char>(in);
  return {text.data(), text.size()};
}

}  // namespace rh::wire
