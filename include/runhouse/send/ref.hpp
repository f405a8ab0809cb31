// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/cluster/cluster.hpp>
#include <runhouse/core/error.hpp>
#include <runhouse/function/callable.hpp>
#include <runhouse/rpc/session.hpp>
#include <runhouse/rpc/value_holder.hpp>
#include <runhouse/send/call.hpp>
#include <runhouse/send/keep_name.hpp>
#include <runhouse/wire/archive.hpp>

#include <memory>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace rh {

/// A handle to a value that lives on a cluster, or will: the result of send::remote, or what cluster::put took there.
/// Given as an argument of a send of the same cluster it stands for the value, which does not come home; so does a
/// std::vector of refs, for a std::vector. Await it, or get(), for the value itself, as often as you like: each time it
/// is fetched anew.
///
/// Lifetime: the value is kept for its refs, which are copied like a std::shared_ptr, and for every unfinished call
/// that takes it. When the last of these is gone it is freed, and if it is not there yet, the call that makes it is
/// cancelled. Cancellation: cancelling the awaiting task ends the await only.
/// Errors, at the await: as those of rh::call. errc::already_taken if this ref was moved from.
template <class T>
class [[nodiscard("a value that nobody refers to is not kept")]] ref {
 public:
  using value_type = T;
  using queue_aware = void;

  explicit ref(std::shared_ptr<const detail::value_holder> to) noexcept : to_(std::move(to)) {}

  detail::call_awaiter<T> operator co_await() const { return fetch().operator co_await(); }
  /// Blocks until the value is there. Errors: as the await; errc::would_deadlock inside a task.
  T get() const { return fetch().get(); }
  /// As call::async_get. Needs <runhouse/runhouse.hpp>.
  template <class Token>
  auto async_get(Token&& token) const {
    return fetch().async_get(std::forward<Token>(token));
  }
  /// Asks for the value: a call that ends when it has come, and leaves the value where it is.
  call<T> fetch() const { return {held()->where()->fetch(to_, detail::receiver_of<T>()), &detail::take_one<T>}; }

  /// Lets the call that makes the value run to its end also when nothing refers to the value any more.
  void detach() const { held()->detach(); }

  /// Gives the value a name on its cluster, which keeps it for 24 hours after it was last asked for; cluster::get finds
  /// it, also from other programs. `auto kept = model.keep("model").replace(); co_await kept;`
  keep_name keep(std::string name) const;

  /// True if the value is there, or will never be because its call has failed.
  bool is_ready() const { return held()->value()->has_ended(); }

  const std::shared_ptr<const detail::value_holder>& held() const {
    if (!to_) fail(errc::already_taken, "this ref was moved from");
    return to_;
  }

  template <class Archive>
  void serialize(Archive&) const {
    static_assert(!std::is_class_v<Archive>,
                  "runhouse: an rh::ref inside another value cannot be sent; pass it as an argument of its own");
  }

 private:
  std::shared_ptr<const detail::value_holder> to_;
};

namespace detail {

/// Whether A is an rh::ref, and of what.
template <class A>
inline constexpr bool is_ref = false;
template <class T>
inline constexpr bool is_ref<ref<T>> = true;
template <class A>
inline constexpr bool is_ref_list = false;
template <class T>
inline constexpr bool is_ref_list<std::vector<ref<T>>> = true;

}  // namespace detail

template <class T>
keep_name ref<T>::keep(std::string name) const {
  return keep_name(held(), std::move(name), detail::value_type_of<T>());
}

template <class T>
ref<T> cluster::get(std::string name) const {
  return ref<T>(session_->find(detail::name_question(wire::session_topic::find_name, std::move(name), detail::value_type_of<T>())));
}

template <class T>
auto cluster::put(const T& value) const {
  constexpr bool is_text = std::is_convertible_v<const T&, std::string_view>;
  using taken = std::conditional_t<is_text, std::string_view, const T&>;
  using travels = typename detail::parameter<taken>::travels;
  static_assert(wire::serializable<travels>,
                "runhouse: put() takes a value that can be serialized; give its type a serialize() and a default "
                "constructor");
  if constexpr (wire::serializable<travels>) {
    return ref<travels>(session_->put(std::make_shared<const wire::payload>(wire::encode(static_cast<taken>(value)))));
  }
}

}  // namespace rh
