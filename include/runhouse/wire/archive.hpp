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
#include <exception>
#include <memory>
#include <span>
#include <string_view>
#include <type_traits>
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

/// The bytes of a value, as archive_writer describes them. A string_view, a string literal and a span of raw elements
/// give the bytes of the string and the vector that they would be copied to.
///
/// Errors:
///   errc::bad_payload  the value is nested too deep, a container's elements encode to nothing, or a polymorphic type
///                      was not registered
template <class T>
payload encode(const T& value);
payload encode(const char* text);

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
  }
}

/// Runs `read` on a reader of `in`, which it must use up.
template <class T, class Read>
decltype(auto) read_all(payload_view in, Read read) {
  try {
    archive_reader ar(in);
    decltype(auto) value = read(ar);
    ar.finish();
    return value;
  } catch (...) {
    fail_coding("cannot decode", typeid(T));
  }
}

}  // namespace detail

template <class T>
payload encode(const T& value) {
  static_assert(encodable<T>,
                "runhouse: a value of this type cannot be serialized; give it a serialize(), or include the cereal "
                "header of the standard type, such as <cereal/types/map.hpp>");
  if constexpr (encodable<T>) {
    try {
      archive_writer ar;
      ar(value);
      return std::move(ar).take();
    } catch (const std::bad_alloc&) {
      throw;
    } catch (...) {
      detail::fail_coding("cannot encode", typeid(T));
    }
  } else {
    __builtin_unreachable();
  }
}

inline payload encode(const char* text) { return encode(std::string_view(text)); }

template <class T>
T decode(payload_view in) {
  static_assert(serializable<T>,
                "runhouse: a value of this type cannot be deserialized; give it a serialize() and a default "
                "constructor, or include the cereal header of the standard type, such as <cereal/types/map.hpp>");
  if constexpr (serializable<T>) {
    if constexpr (std::is_default_constructible_v<T>) {
      return detail::read_all<T>(in, [](archive_reader& ar) {
        T value{};
        ar(value);
        return value;
      });
    } else {
      return std::move(*detail::read_all<T>(in, [](archive_reader& ar) {
        std::unique_ptr<T> value;
        detail::load_object<T>(ar, [&](T* object) { value.reset(object); });
        return value;
      }));
    }
  } else {
    __builtin_unreachable();
  }
}

template <class T>
std::span<const T> decode_span(payload_view in) {
  static_assert(is_raw_v<T>, "runhouse: only a std::span of raw elements views a payload; take a std::vector");
  return detail::read_all<std::span<const T>>(in, [](archive_reader& ar) {
    const std::size_t count = ar.read_count(sizeof(T));
    const std::span<const std::byte> bytes = ar.raw(count * sizeof(T), alignof(T));
    if (reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(T) != 0) {
      fail(errc::bad_payload, "the elements are not aligned");
    }
    return std::span<const T>(reinterpret_cast<const T*>(bytes.data()), count);
  });
}

inline std::string_view decode_string_view(payload_view in) {
  const std::span<const char> text = decode_span<char>(in);
  return {text.data(), text.size()};
}

}  // namespace rh::wire
