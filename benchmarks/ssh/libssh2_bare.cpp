// SPDX-License-Identifier: Apache-2.0

// What libssh2 does by itself, one blocking channel on one thread, tuned by hand: for libssh2_bench.py.
//
//     libssh2_bare PORT USER KEY trip N COMMAND       microseconds of an echo of 64 bytes by COMMAND
//     libssh2_bare PORT USER KEY up BYTES COMMAND     bytes a second, until COMMAND has read them all and ended
//     libssh2_bare PORT USER KEY down BYTES COMMAND   the same of what COMMAND prints

#include "../bench.hpp"

#include <libssh2.h>

#include <algorithm>
#include <arpa/inet.h>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string>
#include <sys/socket.h>
#include <vector>

namespace {

void must(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "%s failed\n", what);
  std::exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) return 2;
  const std::string verb = argv[4], command = argv[6];
  const auto number = static_cast<std::size_t>(std::stoll(argv[5]));
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<std::uint16_t>(std::stoi(argv[1])));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  must(::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0, "connect");
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  must(libssh2_init(0) == 0, "libssh2_init");
  LIBSSH2_SESSION* const session = libssh2_session_init();
  // As the library pins them.
  for (const int way : {LIBSSH2_METHOD_CRYPT_CS, LIBSSH2_METHOD_CRYPT_SC}) libssh2_session_method_pref(session, way, "aes256-ctr,aes128-ctr");
  for (const int way : {LIBSSH2_METHOD_MAC_CS, LIBSSH2_METHOD_MAC_SC}) libssh2_session_method_pref(session, way, "hmac-sha2-256,hmac-sha2-512");
  must(libssh2_session_handshake(session, fd) == 0, "handshake");
  must(libssh2_userauth_publickey_fromfile(session, argv[2], nullptr, argv[3], "") == 0, "login");
  constexpr std::string_view type = "session";
  LIBSSH2_CHANNEL* const channel =
      libssh2_channel_open_ex(session, type.data(), static_cast<unsigned>(type.size()), 2 * 1024 * 1024, LIBSSH2_CHANNEL_PACKET_DEFAULT, nullptr, 0);
  must(channel != nullptr && libssh2_channel_exec(channel, command.c_str()) == 0, "exec");

  std::vector<char> block(1024 * 1024, 'x');
  if (verb == "trip") {
    bench::stopwatch watch;
    for (long i = -static_cast<long>(number) / 5; i < static_cast<long>(number); ++i) {
      if (i == 0) watch = bench::stopwatch();
      must(libssh2_channel_write(channel, block.data(), 64) == 64, "write");
      for (ssize_t got = 0; got < 64;) {
        const ssize_t n = libssh2_channel_read(channel, block.data(), static_cast<std::size_t>(64 - got));
        must(n > 0, "read");
        got += n;
      }
    }
    std::printf("%.2f\n", watch.seconds() * 1e6 / static_cast<double>(number));
  } else {
    const bench::stopwatch watch;
    std::size_t done = 0;
    if (verb == "up") {
      while (done < number) {
        const ssize_t n = libssh2_channel_write(channel, block.data(), std::min(block.size(), number - done));
        must(n > 0, "write");
        done += static_cast<std::size_t>(n);
      }
      libssh2_channel_send_eof(channel);
      while (libssh2_channel_read(channel, block.data(), block.size()) > 0) {
      }
    } else {
      for (ssize_t n = 0; (n = libssh2_channel_read(channel, block.data(), block.size())) > 0;) done += static_cast<std::size_t>(n);
      must(done == number, "down");
    }
    std::printf("%.0f\n", static_cast<double>(number) / watch.seconds());
  }
  libssh2_session_disconnect(session, "done");
  return 0;
}
