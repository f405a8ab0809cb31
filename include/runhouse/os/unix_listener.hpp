// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/core/limits.hpp>
#include <runhouse/os/fd.hpp>
#include <runhouse/os/private_folder.hpp>

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <string>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>
#include <utility>

namespace rh::os {

/// Who is at the other end of a unix socket: the process that connected, or that listened, as it was then.
struct peer {
  pid_t pid = 0;  ///< 0: it is not to be seen from here, as in another container
  uid_t uid = 0;
  gid_t gid = 0;
};
/// Errors: std::system_error.
inline peer peer_of(int socket);

/// A unix stream socket in a private folder, mode 0600. From when it can be seen it can be connected to; one that an
/// ended process has left there is replaced, so whoever listens holds a lock_file first.
class unix_listener {
 public:
  /// Errors: rh::error, errc::run_folder.
  static unix_listener listen(const private_folder& folder, std::string name);
  unix_listener(unix_listener&&) noexcept = default;
  unix_listener& operator=(unix_listener&&) = delete;
  /// Removes the socket, unless another is there by now.
  ~unix_listener();

  struct accepted {
    unique_fd fd;  ///< non-blocking
    os::peer peer;
  };
  /// The next connection; nothing if there is none now. Errors: std::system_error: with EMFILE and its like the
  /// connection stays, so descriptor() stays readable: wait before the next try.
  std::optional<accepted> accept();

  /// Non-blocking; readable when there is a connection.
  int descriptor() const noexcept { return fd_.get(); }

 private:
  unix_listener(unique_fd fd, unique_fd folder, std::string name, ino_t socket) noexcept
      : fd_(std::move(fd)), folder_(std::move(folder)), name_(std::move(name)), socket_(socket) {}

  unique_fd fd_;
  unique_fd folder_;
  std::string name_;
  ino_t socket_;
};

/// How an attempt to connect ended.
enum class connect_result {
  connected,
  refused,  ///< a socket is there, and nobody listens: its process has ended
  absent,   ///< there is no such socket
};

struct connection {
  connect_result how;
  unique_fd fd;  ///< blocking; only if connected
};

/// Connects to a unix stream socket by its path, of any length. Who listens may be found by peer_of. Blocks only while
/// the listener has more connections waiting than it may have, and for limits::accept at most. Errors: rh::error,
/// errc::timed_out; errc::run_folder where the path cannot be used.
inline connection connect_unix(const std::string& path);
/// The same in a private folder.
inline connection connect_unix(const private_folder& folder, const std::string& name);

// ---- implementation

inline peer peer_of(int socket) {
  ucred facts{};
  socklen_t size = sizeof facts;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &facts, &size) != 0)
    fail_errno("asking who is at the other end of a socket");
  return {facts.pid, facts.uid, facts.gid};
}

namespace listener_detail {

/// An address has room for 107 bytes of path, so it goes by the folder's descriptor.
inline sockaddr_un address_of(int folder, const std::string& name, const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string by_descriptor = "/proc/self/fd/" + std::to_string(folder) + "/" + name;
  if (by_descriptor.size() >= sizeof address.sun_path) {
    fail(errc::run_folder, "runhouse: the name of the socket " + path + " is too long: " + std::to_string(name.size()) +
                               " bytes, where about 80 are possible. Use a shorter one");
  }
  std::memcpy(address.sun_path, by_descriptor.c_str(), by_descriptor.size() + 1);
  return address;
}

inline unique_fd stream_socket(int flags) {
  return checked(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0), "making a unix socket");
}

inline connection connect_in(int folder, const std::string& name, const std::string& path) {
  const sockaddr_un address = address_of(folder, name, path);
  unique_fd fd = stream_socket(0);
  timeval wait{};
  wait.tv_sec = limits::accept.count();
  ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
  while (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    switch (errno) {
      case EINTR: continue;
      case ECONNREFUSED: return {connect_result::refused, {}};
      case ENOENT: return {connect_result::absent, {}};
      case EAGAIN:
        fail(errc::timed_out, "runhouse: nobody accepted a connection to " + path + " for " +
                                  std::to_string(limits::accept.count()) +
                                  " s: its process is stopped, or has too much to do. Try again later, or end it");
      default: folder_detail::refuse_errno("connect to", path, errno);
    }
  }
  wait.tv_sec = 0;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
  return {connect_result::connected, std::move(fd)};
}

}  // namespace listener_detail

inline unix_listener unix_listener::listen(const private_folder& folder, std::string name) {
  // Under another name until it listens: this one of a dead process would be in the way, and is nobody else's.
  const std::string early = "." + name + ".new";
  const sockaddr_un address = listener_detail::address_of(folder.descriptor(), early, folder.path_of(name));
  folder.remove_file(early);
  unique_fd fd = listener_detail::stream_socket(SOCK_NONBLOCK);
  struct stat made {};
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::fchmodat(folder.descriptor(), early.c_str(), 0600, 0) != 0 ||
      ::fstatat(folder.descriptor(), early.c_str(), &made, AT_SYMLINK_NOFOLLOW) != 0 ||
      ::listen(fd.get(), SOMAXCONN) != 0)
    folder_detail::refuse_errno("make the socket", folder.path_of(name), errno);
  unique_fd again(::fcntl(folder.descriptor(), F_DUPFD_CLOEXEC, 3));
  if (!again) folder_detail::refuse_errno("make the socket", folder.path_of(name), errno);
  folder.rename_file(early, name);
  return {std::move(fd), std::move(again), std::move(name), made.st_ino};
}

inline unix_listener::~unix_listener() {
  struct stat there {};
  if (folder_ && ::fstatat(folder_.get(), name_.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0 && there.st_ino == socket_)
    ::unlinkat(folder_.get(), name_.c_str(), 0);
}

inline std::optional<unix_listener::accepted> unix_listener::accept() {
  for (;;) {
    unique_fd fd(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd) {
      const os::peer who = peer_of(fd.get());
      return accepted{std::move(fd), who};
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) return std::nullopt;
    if (errno != EINTR && errno != ECONNABORTED) fail_errno("accepting a connection");
  }
}

inline connection connect_unix(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  const unique_fd fd(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!fd && errno == ENOENT) return {connect_result::absent, {}};
  if (!fd) folder_detail::refuse_errno("open the folder", folder, errno);
  return listener_detail::connect_in(fd.get(), name, path);
}

inline connection connect_unix(const private_folder& folder, const std::string& name) {
  return listener_detail::connect_in(folder.descriptor(), name, folder.path_of(name));
}

}  // namespace rh::os
