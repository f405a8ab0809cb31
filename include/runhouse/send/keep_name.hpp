// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/cluster/cluster.hpp>
#include <runhouse/function/signature_hash.hpp>
#include <runhouse/rpc/kept_name.hpp>
#include <runhouse/rpc/session.hpp>
#include <runhouse/rpc/value_holder.hpp>
#include <runhouse/send/call.hpp>
#include <runhouse/wire/archive.hpp>

#include <array>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

namespace rh {

/// A name that is about to be given to a value: co_await it, or get(). It is given when that begins.
/// Errors: errc::name_taken, unless it may replace() what has the name; errc::unknown_name where it is empty.
class [[nodiscard("the value gets its name when this is awaited")]] keep_name {
 public:
  using queue_aware = void;
  keep_name(std::shared_ptr<const detail::value_holder> value, std::string name, detail::value_type type)
      : value_(std::move(value)), name_(std::move(name)), type_(std::move(type)) {}

  /// What has the name so far is no longer kept by it.
  keep_name& replace() & noexcept { return replaces_ = true, *this; }
  keep_name&& replace() && noexcept { return replaces_ = true, std::move(*this); }

  detail::call_awaiter<void> operator co_await() const { return ask().operator co_await(); }
  /// Blocks. Errors: also errc::would_deadlock inside a task.
  void get() const { ask().get(); }

 private:
  call<void> ask() const {
    detail::node_request request;
    request.of = value_;
    request.question = detail::name_question(wire::session_topic::keep_name, name_, type_);
    request.question.numbers.insert(request.question.numbers.begin(), replaces_ ? 1 : 0);
    return {value_->where()->ask(std::move(request)), &detail::take_one<void>};
  }

  std::shared_ptr<const detail::value_holder> value_;
  std::string name_;
  detail::value_type type_;
  bool replaces_ = false;
};

namespace detail {

/// Whether a type is made of nothing but arithmetic and standard types, and so is the same in every program.
template <class T>
struct standard_value {
  static bool is() noexcept { return std::is_arithmetic_v<T> || std::is_same_v<T, std::byte>; }
};
template <template <class...> class Template, class... T>
struct standard_value<Template<T...>> {
  static bool is() noexcept {
    const std::string_view name = typeid(Template<T...>).name();
    return (name.starts_with("S") || name.starts_with("NSt")) && (standard_value<T>::is() && ...);
  }
};
template <class C>
struct standard_value<std::char_traits<C>> : standard_value<C> {};
template <class T, std::size_t N>
struct standard_value<std::array<T, N>> : standard_value<T> {};

template <class T>
value_type value_type_of() {
  value_type type;
  type.mangled = typeid(T).name();
  type.layout = signature_hash(std::type_identity<T()>());
  type.version = wire::class_version<T>();
  type.kind = standard_value<T>::is() ? value_type::kinds::standard : type.version != 0 ? value_type::kinds::versioned : value_type::kinds::of_program;
  return type;
}

}  // namespace detail

inline call<bool> cluster::forget(std::string name) const {
  detail::node_request request;
  request.question.what = static_cast<std::uint32_t>(wire::session_topic::forget_name);
  request.question.texts = {std::move(name)};
  return {session_->ask(std::move(request)), &detail::take_one<bool>};
}

inline call<std::vector<kept_name>> cluster::names() const {
  detail::node_request request;
  request.question.what = static_cast<std::uint32_t>(wire::session_topic::list_names);
  return {session_->ask(std::move(request)), &detail::take_one<std::vector<kept_name>>};
}

}  // namespace rh
