// SPDX-License-Identifier: Apache-2.0

// What a user writes to call the twenty functions elsewhere without a library for it: cereal archives, a blocking
// socket, one stub a function for the client and one case a function for the server.

#include "functions.hpp"

#include <cereal/archives/portable_binary.hpp>
#include <cereal/types/string.hpp>
#include <cereal/types/utility.hpp>
#include <cereal/types/vector.hpp>

#include <sstream>
#include <stdexcept>
#include <sys/socket.h>
#include <unistd.h>

namespace {

enum class function : std::uint32_t {
  plus_one,
  scale,
  add_up,
  greet,
  repeat,
  contains,
  doubled,
  linspace,
  middle,
  area,
  refine,
  translate,
  vertices,
  defaults,
  solve,
  solve_all,
  extremes,
  hash_of,
  note,
  split
};

void write_all(int fd, const void* data, std::size_t size) {
  const char* at = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t n = ::send(fd, at, size, MSG_NOSIGNAL);
    if (n <= 0) throw std::runtime_error("the connection is closed");
    at += n;
    size -= static_cast<std::size_t>(n);
  }
}

void read_all(int fd, void* data, std::size_t size) {
  char* at = static_cast<char*>(data);
  while (size > 0) {
    const ssize_t n = ::recv(fd, at, size, 0);
    if (n <= 0) throw std::runtime_error("the connection is closed");
    at += n;
    size -= static_cast<std::size_t>(n);
  }
}

void write_message(int fd, const std::string& body) {
  const std::uint64_t size = body.size();
  write_all(fd, &size, sizeof size);
  write_all(fd, body.data(), body.size());
}

std::string read_message(int fd) {
  std::uint64_t size = 0;
  read_all(fd, &size, sizeof size);
  std::string body(size, '\0');
  read_all(fd, body.data(), body.size());
  return body;
}

/// Sends a function's number and arguments, and waits for what it answers.
template <class... A>
std::istringstream request(int fd, function f, const A&... arguments) {
  std::ostringstream out;
  {
    cereal::PortableBinaryOutputArchive archive(out);
    archive(f, arguments...);
  }
  write_message(fd, out.str());
  std::istringstream in(read_message(fd));
  bool threw = false;
  std::string what;
  cereal::PortableBinaryInputArchive archive(in);
  archive(threw);
  if (threw) {
    archive(what);
    throw std::runtime_error(what);
  }
  return in;
}

template <class R>
R result(std::istringstream in) {
  R value{};
  cereal::PortableBinaryInputArchive archive(in);
  archive(value);
  return value;
}

// ---- client

class client {
 public:
  explicit client(int fd) : fd_(fd) {}

  int plus_one(int x) { return result<int>(request(fd_, function::plus_one, x)); }
  double scale(double x, double factor) { return result<double>(request(fd_, function::scale, x, factor)); }
  std::int64_t add_up(const std::vector<std::int64_t>& values) {
    return result<std::int64_t>(request(fd_, function::add_up, values));
  }
  std::string greet(const std::string& name) { return result<std::string>(request(fd_, function::greet, name)); }
  std::string repeat(const std::string& text, int times) {
    return result<std::string>(request(fd_, function::repeat, text, times));
  }
  bool contains(const std::vector<std::string>& texts, const std::string& text) {
    return result<bool>(request(fd_, function::contains, texts, text));
  }
  std::vector<float> doubled(const std::vector<float>& values) {
    return result<std::vector<float>>(request(fd_, function::doubled, values));
  }
  std::vector<double> linspace(double first, double last, int count) {
    return result<std::vector<double>>(request(fd_, function::linspace, first, last, count));
  }
  point middle(const point& a, const point& b) { return result<point>(request(fd_, function::middle, a, b)); }
  double area(const mesh& of) { return result<double>(request(fd_, function::area, of)); }
  mesh refine(const mesh& coarse, int levels) { return result<mesh>(request(fd_, function::refine, coarse, levels)); }
  mesh translate(const mesh& m, const point& by) { return result<mesh>(request(fd_, function::translate, m, by)); }
  std::vector<point> vertices(const mesh& m, bool unique) {
    return result<std::vector<point>>(request(fd_, function::vertices, m, unique));
  }
  settings defaults(const std::string& label) { return result<settings>(request(fd_, function::defaults, label)); }
  double solve(const mesh& on, const settings& with) { return result<double>(request(fd_, function::solve, on, with)); }
  std::vector<double> solve_all(const std::vector<mesh>& on, const settings& with) {
    return result<std::vector<double>>(request(fd_, function::solve_all, on, with));
  }
  std::pair<int, double> extremes(const std::vector<double>& values, int from) {
    return result<std::pair<int, double>>(request(fd_, function::extremes, values, from));
  }
  std::uint64_t hash_of(const std::vector<std::uint8_t>& bytes, std::uint64_t seed) {
    return result<std::uint64_t>(request(fd_, function::hash_of, bytes, seed));
  }
  void note(const std::string& text, int level) { request(fd_, function::note, text, level); }
  std::vector<std::string> split(const std::string& text, char at, int at_most) {
    return result<std::vector<std::string>>(request(fd_, function::split, text, at, at_most));
  }

 private:
  int fd_;
};

// ---- server

/// The arguments of one request, in the order of the function's parameters.
template <class... A, class Archive>
std::tuple<A...> arguments(Archive& in) {
  std::tuple<A...> values;
  std::apply([&](auto&... value) { in(value...); }, values);
  return values;
}

/// Calls f with the request's arguments and answers with its result.
template <class... A, class R, class... P>
void answer(cereal::PortableBinaryInputArchive& in, cereal::PortableBinaryOutputArchive& out, R (*f)(P...)) {
  auto values = arguments<std::remove_cvref_t<P>...>(in);
  if constexpr (std::is_void_v<R>) {
    std::apply(f, std::move(values));
    out(false);
  } else {
    const R value = std::apply(f, std::move(values));
    out(false, value);
  }
}

void dispatch(cereal::PortableBinaryInputArchive& in, cereal::PortableBinaryOutputArchive& out) {
  function f{};
  in(f);
  switch (f) {
    case function::plus_one: return answer(in, out, &plus_one);
    case function::scale: return answer(in, out, &scale);
    case function::add_up: return answer(in, out, &add_up);
    case function::greet: return answer(in, out, &greet);
    case function::repeat: return answer(in, out, &repeat);
    case function::contains: return answer(in, out, &contains);
    case function::doubled: return answer(in, out, &doubled);
    case function::linspace: return answer(in, out, &linspace);
    case function::middle: return answer(in, out, &middle);
    case function::area: return answer(in, out, &area);
    case function::refine: return answer(in, out, &refine);
    case function::translate: return answer(in, out, &translate);
    case function::vertices: return answer(in, out, &vertices);
    case function::defaults: return answer(in, out, &defaults);
    case function::solve: return answer(in, out, &solve);
    case function::solve_all: return answer(in, out, &solve_all);
    case function::extremes: return answer(in, out, &extremes);
    case function::hash_of: return answer(in, out, &hash_of);
    case function::note: return answer(in, out, &note);
    case function::split: return answer(in, out, &split);
  }
  throw std::runtime_error("no such function");
}

}  // namespace

void serve(int fd) {
  for (;;) {
    std::istringstream in(read_message(fd));
    std::ostringstream out;
    try {
      cereal::PortableBinaryInputArchive from(in);
      cereal::PortableBinaryOutputArchive to(out);
      dispatch(from, to);
    } catch (const std::exception& e) {
      out.str("");
      cereal::PortableBinaryOutputArchive to(out);
      to(true, std::string(e.what()));
    }
    write_message(fd, out.str());
  }
}

double call_all(int fd) {
  client gpu(fd);
  const mesh plate{"plate", {{0, 0}, {1, 0}, {0, 1}}, {0, 1, 2}};
  const settings with{10, 1e-6, false, "run"};
  double sum = 0;

  sum += gpu.plus_one(1);
  sum += gpu.scale(1.5, 2.0);
  sum += static_cast<double>(gpu.add_up({1, 2, 3}));
  const std::string greeting = gpu.greet("Ada");
  const std::string twice = gpu.repeat(greeting, 2);
  sum += gpu.contains({twice}, greeting);
  const std::vector<float> floats = gpu.doubled({1, 2});
  const std::vector<double> line = gpu.linspace(0.0, 1.0, 11);
  const point center = gpu.middle(plate.points[0], plate.points[1]);
  sum += gpu.area(plate);
  const mesh fine = gpu.refine(plate, 2);
  const mesh moved = gpu.translate(fine, center);
  const std::vector<point> corners = gpu.vertices(moved, true);
  const settings plain = gpu.defaults("plain");
  sum += gpu.solve(moved, plain);
  const std::vector<double> all = gpu.solve_all({plate, fine}, with);
  const std::pair<int, double> ends = gpu.extremes(line, 1);
  sum += static_cast<double>(gpu.hash_of({1, 2, 3}, 7));
  gpu.note("done", 1);
  const std::vector<std::string> words = gpu.split("a b c", ' ', 3);

  return sum + ends.second + static_cast<double>(floats.size() + corners.size() + all.size() + words.size());
}
