// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/os/fd.hpp>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <pwd.h>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace rh::os {

/// A folder that only this user may enter, and what is in it. All goes through the folder's descriptor and follows no
/// symbolic link, so that neither a link that somebody has planted nor a folder put in this one's place leads
/// elsewhere. Names have no slash. Errors of all that may throw: rh::error, errc::run_folder, saying which folder, what
/// is wrong with it and what to do.
class private_folder {
 public:
  /// Makes it with mode 0700, in a folder that is there, or takes one that is there: a real folder of this user's. As
  /// with ssh's files, one in which others may write is refused, since what is in it may be theirs. One that others may
  /// only read or enter, as mkdir makes it, is closed to them.
  static private_folder open(std::string path);
  /// The same of a folder in this one.
  private_folder folder(const std::string& name) const;

  const std::string& path() const noexcept { return path_; }
  std::string path_of(const std::string& name) const { return path_ + "/" + name; }
  int descriptor() const noexcept { return fd_.get(); }

  /// Opens a file, with the flags of open(2); one that is made gets mode 0600. None, and errno, where that fails.
  unique_fd try_open_file(const std::string& name, int flags) const noexcept;
  /// The same, or throws.
  unique_fd open_file(const std::string& name, int flags) const;
  /// Whether there was such a file; throws where it cannot be removed.
  bool remove_file(const std::string& name) const;
  /// Within this folder, in place of what has the new name.
  void rename_file(const std::string& from, const std::string& to) const;
  /// The names in it, in no order, but "." and "..".
  std::vector<std::string> names() const;

 private:
  private_folder(std::string path, unique_fd fd) noexcept : path_(std::move(path)), fd_(std::move(fd)) {}
  static private_folder open_at(int parent, const std::string& name, std::string path);

  std::string path_;
  unique_fd fd_;
};

/// Where this user's sockets and locks on this machine are: $XDG_RUNTIME_DIR/runhouse if that variable has the absolute
/// path of a folder of this user's, else /tmp/runhouse-<uid>: a home may be shared by many machines.
inline std::string run_folder_path();
/// Where this user's programs, logs and settings are: ~/.runhouse, by HOME, or else by the system's list of users.
inline std::string home_folder_path();

// ---- implementation

namespace folder_detail {

[[noreturn, gnu::cold]] inline void refuse(const std::string& path, const std::string& wrong,
                                           const std::string& what_to_do) {
  fail(errc::run_folder, "runhouse: cannot use the folder " + path + ": " + wrong + ". " + what_to_do);
}

[[noreturn, gnu::cold]] inline void refuse_errno(const std::string& tried, const std::string& path, int reason) {
  std::string what_to_do = "see that this user may do so";
  if (reason == ENOSPC || reason == EDQUOT) what_to_do = "make room there";
  if (reason == EROFS) what_to_do = "it must be where this user can write";
  if (reason == ENOENT) what_to_do = "what is above it must be there";
  if (reason == ELOOP) what_to_do = "it is a symbolic link, which is not followed there: remove it";
  fail(errc::run_folder, "runhouse: cannot " + tried + " " + path + ": " + std::strerror(reason) + "; " + what_to_do);
}

/// What is wrong with what has the name of a folder that could not be opened as one.
[[noreturn, gnu::cold]] inline void refuse_unopened(int parent, const std::string& name, const std::string& path,
                                                    int reason) {
  struct stat facts {};
  if (::fstatat(parent, name.c_str(), &facts, AT_SYMLINK_NOFOLLOW) == 0) {
    if (S_ISLNK(facts.st_mode))
      refuse(path, "it is a symbolic link, which may lead anywhere", "Remove it: the folder is then made anew");
    if (!S_ISDIR(facts.st_mode)) refuse(path, "it is no folder", "Move it away");
    if (facts.st_uid != ::geteuid())
      refuse(path,
             "it belongs to user " + std::to_string(facts.st_uid) + ", not to this one, " + std::to_string(::geteuid()),
             "Have it removed");
  }
  refuse_errno("open the folder", path, reason);
}

inline std::string octal(mode_t mode) {
  char text[8];
  std::snprintf(text, sizeof text, "%04o", static_cast<unsigned>(mode & 07777));
  return text;
}

inline bool is_own_folder(const char* path) noexcept {
  struct stat facts {};
  return ::stat(path, &facts) == 0 && S_ISDIR(facts.st_mode) && facts.st_uid == ::geteuid();
}

}  // namespace folder_detail

inline private_folder private_folder::open_at(int parent, const std::string& name, std::string path) {
  if (::mkdirat(parent, name.c_str(), 0700) != 0 && errno != EEXIST)
    folder_detail::refuse_errno("make the folder", path, errno);
  unique_fd fd(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) folder_detail::refuse_unopened(parent, name, path, errno);
  struct stat facts {};
  if (::fstat(fd.get(), &facts) != 0) folder_detail::refuse_errno("look at the folder", path, errno);
  if (facts.st_uid != ::geteuid()) folder_detail::refuse_unopened(parent, name, path, EPERM);
  if ((facts.st_mode & 022) != 0) {
    folder_detail::refuse(
        path,
        "others may write in it (mode " + folder_detail::octal(facts.st_mode) + "), so what is in it may be theirs",
        "Look at what is in it, remove what is not yours, and run: chmod 700 '" + path + "'");
  }
  if ((facts.st_mode & 055) != 0 && ::fchmod(fd.get(), 0700) != 0)
    folder_detail::refuse_errno("close to others the folder", path, errno);
  return {std::move(path), std::move(fd)};
}

inline private_folder private_folder::open(std::string path) {
  // With a slash at its end it would be followed if it were a link.
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return open_at(AT_FDCWD, path, path);
}

inline private_folder private_folder::folder(const std::string& name) const {
  return open_at(fd_.get(), name, path_of(name));
}

inline unique_fd private_folder::try_open_file(const std::string& name, int flags) const noexcept {
  return unique_fd(::openat(fd_.get(), name.c_str(), flags | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY, 0600));
}

inline unique_fd private_folder::open_file(const std::string& name, int flags) const {
  unique_fd fd = try_open_file(name, flags);
  if (!fd) folder_detail::refuse_errno("open", path_of(name), errno);
  return fd;
}

inline bool private_folder::remove_file(const std::string& name) const {
  if (::unlinkat(fd_.get(), name.c_str(), 0) == 0) return true;
  if (errno != ENOENT) folder_detail::refuse_errno("remove", path_of(name), errno);
  return false;
}

inline void private_folder::rename_file(const std::string& from, const std::string& to) const {
  if (::renameat(fd_.get(), from.c_str(), fd_.get(), to.c_str()) != 0)
    folder_detail::refuse_errno("put in place", path_of(to), errno);
}

inline std::vector<std::string> private_folder::names() const {
  // By a description of its own: the position in a folder is the description's.
  unique_fd again = open_file(".", O_RDONLY | O_DIRECTORY);
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(::fdopendir(again.get()), &::closedir);
  if (!entries) folder_detail::refuse_errno("read the folder", path_, errno);
  again.release();
  std::vector<std::string> found;
  while (const dirent* entry = ::readdir(entries.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") found.push_back(name);
  }
  return found;
}

inline std::string run_folder_path() {
  const char* runtime = std::getenv("XDG_RUNTIME_DIR");
  if (runtime != nullptr && runtime[0] == '/' && folder_detail::is_own_folder(runtime))
    return std::string(runtime) + "/runhouse";
  return "/tmp/runhouse-" + std::to_string(::geteuid());
}

inline std::string home_folder_path() {
  const char* home = std::getenv("HOME");
  if (home != nullptr && home[0] == '/') return std::string(home) + "/.runhouse";
  std::vector<char> texts(16 * 1024);
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwuid_r(::geteuid(), &entry, texts.data(), texts.size(), &found) == 0 && found != nullptr &&
      entry.pw_dir != nullptr && entry.pw_dir[0] == '/')
    return std::string(entry.pw_dir) + "/.runhouse";
  fail(errc::run_folder,
       "runhouse: this user has no home folder, by HOME or by the system's list of users. Set HOME to a folder of "
       "yours");
}

}  // namespace rh::os
