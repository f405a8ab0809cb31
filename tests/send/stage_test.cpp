// SPDX-License-Identifier: Apache-2.0
#include <runhouse/core/error.hpp>

#include <runhouse/runhouse.hpp>

#include "support/catch.hpp"
#include "support/test_cluster.hpp"

#include <csignal>
#include <optional>
#include <stdexcept>
#include <string>

/// How each kind of failure says how far the call had come.
namespace {

/// Throws when it is saved or loaded, as it is told.
struct stubborn {
  std::string fails_at;
  template <class Archive>
  void save(Archive& ar) const {
    if (fails_at == "save") throw std::runtime_error("cannot be saved");
    if (fails_at == "save with an int") throw 7;
    ar(fails_at);
  }
  template <class Archive>
  void load(Archive& ar) {
    ar(fails_at);
    if (fails_at == "load") throw std::runtime_error("cannot be loaded");
    if (fails_at == "load with an int") throw 7;
  }
};

int take(const stubborn&) { return 1; }
stubborn give(const std::string& fails_at) { return {fails_at}; }
int throws_ours() { throw rh::error(rh::errc::timed_out, "a device did not answer"); }
int throws_an_int() { throw 42; }
int dies() {
  std::signal(SIGSEGV, SIG_DFL);  // a sanitizer would make it an exit
  std::raise(SIGSEGV);
  return 0;
}

rh::cluster here() {
  static rh::cluster* only = new rh::cluster(test_cluster(1));
  return *only;
}

template <class Call>
rh::error error_of(Call&& call) {
  try {
    call();
  } catch (const rh::error& e) {
    return e;
  }
  return {rh::errc::closed, "nothing was thrown"};
}

void check(const rh::error& e, rh::errc kind, rh::stage reached, const std::string& says) {
  INFO(e.what());
  CHECK(e.kind() == kind);
  CHECK(e.origin().reached == reached);
  CHECK(std::string(e.what()).find(says) != std::string::npos);
}

}  // namespace

TEST_CASE("an argument that cannot be saved is refused before anything is sent", "[send][stage]") {
  const rh::error e = error_of([] { static_cast<void>(here().send<&take>()(stubborn{"save"})); });
  check(e, rh::errc::bad_payload, rh::stage::not_started, "cannot be saved");
}

TEST_CASE("an argument that cannot be loaded there did not start the function", "[send][stage]") {
  const rh::error e = error_of([] { here().send<&take>()(stubborn{"load"}).get(); });
  check(e, rh::errc::bad_payload, rh::stage::not_started, "cannot be loaded");
}

TEST_CASE("a result that cannot be saved there says that the function ran", "[send][stage]") {
  const rh::error e = error_of([] { here().send<&give>()("save").get(); });
  check(e, rh::errc::bad_payload, rh::stage::ran, "cannot be saved");
}

TEST_CASE("a result that cannot be loaded here says so at the await", "[send][stage]") {
  const rh::error e = error_of([] { here().send<&give>()("load").get(); });
  check(e, rh::errc::bad_payload, rh::stage::ran, "give on " + here().name() + ": its result came, but: ");
  CHECK(std::string(e.what()).find("cannot be loaded") != std::string::npos);
}

TEST_CASE("an error of this library's that a function throws keeps its code, and ran", "[send][stage]") {
  const rh::error e = error_of([] { here().send<&throws_ours>()().get(); });
  check(e, rh::errc::timed_out, rh::stage::ran, "a device did not answer");
}

TEST_CASE("something that is no exception class arrives as a remote_error", "[send][stage]") {
  const rh::error e = error_of([] { here().send<&throws_an_int>()().get(); });
  check(e, rh::errc::remote_exception, rh::stage::ran, "threw int");
}

TEST_CASE("a crash may have run, and says by which signal", "[send][stage]") {
  const rh::error e = error_of([] { here().send<&dies>()().get(); });
  check(e, rh::errc::worker_died, rh::stage::may_have_run, "killed by signal 11");
}

TEST_CASE("an argument whose loading throws an int fails its call alone", "[send][stage]") {
  const rh::error e = error_of([] { here().send<&take>()(stubborn{"load with an int"}).get(); });
  check(e, rh::errc::bad_payload, rh::stage::not_started, "it threw int");
  CHECK(here().send<&take>()(stubborn{"never"}).get() == 1);
}

TEST_CASE("an argument whose saving throws an int is refused before anything is sent", "[send][stage]") {
  const rh::error e = error_of([] { static_cast<void>(here().send<&take>()(stubborn{"save with an int"})); });
  check(e, rh::errc::bad_payload, rh::stage::not_started, "it threw int");
  CHECK(here().usage().unfinished_calls == 0);
}

TEST_CASE("a result whose saving or loading throws an int fails its call alone", "[send][stage]") {
  for (const char* fails_at : {"save with an int", "load with an int"}) {
    const rh::error e = error_of([&] { here().send<&give>()(std::string(fails_at)).get(); });
    INFO(fails_at);
    check(e, rh::errc::bad_payload, rh::stage::ran, "it threw int");
  }
  CHECK(here().send<&take>()(stubborn{"never"}).get() == 1);
}
