// SPDX-License-Identifier: Apache-2.0
#include <runhouse/os/private_folder.hpp>

#include "support.hpp"
#include "support/catch.hpp"
#include "support/temporary_file.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

using rh::errc;
using rh::os::private_folder;
using rh::test::contains;
using rh::test::message_of;

namespace {

mode_t mode_of(const std::string& path) {
  struct stat facts {};
  REQUIRE(::lstat(path.c_str(), &facts) == 0);
  return facts.st_mode & 07777;
}

std::string refusal(const std::string& path) {
  return message_of(errc::run_folder, [&] { private_folder::open(path); });
}

}  // namespace

TEST_CASE("a private folder is made with rights for its user only, and taken again", "[os][private_folder]") {
  const rh::test::temporary_place place;
  const mode_t old = ::umask(0);
  private_folder::open(place.path());
  const private_folder again = private_folder::open(place.path() + "//");
  const private_folder inner = again.folder("inner");
  const rh::os::unique_fd file = inner.open_file("file", O_RDWR | O_CREAT);
  ::umask(old);
  CHECK(mode_of(place.path()) == 0700);
  CHECK(again.path() == place.path());
  CHECK(mode_of(inner.path()) == 0700);
  CHECK(mode_of(inner.path_of("file")) == 0600);
  CHECK((::fcntl(file.get(), F_GETFD) & FD_CLOEXEC) != 0);
  CHECK((::fcntl(again.descriptor(), F_GETFD) & FD_CLOEXEC) != 0);
}

TEST_CASE("a symbolic link in a private folder's place is refused, dangling or not", "[os][private_folder]") {
  const rh::test::temporary_place place;
  const std::string target = place.path() + ".target";
  const std::string slash = GENERATE(std::string(), std::string("/"));
  if (GENERATE(true, false)) REQUIRE(::mkdir(target.c_str(), 0700) == 0);
  REQUIRE(::symlink(target.c_str(), place.path().c_str()) == 0);
  const std::string said = refusal(place.path() + slash);
  INFO(said);
  CHECK(contains(said, place.path() + ": it is a symbolic link"));
  CHECK(contains(said, "Remove it"));
  if (std::filesystem::exists(target)) CHECK(std::filesystem::is_empty(target));
}

TEST_CASE("a file in a private folder's place is refused", "[os][private_folder]") {
  const rh::test::temporary_place place;
  rh::test::append(place.path(), "text");
  CHECK(contains(refusal(place.path()), "it is no folder"));
}

TEST_CASE("a folder in which others may write is refused, with the command that helps", "[os][private_folder]") {
  const rh::test::temporary_place place;
  REQUIRE(::mkdir(place.path().c_str(), 0700) == 0);
  const auto loose = static_cast<mode_t>(GENERATE(0720, 0702, 0777));
  REQUIRE(::chmod(place.path().c_str(), loose) == 0);
  const std::string said = refusal(place.path());
  INFO(said);
  CHECK(contains(said, "others may write"));
  CHECK(contains(said, "chmod 700 '" + place.path() + "'"));
  CHECK(mode_of(place.path()) == loose);
}

TEST_CASE("a folder that others may only read or enter is closed to them", "[os][private_folder]") {
  const rh::test::temporary_place place;
  REQUIRE(::mkdir(place.path().c_str(), 0700) == 0);
  const auto loose = static_cast<mode_t>(GENERATE(0755, 0750, 0711, 0701));
  REQUIRE(::chmod(place.path().c_str(), loose) == 0);
  private_folder::open(place.path());
  CHECK(mode_of(place.path()) == 0700);
}

TEST_CASE("another user's folder is refused, whatever its rights", "[os][private_folder]") {
  if (::geteuid() != 0) {
    WARN("skipped: only root can make another user's folder");
    return;
  }
  const rh::test::temporary_place place;
  const auto mode = static_cast<mode_t>(GENERATE(0700, 0755));
  REQUIRE(::mkdir(place.path().c_str(), mode) == 0);
  REQUIRE(::chown(place.path().c_str(), 65534, 65534) == 0);
  CHECK(contains(refusal(place.path()), "it belongs to user 65534, not to this one, 0"));
  // And the other way: root's, seen by another.
  REQUIRE(::chown(place.path().c_str(), 0, 0) == 0);
  REQUIRE(::chmod(std::filesystem::path(place.path()).parent_path().c_str(), 0755) == 0);
  const int code = rh::test::in_child([&] {
    if (::setgid(65534) != 0 || ::setuid(65534) != 0) return 1;
    try {
      private_folder::open(place.path());
    } catch (const rh::error& e) {
      return contains(e.what(), "it belongs to user 0, not to this one, 65534") ? 0 : 2;
    }
    return 3;
  });
  CHECK(code == 0);
}

TEST_CASE("a folder that cannot be made says why and what to do", "[os][private_folder]") {
  const rh::test::temporary_place place;
  const std::string said = refusal(place.path() + "/below");
  CHECK(contains(said, place.path() + "/below"));
  CHECK(contains(said, "No such file or directory"));
  CHECK(contains(said, "what is above it must be there"));
}

TEST_CASE("a symbolic link planted as a file leads nowhere", "[os][private_folder]") {
  const rh::test::temporary_place place;
  const private_folder folder = private_folder::open(place.path());
  const std::string target = place.path() + ".target";
  rh::test::append(target, "precious");
  REQUIRE(::symlink(target.c_str(), folder.path_of("file").c_str()) == 0);
  REQUIRE(::symlink((target + ".absent").c_str(), folder.path_of("dangling").c_str()) == 0);
  for (const std::string name : {"file", "dangling"}) {
    const std::string said = message_of(errc::run_folder, [&] { folder.open_file(name, O_RDWR | O_CREAT | O_TRUNC); });
    CHECK(contains(said, "it is a symbolic link"));
    CHECK(contains(said, folder.path_of(name)));
  }
  CHECK(rh::test::content(target) == "precious\n");
  CHECK_FALSE(std::filesystem::exists(target + ".absent"));
  // Removing and replacing are of the link, not of where it leads.
  rh::test::append(folder.path_of("new"), "new");
  folder.rename_file("new", "file");
  CHECK(folder.remove_file("dangling"));
  CHECK(rh::test::content(target) == "precious\n");
  CHECK(rh::test::content(folder.path_of("file")) == "new\n");
  REQUIRE(::symlink(place.path().c_str(), folder.path_of("inner").c_str()) == 0);
  CHECK(contains(message_of(errc::run_folder, [&] { folder.folder("inner"); }), "it is a symbolic link"));
}

TEST_CASE("files are found in the folder that was opened, not in one that has its name by now",
          "[os][private_folder]") {
  const rh::test::temporary_place place;
  const private_folder folder = private_folder::open(place.path());
  std::filesystem::rename(place.path(), place.path() + ".moved");
  private_folder::open(place.path());
  folder.open_file("file", O_RDWR | O_CREAT);
  CHECK(std::filesystem::exists(place.path() + ".moved/file"));
  CHECK(std::filesystem::is_empty(place.path()));
}

TEST_CASE("a private folder lists and removes what is in it", "[os][private_folder]") {
  const rh::test::temporary_place place;
  const private_folder folder = private_folder::open(place.path());
  folder.open_file("b", O_RDWR | O_CREAT);
  folder.folder("a");
  for (int round = 0; round < 2; ++round) {
    std::vector<std::string> names = folder.names();
    std::sort(names.begin(), names.end());
    CHECK(names == std::vector<std::string>{"a", "b"});
  }
  CHECK(folder.remove_file("b"));
  CHECK_FALSE(folder.remove_file("b"));
  CHECK(contains(message_of(errc::run_folder, [&] { folder.remove_file("a"); }), "remove"));
  CHECK_FALSE(folder.try_open_file("b", O_RDONLY));
  CHECK(errno == ENOENT);
}

TEST_CASE("the run folder is below XDG_RUNTIME_DIR only where that is this user's", "[os][private_folder]") {
  const std::string own = "/tmp/runhouse-" + std::to_string(::geteuid());
  const rh::test::temporary_place place;
  REQUIRE(::mkdir(place.path().c_str(), 0700) == 0);
  const auto path_with = [](const std::optional<std::string>& value) {
    const rh::test::variable runtime("XDG_RUNTIME_DIR", value);
    return rh::os::run_folder_path();
  };
  CHECK(path_with(place.path()) == place.path() + "/runhouse");
  CHECK(path_with(std::nullopt) == own);
  CHECK(path_with("") == own);
  CHECK(path_with("tmp") == own);
  CHECK(path_with(place.path() + "/absent") == own);
  if (::geteuid() != 0) return;
  REQUIRE(::chown(place.path().c_str(), 65534, 65534) == 0);
  CHECK(path_with(place.path()) == own);
}

TEST_CASE("the home folder is HOME's, or the one of the list of users", "[os][private_folder]") {
  const auto path_with = [](const std::optional<std::string>& value) {
    const rh::test::variable home("HOME", value);
    return rh::os::home_folder_path();
  };
  CHECK(path_with("/some/where") == "/some/where/.runhouse");
  const std::string listed = path_with(std::nullopt);
  CHECK(contains(listed, "/.runhouse"));
  CHECK(path_with("relative") == listed);
  if (::geteuid() != 0) return;
  // A user of whom the system knows nothing, as in many containers.
  const int code = rh::test::in_child([] {
    ::unsetenv("HOME");
    if (::setuid(54321) != 0) return 1;
    try {
      rh::os::home_folder_path();
    } catch (const rh::error& e) {
      return contains(e.what(), "Set HOME") ? 0 : 2;
    }
    return 3;
  });
  CHECK(code == 0);
}
