// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/wire/archive_reader.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <type_traits>
#include <typeindex>
#include <utility>

// Reading of smart pointers and of objects that are constructed from what is read, in place of cereal's: its own reads
// an id that was given to an A as a pointer to a B, hands out objects before they are constructed, and leaks what it
// holds when the bytes end in the middle. Included by archive_reader.hpp only.

namespace rh::wire::detail {

/// Names cereal's wrapper below, so that it may make a cereal::construct.
template <class T>
struct in_place;

/// Runs the user's load_and_construct on `storage`; `constructed` is called as soon as there is an object.
template <class T>
void load_and_construct(archive_reader& ar, T* storage, std::function<void()> constructed);

template <class T>
struct free_storage {
  void operator()(T* storage) const noexcept {
    if constexpr (alignof(T) > __STDCPP_DEFAULT_NEW_ALIGNMENT__) {
      ::operator delete(storage, std::align_val_t{alignof(T)});
    } else {
      ::operator delete(storage);
    }
  }
};
/// Memory for a T, as `new T` would take it.
template <class T>
std::unique_ptr<T, free_storage<T>> allocate_storage() {
  if constexpr (alignof(T) > __STDCPP_DEFAULT_NEW_ALIGNMENT__) {
    return std::unique_ptr<T, free_storage<T>>(static_cast<T*>(::operator new(sizeof(T), std::align_val_t{alignof(T)})));
  } else {
    return std::unique_ptr<T, free_storage<T>>(static_cast<T*>(::operator new(sizeof(T))));
  }
}

/// A T on the heap, as its type wants to be made: from what is read, or by its default constructor, public or not.
/// `take` is given the object as soon as it exists, and owns it.
template <class T, class Take>
void load_object(archive_reader& ar, Take take) {
  if constexpr (cereal::traits::has_load_and_construct<T, archive_reader>::value) {
    reader_hooks::enter_object(ar);
    auto storage = allocate_storage<T>();
    T* const at = storage.get();
    detail::load_and_construct<T>(ar, at, [&] { take(storage.release()); });
    if (storage) fail(errc::bad_payload, type_name(typeid(T)) + "'s load_and_construct constructed nothing");
    reader_hooks::leave_object(ar);
  } else {
    T* const object = cereal::detail::Construct<T, archive_reader>::load_andor_construct();
    take(object);
    ar(*object);
  }
}

/// Whether a Derived, read by its name, may be held by a pointer to the type `base`. A template, as cereal's list of
/// such relations is only known where the user included cereal/types/polymorphic.hpp.
template <class Derived, class Casters>
bool derives_from(const std::type_info& base) {
  return base == typeid(Derived) || Casters::lookup_if_exists(base, typeid(Derived)).first;
}

}  // namespace rh::wire::detail

template <class T>
struct cereal::memory_detail::LoadAndConstructLoadWrapper<rh::wire::archive_reader, rh::wire::detail::in_place<T>> {
  static void run(rh::wire::archive_reader& ar, T* storage, std::function<void()> constructed) {
    cereal::construct<T> construct(storage, std::move(constructed));
    cereal::detail::Construct<T, rh::wire::archive_reader>::load_andor_construct(ar, construct);
  }
};

namespace rh::wire {

template <class T>
void detail::load_and_construct(archive_reader& ar, T* storage, std::function<void()> constructed) {
  cereal::memory_detail::LoadAndConstructLoadWrapper<archive_reader, in_place<T>>::run(ar, storage,
                                                                                       std::move(constructed));
}

template <class T>
void load(archive_reader& ar, cereal::memory_detail::PtrWrapper<std::shared_ptr<T>&>& wrapper) {
  using object_type = std::remove_const_t<T>;
  std::uint32_t id = 0;
  ar(id);
  if (id == 0) {
    wrapper.ptr.reset();
  } else if ((id & cereal::detail::msb_32bit) == 0) {
    wrapper.ptr = std::static_pointer_cast<T>(detail::reader_hooks::shared(ar, id, typeid(T)));
  } else {
    const std::size_t index = detail::reader_hooks::announce(ar, id & ~cereal::detail::msb_32bit, typeid(T));
    std::shared_ptr<object_type> pointer;
    detail::load_object<object_type>(ar, [&](object_type* object) {
      pointer.reset(object);
      detail::reader_hooks::publish(ar, index, pointer);
    });
    wrapper.ptr = std::move(pointer);
  }
}

template <class T, class D>
void load(archive_reader& ar, cereal::memory_detail::PtrWrapper<std::unique_ptr<T, D>&>& wrapper) {
  using object_type = std::remove_const_t<T>;
  const std::type_info* base = detail::reader_hooks::take_pointer_to(ar);
  if constexpr (std::is_polymorphic_v<T>) {
    if (base != nullptr && !detail::derives_from<T, cereal::detail::PolymorphicCasters>(*base)) {
      fail(errc::bad_payload, detail::type_name(typeid(T)) + " is not registered as derived from " +
                                  detail::type_name(*base));
    }
  }
  bool has_value = false;
  ar(has_value);
  std::unique_ptr<T, D> pointer;
  if (has_value) detail::load_object<object_type>(ar, [&](object_type* object) { pointer.reset(object); });
  wrapper.ptr = std::move(pointer);
}

}  // namespace rh::wire
