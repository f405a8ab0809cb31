// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/function/function_table.hpp>
#include <runhouse/function/pretty_name.hpp>
#include <runhouse/function/program_objects.hpp>
#include <runhouse/wire/message.hpp>
#include <runhouse/wire/message_stream.hpp>

#include <cxxabi.h>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <typeinfo>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace rh::detail {

/// What a call gives: the head of its outcome, and the result.
struct call_result {
  wire::outcome_head head;
  wire::payload value;
};

/// Finds functions by what a call says of them, once each.
class function_finder {
 public:
  /// Null if this program has none such.
  const function_entry* find(const wire::function_id& id);

  /// Every function, as a worker describes itself.
  static std::vector<wire::function_row> rows();

 private:
  std::unordered_map<std::uint64_t, const function_entry*> by_place_;
};

/// The standard exception that `e` is, exactly; other for types derived from one.
wire::exception_kind kind_of(const std::exception& e) noexcept;

/// Runs one call and catches everything.
call_result run_call(function_finder& functions, const wire::call_head& head, std::span<const argument_view> arguments,
                     std::stop_token stop, item_sink& items);

// ---- implementation

inline const function_entry* function_finder::find(const wire::function_id& id) {
  if (id.object == wire::function_id::by_name) {
    const auto* named = find_function([&](const function_entry& e) { return id.name == e.name; });
    return named != nullptr && is_stable_name(named->name) ? named : nullptr;
  }
  // An address has 48 bits, so that distinct places have distinct keys.
  if (id.object > 0xffff || id.offset >> 48 != 0) return nullptr;
  const std::uint64_t key = std::uint64_t{id.object} << 48 ^ id.offset;
  if (const auto known = by_place_.find(key); known != by_place_.end()) return known->second;
  const auto objects = program_objects();
  if (id.object >= objects.size()) return nullptr;
  const std::uintptr_t address = objects[id.object].base + id.offset;
  const auto* entry = find_function([&](const function_entry& e) { return reinterpret_cast<std::uintptr_t>(e.run) == address; });
  if (entry != nullptr) by_place_.emplace(key, entry);
  return entry;
}

inline std::vector<wire::function_row> function_finder::rows() {
  std::vector<wire::function_row> rows;
  find_function([&](const function_entry& e) {
    const auto place = locate(reinterpret_cast<const void*>(e.run));
    if (place) {
      rows.push_back({wire::function_id{place->first, place->second, {}}, e.signature, e.name, pretty_name(e.name)});
    }
    return false;
  });
  return rows;
}

inline wire::exception_kind kind_of(const std::exception& e) noexcept {
  using wire::exception_kind;
  const std::type_info& type = typeid(e);
  if (type == typeid(std::exception)) return exception_kind::std_exception;
  if (type == typeid(std::logic_error)) return exception_kind::logic_error;
  if (type == typeid(std::invalid_argument)) return exception_kind::invalid_argument;
  if (type == typeid(std::domain_error)) return exception_kind::domain_error;
  if (type == typeid(std::length_error)) return exception_kind::length_error;
  if (type == typeid(std::out_of_range)) return exception_kind::out_of_range;
  if (type == typeid(std::runtime_error)) return exception_kind::runtime_error;
  if (type == typeid(std::range_error)) return exception_kind::range_error;
  if (type == typeid(std::overflow_error)) return exception_kind::overflow_error;
  if (type == typeid(std::underflow_error)) return exception_kind::underflow_error;
  if (dynamic_cast<const std::bad_alloc*>(&e) != nullptr) return exception_kind::bad_alloc;
  if (type == typeid(std::bad_cast)) return exception_kind::bad_cast;
  if (type == typeid(std::bad_typeid)) return exception_kind::bad_typeid;
  if (type == typeid(std::bad_optional_access)) return exception_kind::bad_optional_access;
  if (type == typeid(std::bad_variant_access)) return exception_kind::bad_variant_access;
  if (type == typeid(std::bad_function_call)) return exception_kind::bad_function_call;
  return exception_kind::other;
}

namespace worker_detail {

/// So that the head of an outcome fits a frame whatever was thrown.
inline std::string bounded(std::string text) {
  if (text.size() > limits::outcome_text_bytes) text.resize(limits::outcome_text_bytes);
  return text;
}

inline call_result refuse(errc code, std::string what) {
  call_result out;
  out.head.kind = wire::outcome_kind::error;
  out.head.code = static_cast<std::uint32_t>(code);
  out.head.what = bounded(std::move(what));
  return out;
}

inline call_result thrown(wire::exception_kind kind, std::string what) {
  call_result out;
  out.head.kind = wire::outcome_kind::exception;
  out.head.code = static_cast<std::uint32_t>(kind);
  const std::type_info* type = abi::__cxa_current_exception_type();
  out.head.type_name = type != nullptr ? bounded(demangled(type->name())) : "unknown";
  out.head.what = bounded(std::move(what));
  return out;
}

inline std::string unknown(const wire::function_id& id) {
  const std::string build = short_text(program_identity());
  if (id.object == wire::function_id::by_name) {
    // A demangler recurses as deep as a name wants, and this one may be anything.
    const std::string name = id.name.size() <= 1024 ? pretty_name(id.name.c_str()) : "of that name,";
    return "the program there (build " + build + ") has no function " + name +
           " that other builds can call: it needs external linkage, and a send of it in that program";
  }
  return "the program there (build " + build + ") has no such function: is the same program running on both sides?";
}

}  // namespace worker_detail

inline call_result run_call(function_finder& functions, const wire::call_head& head, std::span<const argument_view> arguments,
                            std::stop_token stop, item_sink& items) {
  using namespace worker_detail;
  bool began = false;
  try {
    const function_entry* entry = functions.find(head.function);
    if (entry == nullptr) return refuse(errc::unknown_function, unknown(head.function));
    if (entry->signature != head.signature) {
      return refuse(errc::signature_mismatch, pretty_name(entry->name) + " has other parameter or result types there");
    }
    call_result out;
    out.value = entry->run(invocation{arguments, std::move(stop), &items, &began});
    out.head.result = wire::shape_of(out.value);
    return out;
  } catch (const error& e) {
    if (e.code().category() == error_category()) {
      call_result out = refuse(e.kind(), e.what());
      out.head.ran = began;
      return out;
    }
    return thrown(wire::exception_kind::other, e.what());
  } catch (const std::exception& e) {
    return thrown(kind_of(e), e.what());
  } catch (...) {
    return thrown(wire::exception_kind::other, "");
  }
}

}  // namespace rh::detail
