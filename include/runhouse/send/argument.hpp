// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/function/callable.hpp>
#include <runhouse/function/function_table.hpp>
#include <runhouse/function/pretty_name.hpp>
#include <runhouse/function/program_objects.hpp>
#include <runhouse/wire/archive.hpp>
#include <runhouse/wire/message_stream.hpp>

#include <concepts>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace rh::detail {

/// A function as calls name it; found once for each send type.
struct sent_function {
  const char* name;
  wire::hash128 signature;
  wire::function_id id;

  static sent_function of(const function_entry& entry) {
    const auto place = locate(reinterpret_cast<const void*>(entry.run));
    if (!place) {
      fail(errc::unknown_function,
           pretty_name(entry.name) +
               " is no part of this program, which is its executable and the shared libraries that it is "
               "linked with, but for those of the system: a worker would not find it; link its library "
               "instead of opening it with dlopen");
    }
    return {entry.name, entry.signature, {place->first, place->second, {}}};
  }
};

/// Whether an A is encoded like a parameter P as it is: a std::string for a std::string_view, say, or the reverse.
template <class P, class A>
inline constexpr bool encodes_as = std::same_as<typename parameter<A>::travels, typename parameter<P>::travels>;

/// Whether an argument of type A can be given for a parameter P. An lvalue that cannot be copied can: it is only read.
template <class P, class A>
inline constexpr bool fits_parameter = encodes_as<P, A> || std::is_convertible_v<A, typename parameter<P>::stored>;

/// An argument for a parameter P, as bytes. Something else than what travels is converted first, as by static_cast.
template <class P, class A>
wire::shared_payload encode_argument(A&& argument) {
  if constexpr (encodes_as<P, A>) {
    return std::make_shared<wire::payload>(wire::encode(argument));
  } else {
    using stored = typename parameter<P>::stored;
    return std::make_shared<wire::payload>(wire::encode(static_cast<stored>(std::forward<A>(argument))));
  }
}

template <class Signature, class... A>
std::vector<wire::shared_payload> encode_arguments(const wire::shared_payload& state, A&&... arguments) {
  std::vector<wire::shared_payload> encoded;
  encoded.reserve(sizeof...(A) + 1);
  if (state) encoded.push_back(state);
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    (encoded.push_back(
         encode_argument<std::tuple_element_t<I, typename Signature::parameters>>(std::forward<A>(arguments))),
     ...);
  }(std::index_sequence_for<A...>());
  return encoded;
}

}  // namespace rh::detail
