// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/function/pretty_name.hpp>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <typeinfo>
#include <utility>

namespace rh {

namespace detail {

/// What is pinned in this process.
class pins {
 public:
  [[gnu::visibility("default")]] static pins& instance() {
    static pins& all = *new pins;  // never destroyed: what is pinned may need what static destructors take down
    return all;
  }
  template <class T, class Make>
  T& get(std::string_view key, Make&& make) {
    const std::lock_guard lock(mutex_);
    auto found = all_.find(key);
    if (found == all_.end()) {
      auto made = std::make_shared<T>(std::forward<Make>(make)());
      found = all_.emplace(key, pin{&typeid(T), std::move(made)}).first;
    }
    if (*found->second.type != typeid(T)) {
      fail(errc::pin_type, "'" + std::string(key) + "' is pinned as " + pretty_name(found->second.type->name()) + ", and was asked for as " +
                               pretty_name(typeid(T).name()) + "; one key has one type");
    }
    return *static_cast<T*>(found->second.value.get());
  }

 private:
  struct pin {
    const std::type_info* type;
    std::shared_ptr<void> value;
  };
  std::recursive_mutex mutex_;  // to make one may take another
  std::map<std::string, pin, std::less<>> all_;
};

}  // namespace detail

/// What make() gave when this was first called with `key` in this process: in a worker, something that is expensive to
/// make, and the same for many calls, such as a model's weights.
///
///     auto& net = rh::pin<network>("resnet", [] { return load_network("resnet.bin"); });
///
/// Each worker makes its own; they last as long as the worker, which is not forever, so a pin promises speed and nothing else.
/// Lifetime: the process. Any thread, one at a time: others wait while one makes.
/// Errors: those of make(), which is called again next time; errc::pin_type if the key is another type's.
template <class T, class Make>
T& pin(std::string_view key, Make&& make) {
  return detail::pins::instance().get<T>(key, std::forward<Make>(make));
}

}  // namespace rh
