// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/wire/archive_writer.hpp>
#include <runhouse/wire/payload_reader.hpp>

#include <cstring>
#include <map>
#include <set>
#include <utility>

namespace rh::wire {

/// A cereal archive that reads what archive_writer wrote, from bytes that may be anything: nothing is allocated for an
/// announced count before that many elements could be there, nesting is bounded, and a shared pointer is only read
/// back as the type that it was first read as.
///
/// Lifetime: the payload's memory outlives the reader.
/// Errors:
///   errc::bad_payload  every way in which the bytes can be wrong; the message says which
class archive_reader : public cereal::InputArchive<archive_reader>, public payload_reader {
 public:
  explicit archive_reader(payload_view in) : cereal::InputArchive<archive_reader>(this), payload_reader(in) {}

 private:
  friend struct detail::reader_hooks;

  std::uint64_t position() const noexcept { return ~bytes_left(); }  // grows by what is consumed

  std::size_t depth_ = 0;
  detail::element_counts counts_;
  struct shared_object {
    std::shared_ptr<void> object;  // null until it is constructed
    std::type_index type;
  };
  std::vector<shared_object> shared_objects_;
  const std::type_info* pointer_to_ = nullptr;  // the T of the polymorphic unique_ptr<T> being read
};

// ---- implementation

namespace detail {

struct reader_hooks {
  template <class T>
  static void enter(archive_reader& ar, const T&) {
    if constexpr (counts_depth<T>) {
      enter_object(ar);
    } else if constexpr (counted_container<T>) {
      ar.counts_.enter(min_encoded_bytes<typename T::value_type>);
    } else if constexpr (is_unique_ptr<T>) {
      ar.pointer_to_ = std::is_polymorphic_v<typename T::element_type> ? &typeid(typename T::element_type) : nullptr;
    }
  }
  template <class T>
  static void leave(archive_reader& ar, const T&) {
    if constexpr (counts_depth<T>) {
      leave_object(ar);
    } else if constexpr (counted_container<T>) {
      if (!ar.counts_.leave(ar.position())) fail_empty_elements(typeid(T));
    }
  }
  static void enter_object(archive_reader& ar) {
    if (++ar.depth_ > limits::archive_depth) fail_depth();
  }
  static void leave_object(archive_reader& ar) noexcept { --ar.depth_; }

  static std::size_t read_count(archive_reader& ar) {
    const std::size_t count = ar.read_count(ar.counts_.min_element_bytes());
    ar.counts_.count(count, ar.position());
    return count;
  }

  static const std::type_info* take_pointer_to(archive_reader& ar) noexcept {
    return std::exchange(ar.pointer_to_, nullptr);
  }
  /// Makes room for a new object with that id; its index.
  static std::size_t announce(archive_reader& ar, std::uint32_t id, std::type_index type) {
    if (id != ar.shared_objects_.size() + 1) fail(errc::bad_payload, "a shared pointer has an id out of order");
    ar.shared_objects_.push_back({nullptr, type});
    return ar.shared_objects_.size() - 1;
  }
  static void publish(archive_reader& ar, std::size_t index, std::shared_ptr<void> object) {
    ar.shared_objects_[index].object = std::move(object);
  }
  static const std::shared_ptr<void>& shared(const archive_reader& ar, std::uint32_t id, std::type_index type) {
    if (id > ar.shared_objects_.size()) fail(errc::bad_payload, "a shared pointer refers to an object that did not come");
    const auto& found = ar.shared_objects_[id - 1];
    if (found.type != type) {
      fail(errc::bad_payload, "a shared pointer to " + type_name(type.name()) + " refers to an object of another type");
    }
    if (!found.object) fail(errc::bad_payload, "a shared pointer refers to an object that is not yet constructed");
    return found.object;
  }
};

}  // namespace detail

// What follows is found by cereal through argument-dependent lookup.

template <class T>
typename detail::check_supported<T, cereal::traits::is_input_serializable<T, archive_reader>::value>::type prologue(
    archive_reader& ar, const T& value) {
  detail::reader_hooks::enter(ar, value);
}
template <class T>
void epilogue(archive_reader& ar, const T& value) {
  detail::reader_hooks::leave(ar, value);
}

template <detail::scalar T>
void load(archive_reader& ar, T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    value = ar.read_bool();
  } else {
    ar.read(&value, sizeof value);
  }
}
template <class T>
  requires detail::is_refused<T>
void load(archive_reader&, T&) {}  // prologue has said why not
template <class T>
void serialize(archive_reader&, T*&) {}
template <class T>
void serialize(archive_reader& ar, cereal::NameValuePair<T>& pair) {
  ar(pair.value);
}
template <class T>
void serialize(archive_reader& ar, cereal::SizeTag<T>& tag) {
  tag.size = static_cast<std::remove_reference_t<T>>(detail::reader_hooks::read_count(ar));
}
template <class T>
void load(archive_reader& ar, cereal::BinaryData<T>& block) {
  using element = detail::element_of_block<T>;
  const auto bytes = ar.raw(static_cast<std::size_t>(block.size), alignof(element));
  if (!bytes.empty()) std::memcpy(block.data, bytes.data(), bytes.size());
}

namespace detail {

/// Fills a vector or string of raw elements, without zeroing it first.
template <class Container>
void load_elements(payload_reader& in, Container& to) {
  using element = typename Container::value_type;
  buffer aligned;
  const std::span<const std::byte> bytes = in.elements(sizeof(element), alignof(element), aligned);
  const auto* elements = reinterpret_cast<const element*>(bytes.data());
  to.assign(elements, elements + bytes.size() / sizeof(element));
}

}  // namespace detail

template <class C, class Traits, class A>
void load(archive_reader& ar, std::basic_string<C, Traits, A>& text) {
  detail::load_elements(ar, text);
}
template <class T, class A>
  requires(!std::is_same_v<T, bool>)
void load(archive_reader& ar, std::vector<T, A>& elements) {
  if constexpr (is_raw_v<T>) {
    detail::load_elements(ar, elements);
  } else {
    cereal::size_type announced = 0;
    ar(cereal::make_size_tag(announced));
    const auto count = static_cast<std::size_t>(announced);
    elements.clear();
    // all at once, as far as the bytes that have come justify it: cereal tells virtual bases apart by address
    constexpr std::size_t credit = 64;
    elements.reserve(std::min<std::uint64_t>(count, ar.bytes_left() * credit / sizeof(T)));
    for (std::size_t i = 0; i < count; ++i) ar(elements.emplace_back());
  }
}
// cereal's own insert each element before the last one, and so turn round the order of those that are equal.
template <class K, class V, class C, class A>
void load(archive_reader& ar, std::multimap<K, V, C, A>& items) {
  cereal::size_type count = 0;
  ar(cereal::make_size_tag(count));
  items.clear();
  for (; count > 0; --count) {
    K key{};
    V value{};
    ar(key, value);
    items.emplace_hint(items.end(), std::move(key), std::move(value));
  }
}
template <class K, class C, class A>
void load(archive_reader& ar, std::multiset<K, C, A>& elements) {
  cereal::size_type count = 0;
  ar(cereal::make_size_tag(count));
  elements.clear();
  for (; count > 0; --count) {
    K element{};
    ar(element);
    elements.emplace_hint(elements.end(), std::move(element));
  }
}
template <class T, std::size_t N>
  requires is_raw_v<T>
void load(archive_reader& ar, std::array<T, N>& elements) {
  if constexpr (N > 0) std::memcpy(static_cast<void*>(elements.data()), ar.raw(sizeof elements, alignof(T)).data(), sizeof elements);
}
template <class T, std::size_t N>
  requires is_raw_v<T>
void serialize(archive_reader& ar, T (&elements)[N]) {
  std::memcpy(static_cast<void*>(elements), ar.raw(sizeof elements, alignof(T)).data(), sizeof elements);
}
template <detail::opted_in_raw T>
void load(archive_reader& ar, T& value) {
  std::memcpy(static_cast<void*>(&value), ar.raw(sizeof value, alignof(T)).data(), sizeof value);
}
template <detail::block_valarray T>
void serialize(archive_reader& ar, T& elements) {
  using element = typename T::value_type;
  cereal::size_type count = 0;
  ar(cereal::make_size_tag(count));
  elements.resize(count);
  if (count == 0) return;
  const auto bytes = ar.raw(count * sizeof(element), alignof(element));
  std::memcpy(&elements[0], bytes.data(), bytes.size());
}

}  // namespace rh::wire

template <rh::wire::detail::opted_in_raw T>
struct cereal::specialize<rh::wire::archive_reader, T, cereal::specialization::non_member_load_save> : std::true_type {};
template <rh::wire::detail::block_valarray T>
struct cereal::specialize<rh::wire::archive_reader, T, cereal::specialization::non_member_serialize> : std::true_type {};

#include <runhouse/wire/detail/load_pointers.hpp>

CEREAL_SETUP_ARCHIVE_TRAITS(rh::wire::archive_reader, rh::wire::archive_writer)
CEREAL_REGISTER_ARCHIVE(rh::wire::archive_reader)
