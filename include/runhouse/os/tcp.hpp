// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/os/fd.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string>
#include <sys/socket.h>
#include <sys/types.h>

namespace rh::os {

/// A non-blocking TCP connection to the first of a host's addresses that answers, which breaks when what was sent is not
/// acknowledged for `silence`. `family` is AF_INET, AF_INET6, or AF_UNSPEC for both. The name is looked up for as long as
/// the system's resolver takes. Errors: errc::host_unreachable, with the last address's reason.
inline unique_fd connect_tcp(const std::string& host, std::uint16_t port, int family, std::chrono::steady_clock::time_point deadline,
                             std::chrono::milliseconds silence) {
  addrinfo wanted{};
  wanted.ai_family = family;
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV;
  addrinfo* list = nullptr;
  const int looked_up = ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &wanted, &list);
  if (looked_up != 0) {
    fail(errc::host_unreachable, host + " has no address: " + (looked_up == EAI_SYSTEM ? std::strerror(errno) : ::gai_strerror(looked_up)));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> all(list, ::freeaddrinfo);
  std::string why = "none of its addresses can be used";
  for (const addrinfo* at = list; at != nullptr; at = at->ai_next) {
    unique_fd fd(::socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    int error = !fd ? errno : ::connect(fd.get(), at->ai_addr, at->ai_addrlen) == 0 ? 0 : errno;
    while (error == EINPROGRESS || error == EINTR) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
      pollfd writable{fd.get(), POLLOUT, 0};
      const int ready = left <= 0 ? 0 : ::poll(&writable, 1, static_cast<int>(std::min<std::int64_t>(left, 1'000'000)));
      if (ready < 0 && errno == EINTR) continue;
      socklen_t size = sizeof error;
      if (ready <= 0) {
        error = ETIMEDOUT;
      } else if (::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) {
        error = errno;
      }
    }
    if (error == 0) {
      const int on = 1;
      ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
      const auto milliseconds = static_cast<unsigned>(silence.count());
      ::setsockopt(fd.get(), IPPROTO_TCP, TCP_USER_TIMEOUT, &milliseconds, sizeof milliseconds);
      return fd;
    }
    why = std::strerror(error);
  }
  fail(errc::host_unreachable, host + ", port " + std::to_string(port) + ", could not be reached: " + why);
}

}  // namespace rh::os
