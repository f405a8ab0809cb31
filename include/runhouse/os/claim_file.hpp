// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/os/fd.hpp>

#include <cerrno>
#include <exception>
#include <fcntl.h>
#include <optional>
#include <string>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace rh::os {

/// A claim on something that only one process of this user may have at a time: a locked file. It lasts until the last
/// descriptor of it is closed, by whomever it was inherited, so a crash releases it.
class claim_file {
 public:
  /// Nothing if another has it. The file is in claims_folder(). Precondition: `name` has no slash. Errors:
/// std::system_error.
  static std::optional<claim_file> try_claim(const std::string& name) { return lock(name, LOCK_EX); }
  /// Tells who has the claim that it is wanted, as long as this is held. Nothing if that has to be tried again.
  static std::optional<claim_file> want(const std::string& name) { return lock(name + ".wanted", LOCK_SH); }
  /// Whether somebody wants it; not, where that cannot be found out.
  static bool is_wanted(const std::string& name) noexcept {
    try {
      return !lock(name + ".wanted", LOCK_EX);
    } catch (const std::exception&) {
      return false;
    }
  }

  /// For a process that is to hold it too.
  int descriptor() const noexcept { return fd_.get(); }

 private:
  explicit claim_file(unique_fd fd) noexcept : fd_(std::move(fd)) {}

  static std::optional<claim_file> lock(const std::string& name, int how) {
    const std::string path = claims_folder() + "/" + name;
    unique_fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd) fail_errno("opening " + path);
    if (::flock(fd.get(), how | LOCK_NB) == 0) return claim_file(std::move(fd));
    if (errno != EWOULDBLOCK) fail_errno("locking " + path);
    return std::nullopt;
  }
  /// Always this one: two sessions of a user may differ in XDG_RUNTIME_DIR, and are to see each other's claims.
  static std::string claims_folder() {
    const std::string own = "/tmp/runhouse-" + std::to_string(::getuid());
    const std::string claims = own + "/claims";
    for (const std::string& folder : {own, claims}) {
      if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) fail_errno("making " + folder);
    }
    struct stat s {};
    if (::lstat(own.c_str(), &s) != 0) fail_errno("looking at " + own);
    if (!S_ISDIR(s.st_mode) || s.st_uid != ::getuid() || (s.st_mode & 077) != 0) {
      errno = EPERM;
      fail_errno("using " + own + ", which must be a folder of this user's that nobody else may enter");
    }
    return claims;
  }

  unique_fd fd_;
};

}  // namespace rh::os
