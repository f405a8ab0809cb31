// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/wire/payload.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace rh::detail {

/// A counted reference to a T that counts its own references.
template <class T>
class counted {
 public:
  counted() noexcept = default;
  explicit counted(T* object) noexcept : object_(object) {
    if (object_ != nullptr) object_->add_reference();
  }
  counted(const counted& other) noexcept : counted(other.object_) {}
  counted(counted&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  template <class U>
    requires std::is_convertible_v<U*, T*>
  counted(const counted<U>& other) noexcept : counted(other.get()) {}  // NOLINT: as a pointer converts
  counted& operator=(counted other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~counted() {
    if (object_ != nullptr) object_->drop_reference();
  }

  T* operator->() const noexcept { return object_; }
  T& operator*() const noexcept { return *object_; }
  T* get() const noexcept { return object_; }
  explicit operator bool() const noexcept { return object_ != nullptr; }

 private:
  T* object_ = nullptr;
};

struct call_outcome;
class call_state;

/// Who is told that something has ended.
class end_waiter {
 public:
  /// Once. On the strand.
  virtual void ended() noexcept = 0;

 protected:
  ~end_waiter() = default;
};

/// Something under way that ends once, and who waits for it: one, unless a derived class has room for more.
class pending {
 public:
  pending() = default;
  pending(const pending&) = delete;
  pending& operator=(const pending&) = delete;

  bool has_ended() const noexcept { return waiter_.load(std::memory_order_acquire) == ended_mark(); }
  /// False if it has ended already, so that nobody will call `w`.
  virtual bool wait(end_waiter& w) noexcept {
    end_waiter* nobody = nullptr;
    return waiter_.compare_exchange_strong(nobody, &w, std::memory_order_acq_rel);
  }
  /// True if `w` was withdrawn; false if w.ended() is being, or will be, called.
  virtual bool withdraw(end_waiter& w) noexcept {
    end_waiter* mine = &w;
    return waiter_.compare_exchange_strong(mine, nullptr, std::memory_order_acq_rel);
  }
  /// Asks for its end; what it gives does not matter any more. Any thread, any number of times.
  virtual void cancel() noexcept = 0;
  /// It goes on though nobody will take its result. Any thread, any number of times.
  virtual void detach() noexcept {}
  /// What call `index` of those it is made of gave, until the end of this object; or throws what it failed with.
  /// `segments` holds what the view refers to. Precondition: has_ended().
  virtual wire::payload_view result(std::size_t index, std::vector<std::span<const std::byte>>& segments) = 0;
  /// The value that call `index` gave, if it was received as the type that its caller said: then there is no result().
  /// Precondition: has_ended().
  virtual void* received(std::size_t index) noexcept { return static_cast<void>(index), nullptr; }
  /// Where the result of the only call is, if that is a file; else null. Precondition: it has given a value.
  virtual std::shared_ptr<const wire::payload_file> in_file() const noexcept { return nullptr; }
  /// Where the value of call `index` comes from. Precondition: it has given one.
  virtual call_origin origin(std::size_t index) const { return static_cast<void>(index), call_origin{}; }
  /// What it failed with; null if it gave a value. Precondition: has_ended().
  virtual const call_outcome* failure() const noexcept { return nullptr; }
  /// The call whose result it is; null if it is none's.
  virtual const call_state* maker() const noexcept { return nullptr; }
  /// Asks how many calls are before it in its queue. Null if it is no call.
  virtual counted<pending> queue_place() { return {}; }
  /// Of how many calls this is made, and how many of them have ended. Any thread.
  virtual std::size_t calls_made() const noexcept { return 1; }
  virtual std::size_t calls_ended() const noexcept { return has_ended() ? 1 : 0; }

 protected:
  virtual ~pending() = default;
  /// After the outcome is in place.
  void end() noexcept {
    end_waiter* w = waiter_.exchange(ended_mark(), std::memory_order_acq_rel);
    if (w != nullptr && w != ended_mark()) w->ended();
  }

 private:
  template <class T>
  friend class counted;
  void add_reference() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
  void drop_reference() noexcept {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }
  static end_waiter* ended_mark() noexcept { return reinterpret_cast<end_waiter*>(std::uintptr_t{1}); }

  std::atomic<unsigned> references_{0};
  std::atomic<end_waiter*> waiter_{nullptr};
};

}  // namespace rh::detail
