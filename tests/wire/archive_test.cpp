// SPDX-License-Identifier: Apache-2.0
#include <runhouse/wire/archive.hpp>

#include <catch2/catch.hpp>

// before any other cereal header: what works, and what is missed, without an include of the user's
namespace {
using rh::wire::missing_header;
using rh::wire::serializable;

struct plain {
  int x = 0;
};
struct point {
  int x = 0;
  double y = 0;
  std::string name;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(x, y, name);
  }
  bool operator==(const point&) const = default;
};

static_assert(serializable<bool> && serializable<char> && serializable<long> && serializable<double>);
static_assert(serializable<std::byte> && serializable<std::complex<float>> && serializable<std::string>);
static_assert(serializable<std::vector<std::pair<std::string, std::optional<std::tuple<int, std::array<point, 2>>>>>>);
static_assert(serializable<point> && !serializable<plain> && !serializable<std::vector<plain>>);
static_assert(!serializable<std::pair<int, plain>> && !serializable<std::optional<plain>>);
static_assert(!serializable<long double> && !serializable<std::vector<long double>>);
static_assert(!serializable<int*> && !serializable<const char*> && !serializable<std::nullptr_t>);
static_assert(!serializable<void> && !serializable<int&> && !serializable<void()> && !serializable<int[3]>);
static_assert(!serializable<std::function<int()>> && !serializable<std::vector<std::function<int()>>>);
static_assert(!serializable<std::string_view> && rh::wire::encodable<std::string_view>);
static_assert(!serializable<std::span<const int>> && rh::wire::encodable<std::span<const int>>);
}  // namespace

#include <list>
#include <map>
#include <memory>
#include <variant>

namespace {
// each of these is made serializable below, so the question is asked here with types of its own
struct tag {
  template <class Archive>
  void serialize(Archive&) {}
  bool operator<(const tag&) const { return false; }
};
static_assert(!serializable<std::map<tag, tag>> && !serializable<std::unique_ptr<tag>> && !serializable<std::list<tag>>);
static_assert(!serializable<std::vector<std::map<tag, tag*>>>);
static_assert(std::string_view(missing_header<std::map<tag, tag>>()) == "cereal/types/map.hpp");
static_assert(std::string_view(missing_header<std::vector<std::variant<tag>>>()) == "cereal/types/variant.hpp");
static_assert(missing_header<plain>() == nullptr && missing_header<std::vector<int>>() == nullptr);
}  // namespace

#include <cereal/types/atomic.hpp>
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
#include <cereal/types/stack.hpp>
#include <cereal/types/unordered_map.hpp>
#include <cereal/types/unordered_set.hpp>
#include <cereal/types/valarray.hpp>
#include <cereal/types/variant.hpp>

#include <cstdint>
#include <limits>

namespace {

using namespace rh::wire;
using namespace std::string_literals;

struct encoded {
  payload bytes;
  std::vector<std::span<const std::byte>> segments;
  payload_view in;
  explicit encoded(payload p) : bytes(std::move(p)), in(view(bytes, segments)) {}
};

template <class T>
T trip(const T& value) {
  const encoded e(encode(value));
  return decode<T>(e.in);
}

std::string hex(const payload& p) {
  std::string text;
  for (const std::byte b : p.stream) {
    constexpr char digits[] = "0123456789abcdef";
    text += digits[std::to_integer<int>(b) >> 4];
    text += digits[std::to_integer<int>(b) & 15];
  }
  return text;
}

enum class colour : std::uint16_t { red, green = 0x1234 };
enum plain_enum { first, second };

struct vec3 {
  float x, y, z;
  bool operator==(const vec3&) const = default;
};
struct alignas(16) quad {
  double a, b;
  bool operator==(const quad&) const = default;
};

struct nonmember {
  int x = 0;
};
template <class Archive>
void serialize(Archive& ar, nonmember& n) {
  ar(CEREAL_NVP(n.x));
}

class split {
 public:
  split() = default;
  explicit split(int v) : value_(v) {}
  int value() const { return value_; }

 private:
  friend class cereal::access;
  template <class Archive>
  void save(Archive& ar) const {
    ar(value_ + 1);
  }
  template <class Archive>
  void load(Archive& ar) {
    ar(value_);
    --value_;
  }
  int value_ = 0;
};

struct minimal {
  std::string text;
  template <class Archive>
  std::string save_minimal(const Archive&) const {
    return text;
  }
  template <class Archive>
  void load_minimal(const Archive&, const std::string& value) {
    text = value;
  }
};

struct versioned {
  int x = 0;
  std::uint32_t seen = 0;
  template <class Archive>
  void serialize(Archive& ar, std::uint32_t version) {
    ar(x);
    seen = version;
  }
};

class private_default {
 public:
  explicit private_default(int v) : value(v) {}
  int value = 0;

 private:
  friend class cereal::access;
  private_default() = default;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(value);
  }
};

struct no_default : std::enable_shared_from_this<no_default> {
  explicit no_default(int v) : value(v) {}
  int value;
  std::shared_ptr<no_default> other;
  template <class Archive>
  void save(Archive& ar) const {
    ar(value, other);
  }
  template <class Archive>
  static void load_and_construct(Archive& ar, cereal::construct<no_default>& construct) {
    int v = 0;
    ar(v);
    construct(v);
    ar(construct->other);
  }
};

struct move_only {
  std::unique_ptr<int> p;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(p);
  }
};

struct tree {
  std::vector<std::unique_ptr<tree>> children;
  std::optional<std::map<std::string, int>> labels;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(children, labels);
  }
};

struct chain {
  std::unique_ptr<chain> next;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(next);
  }
};

struct with_arrays {
  float matrix[2][3] = {};
  char name[4] = {};
  std::string words[2];
  template <class Archive>
  void serialize(Archive& ar) {
    ar(matrix, name, words);
  }
};

struct blob {
  std::vector<float> values;
  template <class Archive>
  void save(Archive& ar) const {
    ar(cereal::make_size_tag(static_cast<cereal::size_type>(values.size())));
    ar(cereal::binary_data(values.data(), values.size() * sizeof(float)));
  }
  template <class Archive>
  void load(Archive& ar) {
    cereal::size_type count = 0;
    ar(cereal::make_size_tag(count));
    values.resize(count);
    ar(cereal::binary_data(values.data(), values.size() * sizeof(float)));
  }
};

struct shape {
  virtual ~shape() = default;
  virtual int area() const = 0;
  template <class Archive>
  void serialize(Archive&) {}
};
struct square : shape {
  int side = 0;
  int area() const override { return side * side; }
  template <class Archive>
  void serialize(Archive& ar) {
    ar(cereal::base_class<shape>(this), side);
  }
};
struct circle : shape {
  std::string name;
  int area() const override { return 3; }
  template <class Archive>
  void serialize(Archive& ar) {
    ar(name);
  }
};

struct virtual_root {
  int root = 0;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(root);
  }
};
struct left_side : virtual virtual_root {
  int left = 0;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(cereal::virtual_base_class<virtual_root>(this), left);
  }
};

struct pointer_and_member {
  std::shared_ptr<point> whole;
  std::shared_ptr<int> member;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(whole, member);
  }
};

struct ring {
  int value = 0;
  std::shared_ptr<ring> next;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(value, next);
  }
};

struct nothing {
  template <class Archive>
  void serialize(Archive&) {}
  bool operator==(const nothing&) const = default;
};

}  // namespace

template <>
struct rh::is_raw<vec3> : std::true_type {};
template <>
struct rh::is_raw<quad> : std::true_type {};
CEREAL_CLASS_VERSION(versioned, 7)
CEREAL_REGISTER_TYPE(square)
CEREAL_REGISTER_TYPE_WITH_NAME(circle, "round")
CEREAL_REGISTER_POLYMORPHIC_RELATION(shape, circle)

namespace {

static_assert(rh::is_raw_v<int> && rh::is_raw_v<const double> && rh::is_raw_v<std::byte> && rh::is_raw_v<colour>);
static_assert(rh::is_raw_v<std::complex<double>> && rh::is_raw_v<std::array<std::complex<float>, 3>>);
static_assert(rh::is_raw_v<int[2][3]> && rh::is_raw_v<vec3> && rh::is_raw_v<std::array<vec3, 2>>);
static_assert(!rh::is_raw_v<bool> && !rh::is_raw_v<long double> && !rh::is_raw_v<plain_enum> && !rh::is_raw_v<int*>);
static_assert(!rh::is_raw_v<std::pair<int, int>> && !rh::is_raw_v<point> && !rh::is_raw_v<std::complex<long double>>);
static_assert(serializable<move_only> && serializable<private_default> && serializable<no_default>);
static_assert(serializable<std::unique_ptr<no_default>> && serializable<std::shared_ptr<shape>>);
static_assert(!serializable<std::vector<no_default>> && !serializable<std::unique_ptr<plain>>);
static_assert(serializable<vec3> && serializable<std::map<int, std::vector<std::unique_ptr<tree>>>>);
static_assert(!serializable<std::variant<int, plain>> && !serializable<shape>);

TEST_CASE("every type that cereal knows comes back as it was", "[wire][archive]") {
  CHECK(trip(true));
  CHECK(trip('x') == 'x');
  CHECK(trip(std::int64_t{-5}) == -5);
  CHECK(trip(std::numeric_limits<std::uint64_t>::max()) == std::numeric_limits<std::uint64_t>::max());
  CHECK(trip(1.5F) == 1.5F);
  CHECK(trip(U'x') == U'x');
  CHECK(trip(colour::green) == colour::green);
  CHECK(trip(second) == second);
  CHECK(trip(std::byte{7}) == std::byte{7});
  CHECK(trip(std::complex<double>(1, 2)) == std::complex<double>(1, 2));
  CHECK(trip(""s).empty());
  CHECK(trip(std::string(5000, 'x')) == std::string(5000, 'x'));
  CHECK(trip(std::u16string(u"ab")) == u"ab");
  CHECK(trip(std::vector<int>{}).empty());
  CHECK(trip(std::vector<int>{1, 2, 3}) == std::vector<int>{1, 2, 3});
  CHECK(trip(std::vector<bool>{true, false, true}) == std::vector<bool>{true, false, true});
  CHECK(trip(std::vector<double>(100000, 2.5)) == std::vector<double>(100000, 2.5));
  CHECK(trip(std::vector<std::string>{"a", "bc"}) == std::vector<std::string>{"a", "bc"});
  CHECK(trip(std::vector<std::vector<float>>(3, std::vector<float>(999, 1))) ==
        std::vector<std::vector<float>>(3, std::vector<float>(999, 1)));
  CHECK(trip(std::vector<point>{{1, 2, "a"}, {3, 4, "b"}}) == std::vector<point>{{1, 2, "a"}, {3, 4, "b"}});
  CHECK(trip(std::vector<colour>{colour::green}) == std::vector<colour>{colour::green});
  CHECK(trip(std::vector<plain_enum>{second}) == std::vector<plain_enum>{second});
  CHECK(trip(std::vector<vec3>(200, vec3{1, 2, 3})) == std::vector<vec3>(200, vec3{1, 2, 3}));
  CHECK(trip(std::vector<quad>(3, quad{1, 2})) == std::vector<quad>(3, quad{1, 2}));
  CHECK(trip(vec3{1, 2, 3}) == vec3{1, 2, 3});
  CHECK(trip(std::array<double, 3>{1, 2, 3}) == std::array<double, 3>{1, 2, 3});
  CHECK(trip(std::array<int, 0>{}).empty());
  CHECK(trip(std::array<int, 500>{1, 2, 3}) == std::array<int, 500>{1, 2, 3});
  CHECK(trip(std::array<std::string, 2>{"a", "b"}) == std::array<std::string, 2>{"a", "b"});
  CHECK(trip(std::list<std::array<double, 200>>(3)).size() == 3);
  CHECK(trip(std::vector<std::pair<std::array<double, 200>, int>>(3)).size() == 3);
  CHECK(trip(std::pair(1, "x"s)) == std::pair(1, "x"s));
  CHECK(trip(std::tuple(1, "x"s, 2.5)) == std::tuple(1, "x"s, 2.5));
  CHECK(trip(std::tuple<>()) == std::tuple<>());
  CHECK(trip(std::optional<int>()) == std::nullopt);
  CHECK(trip(std::optional(std::vector<int>{1})) == std::vector<int>{1});
  CHECK(trip(std::map<std::string, int>{{"a", 1}, {"b", 2}}) == std::map<std::string, int>{{"a", 1}, {"b", 2}});
  CHECK(trip(std::multimap<int, int>{{1, 1}, {2, 1}}) == std::multimap<int, int>{{1, 1}, {2, 1}});
  CHECK(trip(std::unordered_map<int, std::string>{{1, "a"}}) == std::unordered_map<int, std::string>{{1, "a"}});
  CHECK(trip(std::set<std::string>{"a", "b"}) == std::set<std::string>{"a", "b"});
  CHECK(trip(std::unordered_set<int>{1, 2, 3}) == std::unordered_set<int>{1, 2, 3});
  CHECK(trip(std::list<int>{1, 2}) == std::list<int>{1, 2});
  CHECK(trip(std::forward_list<int>{1, 2}) == std::forward_list<int>{1, 2});
  CHECK(trip(std::deque<bool>{true, false}) == std::deque<bool>{true, false});
  CHECK(trip(std::variant<int, std::string>("x")) == std::variant<int, std::string>("x"));
  CHECK(trip(std::variant<std::monostate, int>()).index() == 0);
  CHECK(trip(std::bitset<70>(0x1234)) == std::bitset<70>(0x1234));
  CHECK(trip(std::chrono::milliseconds(5)) == std::chrono::milliseconds(5));
  CHECK(trip(std::chrono::sys_seconds(std::chrono::seconds(9))).time_since_epoch().count() == 9);
  CHECK((trip(std::valarray<double>(1.5, 300)) == std::valarray<double>(1.5, 300)).min());
  CHECK(trip(std::valarray<std::string>("a", 3)).size() == 3);
  CHECK(trip(std::queue<int>({1, 2})) == std::queue<int>({1, 2}));
  CHECK(trip(std::stack<int>({1, 2})) == std::stack<int>({1, 2}));
  std::priority_queue<int> first_out;
  first_out.push(1);
  first_out.push(5);
  CHECK(trip(first_out).top() == 5);
}

TEST_CASE("what is equal in a multimap or a multiset comes back in its order", "[wire][archive]") {
  const std::multimap<int, std::string> by_key{{1, "a"}, {2, "b"}, {1, "c"}, {1, "d"}};
  CHECK(trip(by_key) == by_key);
  const auto by_tens = [](int a, int b) { return a / 10 < b / 10; };
  const std::multiset<int, decltype(by_tens)> tens{15, 21, 12, 13, 20};
  CHECK(trip(tens) == tens);
  // in any order, as another program may send them
  const std::vector<std::pair<int, std::string>> items{{2, "b"}, {1, "a"}, {1, "c"}};
  const encoded unsorted(encode(items));
  CHECK(decode<std::multimap<int, std::string>>(unsorted.in) ==
        std::multimap<int, std::string>{{1, "a"}, {1, "c"}, {2, "b"}});
}

// With -D_GLIBCXX_ASSERTIONS, which some systems build everything with, operator[] of an empty one ends the program.
TEST_CASE("an empty valarray comes back empty, and its first element is not asked for", "[wire][archive]") {
  CHECK(trip(std::valarray<double>()).size() == 0);
  CHECK(trip(std::valarray<std::string>()).size() == 0);
  CHECK(hex(encode(std::valarray<double>())) == "0000000000000000");
  CHECK(hex(encode(std::valarray<std::uint16_t>{1, 2})) == "0200000000000000" "01000200");
  CHECK(encode(std::valarray<double>(128)).segments.size() == 1);
}

TEST_CASE("every way to serialize a class that cereal knows works", "[wire][archive]") {
  CHECK(trip(point{1, 2, "a"}) == point{1, 2, "a"});
  CHECK(trip(nonmember{5}).x == 5);
  CHECK(trip(split(5)).value() == 5);
  CHECK(trip(minimal{"text"}).text == "text");
  CHECK(trip(versioned{5, 0}).x == 5);
  CHECK(trip(versioned{5, 0}).seen == 7);
  CHECK(trip(std::vector<versioned>(3)).at(2).seen == 7);
  CHECK(trip(private_default(5)).value == 5);
  CHECK(trip(nothing()) == nothing());
  CHECK(trip(blob{{1, 2, 3}}).values == std::vector<float>{1, 2, 3});
  CHECK(trip(blob{std::vector<float>(1000, 4)}).values == std::vector<float>(1000, 4));
  with_arrays arrays;
  arrays.matrix[1][2] = 5;
  arrays.name[0] = 'x';
  arrays.words[1] = "word";
  const with_arrays back = trip(arrays);
  CHECK(back.matrix[1][2] == 5);
  CHECK(back.name[0] == 'x');
  CHECK(back.words[1] == "word");
  const no_default single = trip(no_default(5));
  CHECK(single.value == 5);
  std::vector<left_side> sides(50);
  for (int i = 0; i < 50; ++i) sides[static_cast<std::size_t>(i)].root = i;
  CHECK(trip(sides).at(49).root == 49);
  std::atomic<int> counter = 5;
  std::atomic<int> other = 0;
  archive_writer out;
  out(counter);
  const encoded e(std::move(out).take());
  archive_reader in(e.in);
  in(other);
  CHECK(other == 5);
}

TEST_CASE("unique pointers carry what they own", "[wire][archive]") {
  CHECK(trip(move_only()).p == nullptr);
  CHECK(*trip(move_only{std::make_unique<int>(5)}).p == 5);
  CHECK(trip(std::make_unique<no_default>(5))->value == 5);
  CHECK(trip(std::make_unique<private_default>(5))->value == 5);
  CHECK(*trip(std::make_unique<const int>(5)) == 5);
  std::vector<std::unique_ptr<std::string>> many;
  for (int i = 0; i < 10; ++i) many.push_back(i % 2 ? std::make_unique<std::string>("x") : nullptr);
  const auto back = trip(many);
  CHECK(back.size() == 10);
  CHECK(back[0] == nullptr);
  CHECK(*back[1] == "x");
  tree root;
  root.children.push_back(std::make_unique<tree>());
  root.children[0]->labels = {{"a", 1}};
  CHECK(trip(root).children.at(0)->labels->at("a") == 1);
}

TEST_CASE("shared pointers of one payload share what they shared", "[wire][archive]") {
  const auto one = std::make_shared<point>(point{1, 2, "a"});
  const auto back = trip(std::vector{one, one, std::shared_ptr<point>(), std::make_shared<point>()});
  CHECK(*back[0] == *one);
  CHECK(back[0] == back[1]);
  CHECK(back[2] == nullptr);
  CHECK(back[3] != back[0]);
  CHECK(back[0].use_count() == 2);

  SECTION("in a ring") {
    const auto a = std::make_shared<ring>();
    a->value = 5;
    a->next = std::make_shared<ring>();
    a->next->next = a;
    const auto b = trip(a);
    CHECK(b->value == 5);
    CHECK(b->next->next == b);
    a->next.reset();
    b->next.reset();
  }
  SECTION("in a ring of objects that are constructed from what is read") {
    const auto a = std::make_shared<no_default>(5);
    a->other = a;
    const auto b = trip(a);
    CHECK(b->other == b);
    CHECK(b->shared_from_this() == b);
    a->other.reset();
    b->other.reset();
  }
  SECTION("weakly") {
    const auto pair = trip(std::pair(one, std::weak_ptr(one)));
    CHECK(pair.second.lock() == pair.first);
  }
  SECTION("but an object and its first member are two") {
    pointer_and_member p{one, std::shared_ptr<int>(one, &one->x)};
    const auto q = trip(p);
    CHECK(q.whole->name == "a");
    CHECK(*q.member == 1);
  }
}

TEST_CASE("polymorphic types registered in cereal's way come back as what they are", "[wire][archive]") {
  const auto a = std::make_shared<square>();
  a->side = 4;
  const std::vector<std::shared_ptr<shape>> shapes{a, a, std::make_shared<circle>(), nullptr};
  const auto back = trip(shapes);
  CHECK(back[0]->area() == 16);
  CHECK(back[0] == back[1]);
  CHECK(back[2]->area() == 3);
  CHECK(back[3] == nullptr);
  CHECK(trip(std::pair(std::shared_ptr<shape>(a), a)).second->side == 4);
  std::unique_ptr<shape> owned = std::make_unique<circle>();
  CHECK(trip(owned)->area() == 3);
  CHECK(trip(std::unique_ptr<shape>()) == nullptr);
  CHECK(trip(std::make_unique<square>())->area() == 0);

  struct unknown : shape {
    int area() const override { return 0; }
  };
  owned = std::make_unique<unknown>();
  CHECK_THROWS_WITH(encode(owned), Catch::Contains("cannot encode") && Catch::Contains("unregistered"));
}

TEST_CASE("the bytes are those that protocol.md shows", "[wire][archive]") {
  CHECK(hex(encode(true)) == "01");
  CHECK(hex(encode(std::int32_t{-2})) == "feffffff");
  CHECK(hex(encode(std::uint16_t{0x1234})) == "3412");
  CHECK(hex(encode(1.0)) == "000000000000f03f");
  CHECK(hex(encode(colour::green)) == "3412");
  CHECK(hex(encode("ab"s)) == "0200000000000000" "6162");
  CHECK(hex(encode(std::vector<std::int16_t>{1, 2})) == "0200000000000000" "0100" "0200");
  CHECK(hex(encode(std::vector<double>{1})) == "0100000000000000" "000000000000f03f");
  CHECK(hex(encode(std::pair(true, std::vector<double>{1}))) ==
        "01" "0100000000000000" "00000000000000" "000000000000f03f");
  CHECK(hex(encode(std::pair(true, std::vector<double>{}))) == "01" "0000000000000000");
  CHECK(hex(encode(std::pair(true, std::array<std::int32_t, 1>{7}))) == "01" "000000" "07000000");
  CHECK(hex(encode(std::pair(true, vec3{0, 0, 1}))) == "01" "000000" "00000000" "00000000" "0000803f");
  CHECK(hex(encode(std::vector<std::string>{"a"})) == "0100000000000000" "0100000000000000" "61");
  CHECK(hex(encode(std::vector<bool>{true, false})) == "0200000000000000" "01" "00");
  CHECK(hex(encode(std::optional<std::uint8_t>(5))) == "00" "05");
  CHECK(hex(encode(std::optional<std::uint8_t>())) == "01");
  CHECK(hex(encode(std::complex<float>(1, 0))) == "0000803f" "00000000");
  CHECK(hex(encode(std::make_unique<std::uint8_t>(std::uint8_t{5}))) == "01" "05");
  const auto shared = std::make_shared<std::uint8_t>(std::uint8_t{5});
  CHECK(hex(encode(std::array{shared, shared, std::shared_ptr<std::uint8_t>()})) ==
        "01000080" "05" "01000000" "00000000");
  CHECK(hex(encode(std::map<std::uint8_t, bool>{{1, true}})) == "0100000000000000" "01" "01");
  CHECK(hex(encode(versioned{1, 0})) == "07000000" "01000000");
}

TEST_CASE("a raw array of 1024 bytes is a segment, one of 1023 is not", "[wire][archive]") {
  const payload small = encode(std::vector<char>(1023, 'x'));
  CHECK(small.segments.empty());
  CHECK(small.stream.size() == 8 + 1023);
  const payload large = encode(std::vector<char>(1024, 'x'));
  REQUIRE(large.segments.size() == 1);
  CHECK(hex(large) == "0004000000000000");
  CHECK(large.segments[0].size() == 1024);
  CHECK(large.segments[0].data()[1023] == std::byte{'x'});
  CHECK(encode(std::string(1024, 'x')).segments.size() == 1);
  CHECK(encode(std::array<char, 1024>{}).stream.empty());
  CHECK(encode(std::array<char, 1024>{}).segments.size() == 1);
  CHECK(encode(std::pair(std::string(1024, 'x'), std::vector<int>(500))).segments.size() == 2);
}

TEST_CASE("views encode as what they view", "[wire][archive]") {
  for (const std::size_t size : {0U, 3U, 1000U}) {
    const std::vector<double> v(size, 1.5);
    const std::string s(size, 'x');
    CHECK(hex(encode(std::span<const double>(v))) == hex(encode(v)));
    CHECK(encode(std::span(v)).segments.size() == encode(v).segments.size());
    CHECK(hex(encode(std::string_view(s))) == hex(encode(s)));
    CHECK(hex(encode(s.c_str())) == hex(encode(s)));
  }
  CHECK(hex(encode("ab")) == hex(encode("ab"s)));
  const std::array<int, 2> fixed{1, 2};
  CHECK(hex(encode(std::span<const int, 2>(fixed))) == hex(encode(std::vector<int>{1, 2})));
}

TEST_CASE("spans and string views are decoded in place", "[wire][archive]") {
  for (const std::size_t size : {1U, 3U, 100U, 128U, 5000U}) {
    const encoded e(encode(std::vector<double>(size, 1.5)));
    const std::span<const double> seen = decode_span<double>(e.in);
    REQUIRE(seen.size() == size);
    CHECK(seen.back() == 1.5);
    const auto bytes = std::as_bytes(seen);
    if (e.segments.empty()) {
      CHECK(bytes.data() == e.in.stream.data() + 8);
    } else {
      CHECK(bytes.data() == e.segments[0].data());
      CHECK(reinterpret_cast<std::uintptr_t>(bytes.data()) % 64 == 0);
    }
  }
  const encoded text(encode("some text"));
  CHECK(decode_string_view(text.in) == "some text");
  CHECK(static_cast<const void*>(decode_string_view(text.in).data()) == text.in.stream.data() + 8);
  const encoded none(encode(std::vector<quad>{}));
  CHECK(decode_span<quad>(none.in).empty());
  const encoded quads(encode(std::vector<quad>(2, quad{1, 2})));
  CHECK(reinterpret_cast<std::uintptr_t>(decode_span<quad>(quads.in).data()) % 16 == 0);
}

TEST_CASE("a payload at an odd address is still decoded", "[wire][archive]") {
  const std::vector<double> value{1, 2, 3};
  const encoded e(encode(value));
  std::vector<std::byte> moved(e.in.stream.size() + 1);
  std::copy(e.in.stream.begin(), e.in.stream.end(), moved.begin() + 1);
  const payload_view odd{std::span(moved).subspan(1), {}};
  CHECK(decode<std::vector<double>>(odd) == value);
  CHECK_THROWS_AS(decode_span<double>(odd), rh::error);
}

TEST_CASE("a value nested deeper than the limit is refused where it is encoded", "[wire][archive]") {
  const auto make = [](std::size_t depth) {
    auto head = std::make_unique<chain>();
    chain* last = head.get();
    for (std::size_t i = 1; i < depth; ++i) last = (last->next = std::make_unique<chain>()).get();
    return head;
  };
  CHECK(trip(make(rh::limits::archive_depth)) != nullptr);
  try {
    encode(make(rh::limits::archive_depth + 1));
    FAIL("it was encoded");
  } catch (const rh::error& e) {
    CHECK(e.kind() == rh::errc::bad_payload);
    CHECK(std::string(e.what()).find("nested deeper than 200") != std::string::npos);
  }
}

TEST_CASE("a container whose elements encode to nothing is refused where it is encoded", "[wire][archive]") {
  CHECK_THROWS_WITH(encode(std::vector<nothing>(3)), Catch::Contains("encode to nothing"));
  CHECK_THROWS_WITH(encode(std::list<nothing>(3)), Catch::Contains("encode to nothing"));
  CHECK(trip(std::vector<nothing>()).empty());
}

}  // namespace

TEST_CASE("what is taken over is encoded alike, where it is", "[wire][archive]") {
  std::vector<vec3> values(5'000, vec3{1, 2, 3});
  values.back().z = 4;
  const encoded copied(encode(values));
  const auto* const at = reinterpret_cast<const std::byte*>(values.data());
  const encoded taken(encode_taken(std::move(values)));
  CHECK(std::ranges::equal(taken.in.stream, copied.in.stream));
  REQUIRE(taken.in.segments.size() == 1);
  CHECK(taken.in.segments[0].data() == at);
  CHECK(std::ranges::equal(taken.in.segments[0], copied.in.segments[0]));
  CHECK(decode<std::vector<vec3>>(taken.in).back().z == 4);

  std::string text(5'000, 'x');
  const encoded text_taken(encode_taken(std::move(text)));
  CHECK(decode<std::string>(text_taken.in) == std::string(5'000, 'x'));
}
