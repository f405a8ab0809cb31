// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/core/limits.hpp>
#include <runhouse/wire/detail/element_count.hpp>
#include <runhouse/wire/detail/refused.hpp>
#include <runhouse/wire/payload_writer.hpp>
#include <runhouse/wire/raw.hpp>

#include <runhouse/wire/detail/cereal.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <typeindex>
#include <utility>
#include <vector>

namespace rh::wire {

/// A cereal archive that writes a payload. What it writes, all little-endian, nothing aligned but raw blocks:
///
///     arithmetic           its bytes; bool is one byte, 0 or 1
///     enum                 as its underlying type
///     a count (SizeTag)    u64
///     raw block            0 bytes: nothing. From limits::segment_bytes on, and as long as the payload has fewer than
///                          limits::segments segments: the next segment, nothing in the stream. Else in the stream:
///                          zero bytes up to a multiple of the element's alignment, counted from the stream's
///                          beginning, then the bytes
///     vector<raw>, string, span<const raw>, string_view      count, raw block
///     array<raw, N>, raw[N], an opted-in struct, cereal::binary_data      raw block
///     unique_ptr           u8 0; or u8 1, the object
///     shared_ptr           u32 0; or u32 id (1, 2, ...) of one that came before; or u32 id | 0x80000000, the object
///     everything else      what cereal's functions for it write, in their order, without names
///
/// Lifetime: shared pointers written are held until the writer ends, so that no address is used twice.
/// Errors:
///   errc::bad_payload  nested deeper than limits::archive_depth; elements of a container that encode to nothing
class archive_writer : public cereal::OutputArchive<archive_writer>, public payload_writer {
 public:
  archive_writer() : cereal::OutputArchive<archive_writer>(this) {}

 private:
  friend struct detail::archive_hooks;

  std::size_t depth_ = 0;
  detail::element_counts counts_;
  // by type as well as by address, since an object and its first member have the same one
  std::map<std::pair<const void*, std::type_index>, std::uint32_t> pointer_ids_;
  std::vector<std::shared_ptr<const void>> kept_alive_;
};

// ---- implementation

namespace detail {

/// What cereal calls around each value, and what the two archives' pointers need of them.
struct archive_hooks {
  template <class T>
  static void enter(archive_writer& ar, const T& value) {
    if constexpr (counts_depth<T>) {
      if (++ar.depth_ > limits::archive_depth) fail_depth();
    } else if constexpr (counted_container<T>) {
      ar.counts_.enter(min_encoded_bytes<typename T::value_type>);
    } else if constexpr (is_shared_ptr<T>) {
      // cereal wraps what a polymorphic pointer points to in a pointer that owns nothing
      if constexpr (std::is_polymorphic_v<typename T::element_type>) keep_alive(ar, value);
    }
  }
  template <class T>
  static void leave(archive_writer& ar, const T&) {
    if constexpr (counts_depth<T>) {
      --ar.depth_;
    } else if constexpr (counted_container<T>) {
      if (!ar.counts_.leave(ar.position())) fail_empty_elements(typeid(T));
    }
  }
  static void write_count(archive_writer& ar, std::uint64_t count) {
    ar.write_count(count);
    ar.counts_.count(count, ar.position());
  }
  template <class T>
  static void keep_alive(archive_writer& ar, const std::shared_ptr<T>& pointer) {
    if (pointer) ar.kept_alive_.push_back(std::shared_ptr<const void>(pointer, pointer.get()));
  }
  /// The id of an object, and whether it is new.
  static std::pair<std::uint32_t, bool> pointer_id(archive_writer& ar, const void* object, std::type_index type) {
    const auto next = static_cast<std::uint32_t>(ar.pointer_ids_.size() + 1);
    const auto [at, is_new] = ar.pointer_ids_.try_emplace({object, type}, next);
    return {at->second, is_new};
  }
};

}  // namespace detail

// What follows is found by cereal through argument-dependent lookup.

template <class T>
typename detail::check_supported<T, cereal::traits::is_output_serializable<T, archive_writer>::value>::type prologue(
    archive_writer& ar, const T& value) {
  detail::archive_hooks::enter(ar, value);
}
template <class T>
void epilogue(archive_writer& ar, const T& value) {
  detail::archive_hooks::leave(ar, value);
}

template <detail::scalar T>
void save(archive_writer& ar, const T& value) {
  ar.write(&value, sizeof value);
}
template <class T>
  requires detail::is_refused<T>
void save(archive_writer&, const T&) {}  // prologue has said why not
template <class T>
void serialize(archive_writer&, T*&) {}
template <class T>
void serialize(archive_writer& ar, cereal::NameValuePair<T>& pair) {
  ar(pair.value);
}
template <class T>
void serialize(archive_writer& ar, cereal::SizeTag<T>& tag) {
  detail::archive_hooks::write_count(ar, static_cast<std::uint64_t>(tag.size));
}
template <class T>
void save(archive_writer& ar, const cereal::BinaryData<T>& block) {
  using element = detail::element_of_block<T>;
  ar.write_raw(block.data, static_cast<std::size_t>(block.size), alignof(element));
}

template <class C, class Traits, class A>
void save(archive_writer& ar, const std::basic_string<C, Traits, A>& text) {
  ar.write_elements(text.data(), text.size(), sizeof(C), alignof(C));
}
template <class C, class Traits>
void save(archive_writer& ar, const std::basic_string_view<C, Traits>& text) {
  ar.write_elements(text.data(), text.size(), sizeof(C), alignof(C));
}
template <class T, std::size_t N>
  requires is_raw_v<T>
void save(archive_writer& ar, const std::span<T, N>& elements) {
  ar.write_elements(elements.data(), elements.size(), sizeof(T), alignof(T));
}
template <class T, class A>
  requires(!std::is_same_v<T, bool>)
void save(archive_writer& ar, const std::vector<T, A>& elements) {
  if constexpr (is_raw_v<T>) {
    ar.write_elements(elements.data(), elements.size(), sizeof(T), alignof(T));
  } else {
    ar(cereal::make_size_tag(static_cast<cereal::size_type>(elements.size())));
    for (const T& element : elements) ar(element);
  }
}
template <class T, std::size_t N>
  requires is_raw_v<T>
void save(archive_writer& ar, const std::array<T, N>& elements) {
  ar.write_raw(elements.data(), N * sizeof(T), alignof(T));
}
template <class T, std::size_t N>
  requires is_raw_v<T>
void serialize(archive_writer& ar, T (&elements)[N]) {
  ar.write_raw(elements, sizeof elements, alignof(T));
}
template <detail::opted_in_raw T>
void save(archive_writer& ar, const T& value) {
  ar.write_raw(&value, sizeof value, alignof(T));
}
template <detail::block_valarray T>
void serialize(archive_writer& ar, T& elements) {
  using element = typename T::value_type;
  const std::size_t count = elements.size();
  ar(cereal::make_size_tag(static_cast<cereal::size_type>(count)));
  if (count > 0) ar.write_raw(&elements[0], count * sizeof(element), alignof(element));
}

template <class T>
void save(archive_writer& ar, const cereal::memory_detail::PtrWrapper<const std::shared_ptr<T>&>& wrapper) {
  const std::shared_ptr<T>& pointer = wrapper.ptr;
  if (!pointer) {
    ar(std::uint32_t{0});
    return;
  }
  detail::archive_hooks::keep_alive(ar, pointer);
  const auto [id, is_new] = detail::archive_hooks::pointer_id(ar, pointer.get(), typeid(T));
  ar(is_new ? id | cereal::detail::msb_32bit : id);
  if (is_new) ar(*pointer);
}

}  // namespace rh::wire

template <rh::wire::detail::opted_in_raw T>
struct cereal::specialize<rh::wire::archive_writer, T, cereal::specialization::non_member_load_save> : std::true_type {};
template <rh::wire::detail::block_valarray T>
struct cereal::specialize<rh::wire::archive_writer, T, cereal::specialization::non_member_serialize> : std::true_type {};

CEREAL_REGISTER_ARCHIVE(rh::wire::archive_writer)
