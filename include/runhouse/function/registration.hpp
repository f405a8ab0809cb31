// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/sync_wait.hpp>
#include <runhouse/function/callable.hpp>
#include <runhouse/function/function_table.hpp>
#include <runhouse/function/signature_hash.hpp>
#include <runhouse/wire/archive.hpp>

#include <cstddef>
#include <string>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace rh::detail {

/// A callable with state is encoded before its arguments.
template <class F>
inline constexpr bool carries_state = !std::is_empty_v<F>;

[[noreturn, gnu::cold, gnu::noinline]] inline void fail_list() {
  fail(errc::bad_payload, "a list of values came for a parameter that is no std::vector");
}

/// Holds one decoded argument for the time of the call.
template <class P>
class held_argument {
  using traits = parameter<P>;
  using stored = typename traits::stored;

 public:
  explicit held_argument(const argument_view& in) : value_(in.is_list ? decode_list(in.elements) : decode(in.value)) {}

  decltype(auto) pass() {
    if constexpr (std::is_lvalue_reference_v<P>) {
      return static_cast<const stored&>(value_);
    } else {
      return static_cast<stored&&>(value_);
    }
  }

 private:
  static stored decode(wire::payload_view in) {
    if constexpr (std::is_same_v<stored, std::string_view>) {
      return wire::decode_string_view(in);
    } else if constexpr (traits::is_view) {
      return wire::decode_span<typename stored::value_type>(in);
    } else {
      return wire::decode<stored>(in);
    }
  }
  static stored decode_list(std::span<const wire::payload_view> elements) {
    if constexpr (takes_list<stored>) {
      stored list;
      list.reserve(elements.size());
      for (const wire::payload_view& each : elements) list.push_back(wire::decode<typename stored::value_type>(each));
      return list;
    } else {
      fail_list();
    }
  }
  stored value_;
};

/// The same of the one at place I, so that those of one type are different bases.
template <std::size_t I, class P>
struct held_at : held_argument<P> {
  using held_argument<P>::held_argument;
};
/// All of a call, decoded from left to right. No std::tuple: its constructors take long to compile.
template <class... Held>
struct held_arguments : Held... {
  explicit held_arguments([[maybe_unused]] const argument_view* next) : Held(*next++)... {}
};

template <class F, class Signature = typename callable<F>::type>
class registration;

[[noreturn, gnu::cold, gnu::noinline]] inline void fail_count(const function_entry& entry, std::size_t given,
                                                              std::size_t wanted) {
  fail(errc::bad_payload, "the call has " + std::to_string(given) + " payloads where " +
                              wire::detail::type_name(entry.name) + " takes " + std::to_string(wanted));
}

/// The code that a call of F runs. Its address names F, so it refers to F's own entry: a linker that folds functions
/// of the same instructions (lld's --icf=all) then leaves it alone.
template <class F>
wire::payload run_thunk(const invocation& call) {
  using signature = typename callable<F>::type;
  using parameters = typename signature::parameters;
  using travels = travelling<parameters>;
  constexpr std::size_t first = carries_state<F> ? 1 : 0;
  if (call.arguments.size() != travels::count + first) {
    fail_count(registration<F>::get(), call.arguments.size(), travels::count + first);
  }
  return [&]<std::size_t... I>(std::index_sequence<I...>) {
    [[maybe_unused]] held_arguments<held_at<I, std::tuple_element_t<I, parameters>>...> held(call.arguments.data() +
                                                                                             first);
    const auto invoke = [&](auto& f) -> decltype(auto) {
      if (call.began != nullptr) *call.began = true;
      if constexpr (travels::takes_stop_token) {
        return f(static_cast<held_at<I, std::tuple_element_t<I, parameters>>&>(held).pass()..., call.stop);
      } else {
        return f(static_cast<held_at<I, std::tuple_element_t<I, parameters>>&>(held).pass()...);
      }
    };
    const auto encode_result = [&](auto& f) {
      using result = sent_result<typename signature::result>;
      if constexpr (result::is_generator) {
        auto items = invoke(f);
        for (const auto& item : items) call.items->put(wire::encode(item));
        return wire::payload{};
      } else {
        const auto finish = [&]() -> typename result::type {
          if constexpr (result::is_task) {
            return sync_wait(invoke(f), call.stop);
          } else {
            return invoke(f);
          }
        };
        if constexpr (std::is_void_v<typename result::type>) {
          finish();
          return wire::payload{};
        } else {
          return wire::encode(finish());
        }
      }
    };
    if constexpr (carries_state<F>) {
      F f = wire::decode<F>(call.arguments[0].value);
      return encode_result(f);
    } else {
      F f{};
      return encode_result(f);
    }
  }(std::make_index_sequence<travels::count>());
}

/// An entry that puts itself into the table when it is constructed.
struct registered_entry : function_entry {
  [[gnu::noinline]] registered_entry(thunk run_it, const char* mangled, const wire::hash128& hash) noexcept
      : function_entry(run_it, mangled, hash) {
    add_function(*this);
  }
};

/// The entry of F in the function table. Whoever calls get() anywhere causes it to be there before main.
template <class F, class R, class... A>
class registration<F, signature<R, A...>> {
 public:
  static const function_entry& get() noexcept { return entry; }

 private:
  static inline const registered_entry entry{&run_thunk<F>, typeid(F).name(),
                                             signature_hash(std::type_identity<R(A...)>())};
};

}  // namespace rh::detail
