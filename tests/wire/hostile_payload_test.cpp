// SPDX-License-Identifier: Apache-2.0
#include <runhouse/wire/archive.hpp>

#include <cereal/types/base_class.hpp>
#include <cereal/types/bitset.hpp>
#include <cereal/types/deque.hpp>
#include <cereal/types/list.hpp>
#include <cereal/types/map.hpp>
#include <cereal/types/memory.hpp>
#include <cereal/types/polymorphic.hpp>
#include <cereal/types/set.hpp>
#include <cereal/types/unordered_map.hpp>
#include <cereal/types/unordered_set.hpp>
#include <cereal/types/valarray.hpp>
#include <cereal/types/variant.hpp>

#include <catch2/catch.hpp>

#include <cstdint>
#include <fstream>
#include <random>
#include <string>

// In a namespace of its own name, as archive_test.cpp may be linked with it and cereal keys types by name.
namespace hostile {

using namespace rh::wire;

/// Bytes by hand.
struct made {
  payload bytes;
  payload done() { return std::move(bytes); }
  template <class T>
  made& add(T value) {
    const auto* at = reinterpret_cast<const std::byte*>(&value);
    bytes.stream.insert(bytes.stream.end(), at, at + sizeof value);
    return *this;
  }
  made& u8(std::uint8_t v) { return add(v); }
  made& u32(std::uint32_t v) { return add(v); }
  made& u64(std::uint64_t v) { return add(v); }
  made& text(std::string_view s) {
    u64(s.size());
    for (const char c : s) add(c);
    return *this;
  }
  made& segment(std::size_t size_bytes) {
    bytes.segments.emplace_back(size_bytes);
    std::memset(bytes.segments.back().data(), 1, size_bytes);
    return *this;
  }
};

/// The most memory that this process ever had, in bytes.
std::size_t peak_memory_bytes() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    if (word == "VmHWM:") {
      std::size_t kib = 0;
      status >> kib;
      return kib * 1024;
    }
  }
  return 0;
}

template <class T>
void refuse(const payload& p, std::string_view why) {
  std::vector<std::span<const std::byte>> segments;
  const payload_view in = view(p, segments);
  try {
    (void)decode<T>(in);
    FAIL("it was decoded");
  } catch (const rh::error& e) {
    const std::string what = e.what();
    INFO(what);
    CHECK(e.kind() == rh::errc::bad_payload);
    CHECK(what.starts_with("cannot decode " + detail::type_name(typeid(T)) + ": "));
    CHECK(what.find(why) != std::string::npos);
  }
}

struct nothing {
  template <class Archive>
  void serialize(Archive&) {}
  auto operator<=>(const nothing&) const = default;
};
struct big {
  char room[4096] = {};
  std::uint8_t x = 0;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(x);
  }
};
struct chain {
  std::unique_ptr<chain> next;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(next);
  }
};
struct broad {
  std::vector<broad> children;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(children);
  }
};
struct linked {
  std::shared_ptr<linked> next;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(next);
  }
};
struct picky {
  int x = 0;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(x);
    if (x > 100) throw std::invalid_argument("x is over 100");
  }
};
enum class colour : std::uint8_t { red };

struct never_constructed {
  explicit never_constructed(int) {}
  template <class Archive>
  void save(Archive& ar) const {
    ar(1);
  }
  template <class Archive>
  static void load_and_construct(Archive& ar, cereal::construct<never_constructed>&) {
    int x = 0;
    ar(x);
  }
};
struct late {
  explicit late(int x) : name(100, 'x'), value(x) {}
  std::string name;
  int value;
  std::shared_ptr<late> other;
  template <class Archive>
  void save(Archive& ar) const {
    ar(value, other);
  }
  template <class Archive>
  static void load_and_construct(Archive& ar, cereal::construct<late>& construct) {
    int x = 0;
    ar(x);
    construct(x);
    ar(construct->other);
  }
};
struct early {
  explicit early(std::shared_ptr<early> o) : other(std::move(o)) {}
  std::shared_ptr<early> other;
  template <class Archive>
  void save(Archive& ar) const {
    ar(other);
  }
  template <class Archive>
  static void load_and_construct(Archive& ar, cereal::construct<early>& construct) {
    std::shared_ptr<early> o;
    ar(o);
    construct(o);
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

struct animal {
  virtual ~animal() = default;
  template <class Archive>
  void serialize(Archive&) {}
};
struct cat : animal {
  std::string name = "a cat's name that needs the heap";
  template <class Archive>
  void serialize(Archive& ar) {
    ar(cereal::base_class<animal>(this), name);
  }
};
struct dog : animal {
  std::uint64_t a = 0, b = 0;
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

struct six {
  int a = 1;
  double b = 2;
  std::string c = "three";
  std::vector<float> d{4, 5};
  std::map<std::string, bool> e{{"x", true}, {"y", false}};
  std::optional<std::variant<int, std::string>> f = "six";
  std::unique_ptr<six> g;
  std::vector<std::pair<int, std::string>> h{{1, "a"}, {2, "b"}};
  std::shared_ptr<int> i = std::make_shared<int>(5), j = i;
  std::shared_ptr<animal> k = std::make_shared<cat>();
  std::unique_ptr<animal> l = std::make_unique<dog>();
  std::vector<double> m;
  std::array<std::int64_t, 2> n{};
  std::set<int> o{1, 2};
  std::deque<colour> p{colour::red};
  std::unordered_map<int, std::string> q{{1, "one"}};
  std::bitset<9> r{3};
  std::valarray<int> s{1, 2};
  std::shared_ptr<constructed> t = std::make_shared<constructed>("a name that needs the heap");
  std::unique_ptr<constructed> u = std::make_unique<constructed>("a name that needs the heap");
  template <class Archive>
  void serialize(Archive& ar) {
    ar(a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u);
  }
};

}  // namespace hostile

CEREAL_REGISTER_TYPE(hostile::cat)
CEREAL_REGISTER_TYPE(hostile::dog)
CEREAL_REGISTER_TYPE(hostile::stone)

namespace hostile {

constexpr std::uint64_t huge = std::uint64_t{1} << 31;
constexpr std::uint32_t fresh = 0x80000000U;
constexpr std::uint32_t as_declared = 0x40000000U;

TEST_CASE("bytes that are no value end in bad_payload, soon and without memory", "[wire][archive]") {
  const std::size_t before = peak_memory_bytes();

  SECTION("counts") {
    for (const std::uint64_t count : {std::uint64_t{9}, huge, ~std::uint64_t{0}, (~std::uint64_t{0} >> 3) + 1}) {
      INFO(count);
      const payload p = made().u64(count).u64(0).done();
      refuse<std::string>(p, "a count of");
      refuse<std::u32string>(p, "a count of");
      refuse<std::vector<double>>(p, "a count of");
      refuse<std::vector<bool>>(p, "a count of");
      refuse<std::vector<std::string>>(p, "a count of");
      refuse<std::vector<big>>(p, "a count of");
      refuse<std::list<big>>(p, "a count of");
      refuse<std::deque<std::string>>(p, "a count of");
      refuse<std::map<int, int>>(p, "a count of");
      refuse<std::set<std::string>>(p, "a count of");
      refuse<std::unordered_set<int>>(p, "a count of");
      refuse<std::unordered_map<std::string, std::string>>(p, "a count of");
      refuse<std::valarray<double>>(p, "a count of");
      refuse<std::vector<std::array<double, 4>>>(p, "a count of");
      refuse<std::vector<std::optional<int>>>(p, "a count of");
    }
    refuse<std::vector<std::pair<int, std::string>>>(made().u64(2).u64(0).u64(0).done(), "a count of 2");
    refuse<std::list<std::string>>(made().u64(3).u64(0).u64(0).done(), "a count of 3");
  }
  SECTION("elements of nothing") {
    refuse<std::vector<nothing>>(made().u64(std::uint64_t{1} << 30).done(), "a count of");
    refuse<std::list<nothing>>(made().u64(std::uint64_t{1} << 30).done(), "a count of");
    refuse<std::pair<std::vector<nothing>, int>>(made().u64(4).u32(1).done(), "encode to nothing");
    refuse<std::pair<std::set<nothing>, int>>(made().u64(4).u32(1).done(), "encode to nothing");
    refuse<std::pair<std::vector<std::tuple<>>, int>>(made().u64(1).u32(1).done(), "encode to nothing");
  }
  SECTION("values out of range") {
    refuse<bool>(made().u8(7).done(), "a bool is neither");
    refuse<std::vector<bool>>(made().u64(1).u8(2).done(), "a bool is neither");
    refuse<std::optional<int>>(made().u8(9).u32(1).done(), "a bool is neither");
    refuse<std::unique_ptr<int>>(made().u8(2).u32(1).done(), "a bool is neither");
    refuse<std::variant<int, bool>>(made().u32(2).u32(1).done(), "variant");
    refuse<std::variant<int, bool>>(made().u32(~0U).u32(1).done(), "variant");
    refuse<std::bitset<9>>(made().u8(9).u32(1).done(), "bitset");
    refuse<std::bitset<9>>(made().u8(2).text("01x").done(), "");
    refuse<picky>(made().u32(101).done(), "x is over 100");
  }
  SECTION("what is missing and what is too much") {
    refuse<int>(payload(), "the stream ends at byte 0, and 4 more");
    refuse<std::string>(payload(), "the stream ends");
    refuse<nothing>(made().u8(0).done(), "1 bytes follow");
    refuse<int>(made().u64(1).done(), "4 bytes follow");
    refuse<int>(made().u32(1).segment(1024).done(), "1 segments follow");
    refuse<std::vector<double>>(made().u64(128).done(), "a count of");
    refuse<std::vector<double>>(made().u64(127).segment(1024).done(), "the stream ends");
    refuse<std::vector<double>>(made().u64(129).segment(1040).done(), "a segment has");
    refuse<std::vector<double>>(made().u64(128).segment(1032).done(), "a segment has");
    refuse<std::vector<double>>(made().u64(128).segment(1024).segment(1024).done(), "1 segments follow");
    refuse<std::pair<std::string, std::string>>(made().u64(1024).u64(1024).segment(1024).done(), "a count of");
    refuse<std::array<double, 128>>(payload(), "a segment is missing");
    refuse<std::array<double, 128>>(made().segment(1016).done(), "a segment has");
    refuse<std::string>(made().u64(1000).segment(1000).done(), "the stream ends");
    payload in_stream = made().u64(1024).done();
    in_stream.stream.resize(8 + 1024);
    refuse<std::string>(in_stream, "a segment is missing");
  }
  SECTION("padding that is not zero") {
    refuse<std::pair<bool, std::vector<int>>>(made().u8(1).u64(1).u8(0).u8(0).u8(1).u32(5).done(), "padding is not zero");
    refuse<std::pair<bool, std::array<int, 1>>>(made().u8(1).u8(1).u8(0).u8(0).u32(5).done(), "padding is not zero");
    refuse<std::pair<bool, std::array<int, 1>>>(made().u8(1).u8(0).done(), "the stream ends");
  }
  SECTION("nesting") {
    payload flags;
    flags.stream.assign(2 << 20, std::byte{1});
    refuse<chain>(flags, "nested deeper than 200");
    refuse<std::unique_ptr<chain>>(flags, "nested deeper than 200");
    made ones;
    for (int i = 0; i < 100000; ++i) ones.u64(1);
    refuse<broad>(ones.done(), "nested deeper than 200");
    made ids;
    for (std::uint32_t i = 1; i < 100000; ++i) ids.u32(i | fresh);
    refuse<linked>(ids.done(), "nested deeper than 200");
  }
  SECTION("shared pointers") {
    using two = std::pair<std::shared_ptr<std::uint64_t>, std::shared_ptr<std::string>>;
    refuse<two>(made().u32(1 | fresh).u64(5).u32(1).done(), "an object of another type");
    refuse<two>(made().u32(1 | fresh).u64(5).u32(2).done(), "did not come");
    refuse<two>(made().u32(0).u32(1).done(), "did not come");
    refuse<two>(made().u32(2 | fresh).u64(5).u32(0).done(), "out of order");
    refuse<two>(made().u32(1 | fresh).u64(5).u32(1 | fresh).text("").done(), "out of order");
    refuse<two>(made().u32(fresh).u64(5).u32(0).done(), "out of order");
    refuse<std::shared_ptr<late>>(made().u32(1 | fresh).u32(5).done(), "the stream ends");
    refuse<std::shared_ptr<late>>(made().u32(1 | fresh).u32(5).u32(2).done(), "did not come");
    refuse<std::unique_ptr<late>>(made().u8(1).u32(5).u32(7).done(), "did not come");
    refuse<std::shared_ptr<early>>(made().u32(1 | fresh).u32(1).done(), "not yet constructed");
    refuse<std::shared_ptr<never_constructed>>(made().u32(1 | fresh).u32(1).done(), "constructed nothing");
    refuse<std::unique_ptr<never_constructed>>(made().u8(1).u32(1).done(), "constructed nothing");
    refuse<late>(made().u32(1).u32(2).done(), "did not come");
  }
  SECTION("polymorphic pointers") {
    using shared = std::shared_ptr<animal>;
    using owned = std::unique_ptr<animal>;
    const auto named = [](std::string_view name) { return made(std::move(made().u32(1 | fresh).text(name))); };
    refuse<shared>(named("nobody").u64(0).done(), "nobody");
    refuse<owned>(named("nobody").u64(0).done(), "nobody");
    refuse<owned>(made().u32(1).done(), "Could not find type id");
    refuse<shared>(named("hostile::stone").u32(1 | fresh).text("a name that needs the heap, for leaks").done(), "");
    refuse<owned>(named("hostile::stone").u8(1).text("a name that needs the heap, for leaks").done(), "not registered");
    refuse<owned>(named("hostile::cat").u8(1).u64(5).done(), "a count of 5");
    refuse<owned>(named("hostile::cat").u8(1).text("x").u8(1).done(), "1 bytes follow");
    // a dog's id as a cat's, by either way to name it
    using pets = std::pair<shared, shared>;
    refuse<pets>(named("hostile::dog").u32(1 | fresh).u64(1).u64(2).u32(2 | fresh).text("hostile::cat").u32(1).done(),
                 "an object of another type");
    using pet_and_cat = std::pair<shared, std::shared_ptr<cat>>;
    refuse<pet_and_cat>(named("hostile::dog").u32(1 | fresh).u64(1).u64(2).u32(as_declared).u32(1).done(),
                        "an object of another type");
  }

  CHECK(peak_memory_bytes() - before < (std::size_t{64} << 20));
}

TEST_CASE("bytes that a view cannot show end in bad_payload", "[wire][archive]") {
  const payload bad[] = {made().u64(9).u64(0).done(), made().u64(huge).done(), made().u64(1).u64(0).u8(0).done(),
                         made().u64(128).segment(1025).done(), payload()};
  for (const payload& p : bad) {
    std::vector<std::span<const std::byte>> segments;
    const payload_view in = view(p, segments);
    CHECK_THROWS_AS(decode_span<double>(in), rh::error);
    CHECK_THROWS_AS(decode_string_view(in), rh::error);
  }
}

TEST_CASE("an enumerator that has no name is a value all the same", "[wire][archive]") {
  const payload p = made().u8(200).done();
  CHECK(static_cast<int>(decode<colour>({p.stream, {}})) == 200);
}

six sample() {
  six value;
  value.g = std::make_unique<six>();
  value.m.assign(200, 1.5);
  return value;
}

TEST_CASE("a payload cut short at any byte ends in bad_payload", "[wire][archive]") {
  const payload whole = encode(sample());
  std::vector<std::span<const std::byte>> segments;
  payload_view in = view(whole, segments);
  REQUIRE(decode<six>(in).g->h.size() == 2);
  const auto stream = in.stream;
  std::size_t refused = 0;
  for (std::size_t size = 0; size < stream.size(); ++size) {
    in.stream = stream.first(size);
    try {
      (void)decode<six>(in);
    } catch (const rh::error& e) {
      refused += e.kind() == rh::errc::bad_payload;
    }
  }
  CHECK(refused == stream.size());
}

// No type in it can form a ring of shared pointers: a ring that hostile bytes build leaks, as any ring does.
TEST_CASE("a hundred thousand mutations of a payload end in a value or in bad_payload", "[wire][archive]") {
  const std::size_t before = peak_memory_bytes();
  const payload whole = encode(sample());
  std::mt19937 random(20261123);
  std::vector<std::span<const std::byte>> segments;
  constexpr std::uint8_t telling[] = {0, 1, 2, 7, 0x40, 0x7f, 0x80, 0xff};
  std::size_t values = 0;
  std::size_t refused = 0;
  for (int round = 0; round < 100000; ++round) {
    payload_view in = view(whole, segments);
    std::vector<std::byte> stream = whole.stream;
    for (auto edits = 1 + random() % 4; edits > 0; --edits) {
      const std::size_t at = random() % stream.size();
      switch (random() % 6) {
        case 0: stream[at] = static_cast<std::byte>(random()); break;
        case 1: stream[at] = static_cast<std::byte>(telling[random() % sizeof telling]); break;
        case 2: stream[at] ^= static_cast<std::byte>(1U << random() % 8); break;
        case 3: stream.erase(stream.begin() + static_cast<std::ptrdiff_t>(at)); break;
        case 4: stream.insert(stream.begin() + static_cast<std::ptrdiff_t>(at), static_cast<std::byte>(random())); break;
        default:
          if (random() % 8 == 0 && !segments.empty()) segments[0] = segments[0].first(random() % 1600);
          in.segments = segments;
      }
    }
    in.stream = stream;
    try {
      (void)decode<six>(in);
      ++values;
    } catch (const rh::error& e) {
      refused += e.kind() == rh::errc::bad_payload;
    }
  }
  CHECK(values + refused == 100000);
  CHECK(values > 0);
  CHECK(peak_memory_bytes() - before < (std::size_t{512} << 20));  // ASan keeps 256 MiB of what was freed
}

}  // namespace hostile
