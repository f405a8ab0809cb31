// SPDX-License-Identifier: Apache-2.0

// Cap'n Proto's two-party call of int -> int over a unix socket, client and server in two processes. Run as
// `capnp_echo CALLS`; prints the microseconds of one round trip.

#include "echo.capnp.h"

#include <capnp/rpc-twoparty.h>
#include <kj/async-io.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <sys/socket.h>
#include <unistd.h>

namespace {

class echo_server final : public Echo::Server {
  kj::Promise<void> echo(EchoContext context) override {
    context.getResults().setValue(context.getParams().getValue());
    return kj::READY_NOW;
  }
};

[[noreturn]] void serve(int socket) {
  auto io = kj::setupAsyncIo();
  auto stream = io.lowLevelProvider->wrapSocketFd(socket, kj::LowLevelAsyncIoProvider::TAKE_OWNERSHIP);
  capnp::TwoPartyServer server(kj::heap<echo_server>());
  server.accept(kj::mv(stream));
  server.drain().wait(io.waitScope);
  ::_exit(0);
}

double microseconds(Echo::Client& echo, kj::WaitScope& wait, int calls) {
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < calls; ++i) {
    auto request = echo.echoRequest();
    request.setValue(i);
    if (request.send().wait(wait).getValue() != i) std::exit(1);
  }
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count() / calls;
}

}  // namespace

int main(int, char** argv) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) return 1;
  if (::fork() == 0) {
    ::close(ends[0]);
    serve(ends[1]);
  }
  ::close(ends[1]);
  auto io = kj::setupAsyncIo();
  auto stream = io.lowLevelProvider->wrapSocketFd(ends[0], kj::LowLevelAsyncIoProvider::TAKE_OWNERSHIP);
  capnp::TwoPartyClient client(*stream);
  auto echo = client.bootstrap().castAs<Echo>();
  microseconds(echo, io.waitScope, 2000);
  std::printf("%g\n", microseconds(echo, io.waitScope, std::atoi(argv[1])));
  return 0;
}
