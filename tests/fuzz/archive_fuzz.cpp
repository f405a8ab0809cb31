// SPDX-License-Identifier: Apache-2.0
#include <runhouse/wire/archive.hpp>

#include <cereal/types/base_class.hpp>
#include <cereal/types/bitset.hpp>
#include <cereal/types/chrono.hpp>
#include <cereal/types/deque.hpp>
#include <cereal/types/forward_list.hpp>
#include <cereal/types/list.hpp>
#include <cereal/types/map.hpp>
#include <cereal/types/memory.hpp>
#include <cereal/types/polymorphic.hpp>
#include <cereal/types/queue.hpp>
#include <cereal/types/set.hpp>
#include <cereal/types/unordered_map.hpp>
#include <cereal/types/unordered_set.hpp>
#include <cereal/types/valarray.hpp>
#include <cereal/types/variant.hpp>

#include "fuzz/fuzz.hpp"

#include <algorithm>
#include <exception>
#include <optional>
#include <utility>

/// Payloads that may be anything, decoded as values of many types: a value, which can be encoded again, or
/// errc::bad_payload.
///
///     offset  bytes  field
///     0       1      which row of the table
///     1       1      bits 0 to 2: the number of segments; bit 7: the stream begins at an odd address
///     2       2 each length of each segment, modulo 4096; what is in them is never looked at
///                    the stream
///
/// No type here can form a ring of shared pointers: a ring that hostile bytes build leaks, as any ring does.
namespace fuzzed {

using namespace rh::wire;

// ---- types

enum class colour : std::uint8_t { red, green };

struct vec3 {
  float x = 0, y = 0, z = 0;
};

struct record {
  int number = 1;
  std::string name = "one";
  std::optional<colour> shade = colour::green;
  std::vector<std::pair<int, std::string>> notes{{1, "a"}, {2, ""}};
  std::vector<record> parts;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(number, name, shade, notes, parts);
  }
};

struct tree {
  int value = 1;
  std::unique_ptr<tree> left, right;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(value, left, right);
  }
};

struct leaf {
  std::string name = "leaf";
  template <class Archive>
  void serialize(Archive& ar) {
    ar(name);
  }
};
struct branch {
  std::vector<std::shared_ptr<leaf>> leaves;
  std::shared_ptr<int> count;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(leaves, count);
  }
};
using graph = std::vector<std::shared_ptr<branch>>;

/// Of much more bytes in memory than it is encoded to.
struct large {
  char room[4096] = {};
  std::uint8_t x = 1;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(x);
  }
};

struct constructed {
  explicit constructed(std::string n) : name(std::move(n)) {}
  std::string name;
  std::vector<int> rest{1};
  template <class Archive>
  void save(Archive& ar) const {
    ar(name, rest);
  }
  template <class Archive>
  static void load_and_construct(Archive& ar, cereal::construct<constructed>& construct) {
    std::string n;
    ar(n);
    construct(n);
    ar(construct->rest);
  }
};

struct versioned {
  int x = 1;
  template <class Archive>
  void serialize(Archive& ar, std::uint32_t version) {
    ar(x);
    if (version == 13) throw std::runtime_error("no such version");
  }
};

struct animal {
  virtual ~animal() = default;
  template <class Archive>
  void serialize(Archive&) {}
};
struct cat : animal {
  std::string name = "cat";
  template <class Archive>
  void serialize(Archive& ar) {
    ar(cereal::base_class<animal>(this), name);
  }
};
struct dog : animal {
  std::uint64_t a = 1, b = 2;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(cereal::base_class<animal>(this), a, b);
  }
};
struct stone {
  virtual ~stone() = default;
  std::string name;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(name);
  }
};

}  // namespace fuzzed

template <>
struct rh::is_raw<fuzzed::vec3> : std::true_type {};
CEREAL_CLASS_VERSION(fuzzed::versioned, 7)
CEREAL_REGISTER_TYPE(fuzzed::cat)
CEREAL_REGISTER_TYPE(fuzzed::dog)
CEREAL_REGISTER_TYPE(fuzzed::stone)

namespace fuzzed {

// ---- properties

class viewed {
 public:
  explicit viewed(const payload& p) : view_(view(p, segments_)) {}
  const payload_view& operator*() const { return view_; }
  bool is_like(const payload_view& other) const {
    return fuzz::equal(view_.stream, other.stream) &&
           std::equal(view_.segments.begin(), view_.segments.end(), other.segments.begin(), other.segments.end(),
                      [](const auto& a, const auto& b) { return fuzz::equal(a, b); });
  }

 private:
  std::vector<std::span<const std::byte>> segments_;
  payload_view view_;
};

/// The value, or none if it is refused.
template <class Decode>
auto decoded(Decode decode_it) -> std::optional<decltype(decode_it())> {
  try {
    return decode_it();
  } catch (const rh::error& e) {
    fuzz::must(e.kind() == rh::errc::bad_payload, "the error is bad_payload");
    return std::nullopt;
  }
}

/// What the encoding of a value has to do with the bytes that it was decoded from.
enum class again {
  exact,   ///< it is these bytes
  stable,  ///< these bytes may have been another encoding of it, but it has one only
  some,    ///< it is one of several
};

template <class T, again Again>
void check(payload_view in) {
  const auto value = decoded([&] { return decode<T>(in); });
  if (!value) return;
  const payload first = encode(*value);
  const viewed first_view(first);
  if constexpr (Again == again::exact) {
    fuzz::must(first_view.is_like(in), "a value is encoded to the bytes that it was decoded from");
  } else {
    const auto second_value = decoded([&] { return decode<T>(*first_view); });
    fuzz::must(second_value.has_value(), "what is encoded can be decoded");
    if constexpr (Again == again::stable) {
      const payload second = encode(*second_value);
      fuzz::must(viewed(second).is_like(*first_view), "a value has one encoding");
    }
  }
}

void check_span(payload_view in) {
  const auto elements = decoded([&] { return decode<std::vector<double>>(in); });
  const auto seen = decoded([&] { return decode_span<double>(in); });
  if (!seen) return;  // not aligned, or
  fuzz::must(elements && fuzz::equal(std::as_bytes(*seen), std::as_bytes(std::span(*elements))),
             "a span is what the vector is");
}
void check_string_view(payload_view in) {
  const auto text = decoded([&] { return decode<std::string>(in); });
  const auto seen = decoded([&] { return decode_string_view(in); });
  fuzz::must(text == seen, "a string_view is what the string is");
}

// ---- the table

constexpr std::size_t most_segments = 7;
constexpr unsigned at_odd_address = 0x80;

fuzz::bytes input_for(const payload& p) {
  fuzz::bytes bytes;
  byte_writer out(bytes);
  fuzz::must(p.segments.size() <= most_segments, "a seed has few segments");
  out.put(static_cast<std::uint8_t>(p.segments.size()));
  for (const buffer& segment : p.segments) out.put(static_cast<std::uint16_t>(segment.size()));
  out.put(p.stream);
  return bytes;
}

struct type {
  const char* name;
  void (*check)(payload_view);
  fuzz::bytes seed;  // but for the row's number
};
template <again Again, class T>
type row(const char* name, const T& sample) {
  return {name, check<T, Again>, input_for(encode(sample))};
}

tree some_tree() {
  tree t;
  t.left = std::make_unique<tree>();
  t.left->right = std::make_unique<tree>();
  return t;
}
graph some_graph() {
  const auto one = std::make_shared<leaf>();
  const auto two = std::make_shared<leaf>();
  const auto count = std::make_shared<int>(5);
  const auto first = std::make_shared<branch>(branch{{one, two, one}, count});
  const auto second = std::make_shared<branch>(branch{{nullptr, two}, count});
  return {first, second, first};
}
record some_record() {
  record r;
  r.parts.resize(2);
  r.parts[1].shade = std::nullopt;
  return r;
}

/// New rows go to the end: the corpus knows them by their numbers.
std::vector<type> make_table() {
  using std::optional, std::pair, std::string, std::vector;
  using choice = std::variant<std::monostate, int, string, vector<double>>;
  std::vector<type> table = {
      row<again::exact>("int", std::int32_t{42}),
      row<again::exact>("bool", true),
      row<again::exact>("string", string("text")),
      row<again::exact>("u32string", std::u32string(U"text")),
      row<again::exact>("floats", vector<float>{1, 2, 3}),
      row<again::exact>("large_doubles", vector<double>(200, 1.5)),
      row<again::exact>("bools", vector<bool>{true, false}),
      row<again::exact>("strings", vector<string>{"a", "", "ccc"}),
      row<again::exact>("matrix", vector<vector<double>>{{1, 2}, vector<double>(128), {}}),
      row<again::exact>("raw_array", std::array<std::complex<float>, 130>{}),
      row<again::exact>("raw_structs", pair(true, vector<vec3>(3))),
      row<again::exact>("colour", colour::red),
      row<again::exact>("tuple", std::tuple(true, std::uint16_t{5}, std::array<double, 3>{}, string("x"), 'c', 2.5)),
      row<again::exact>("optional", optional(pair(1, optional(string("x"))))),
      row<again::exact>("variant", vector<choice>{1, "text", vector<double>{1}, std::monostate()}),
      row<again::exact>("tree", some_tree()),
      row<again::exact>("graph", some_graph()),
      row<again::exact>("record", some_record()),
      row<again::exact>("deque", std::deque<pair<colour, string>>{{colour::red, "x"}}),
      row<again::exact>("list", std::list<optional<int>>{1, std::nullopt}),
      row<again::exact>("valarray", std::valarray<int>{1, 2}),
      row<again::exact>("time", pair(std::chrono::nanoseconds(5), std::chrono::system_clock::time_point())),
      row<again::exact>("strings_array", std::array<string, 2>{"a", "b"}),
      row<again::exact>("constructed", constructed("name")),
      row<again::exact>("constructed_pointers",
                        pair(std::make_shared<constructed>("name"), std::make_unique<constructed>("other"))),
      row<again::stable>("map", std::map<string, vector<int>>{{"a", {1, 2}}, {"b", {}}}),
      row<again::stable>("set", std::set<std::int16_t>{1, 2}),
      row<again::stable>("multimap", std::multimap<char, string>{{'a', "1"}, {'a', "2"}}),
      row<again::some>("unordered_map", std::unordered_map<int, string>{{1, "one"}, {2, "two"}}),
      row<again::stable>("bitset", std::bitset<9>(3)),
      row<again::stable>("wide_bitset", std::bitset<100>(3)),
      row<again::stable>("versioned", vector<versioned>(2)),
      row<again::stable>("animals",
                         vector<std::shared_ptr<animal>>{std::make_shared<cat>(), std::make_shared<dog>(),
                                                         std::make_shared<cat>(), std::make_shared<animal>()}),
      row<again::stable>("animal", std::unique_ptr<animal>(std::make_unique<dog>())),
      {"span", check_span, input_for(encode(vector<double>{1, 2}))},
      {"string_view", check_string_view, input_for(encode("text"))},
      row<again::stable>("multiset", std::multiset<string>{"a", "a", "b"}),
      row<again::some>("unordered_set", std::unordered_set<string>{"a", "b"}),
      row<again::exact>("forward_list", std::forward_list<tree>(2)),
      row<again::exact>("queue", std::queue<string>({"a", "b"})),
      row<again::exact>("valarray_of_strings", std::valarray<string>("a", 2)),
      row<again::exact>("large_objects", vector<large>(2)),
      row<again::exact>("chars_array", pair(std::array<char, 1500>{}, true)),
  };
  return table;
}
const std::vector<type>& table() {
  static const std::vector<type> rows = make_table();
  return rows;
}

}  // namespace fuzzed

void fuzz::seeds(const std::function<void(const std::string& name, const bytes& input)>& add) {
  for (std::size_t i = 0; i < fuzzed::table().size(); ++i) {
    bytes whole{static_cast<std::byte>(i)};
    rh::wire::append(whole, fuzzed::table()[i].seed);
    add(fuzzed::table()[i].name, whole);
  }
}

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::input in(data, size);
  const fuzzed::type& row = fuzzed::table()[in.u8() % fuzzed::table().size()];
  const unsigned how = in.u8();
  std::vector<rh::wire::buffer> segments;
  std::vector<std::span<const std::byte>> views;
  for (std::size_t left = how & fuzzed::most_segments; left > 0; --left) {
    rh::wire::buffer& segment = segments.emplace_back(in.u16() % 4096U);
    if (segment.size() > 0) std::memset(segment.data(), 1, segment.size());
    views.push_back(segment.bytes());
  }
  fuzz::bytes stream;
  const std::size_t skipped = (how & fuzzed::at_odd_address) != 0 ? 1 : 0;
  stream.resize(skipped);
  rh::wire::append(stream, in.rest());
  stream.shrink_to_fit();  // so that ASan sees its end
  row.check({std::span<const std::byte>(stream).subspan(skipped), views});
  return 0;
}
