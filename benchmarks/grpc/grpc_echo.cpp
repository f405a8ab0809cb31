// SPDX-License-Identifier: Apache-2.0

// gRPC's synchronous unary call of int -> int over a unix socket, client and server in two processes. Run as
// `grpc_echo CALLS`; prints the microseconds of one round trip.

#include "echo.grpc.pb.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <unistd.h>

namespace {

class echo_service final : public bench::Echo::Service {
  grpc::Status Echo(grpc::ServerContext*, const bench::Number* in, bench::Number* out) override {
    out->set_value(in->value());
    return grpc::Status::OK;
  }
};

[[noreturn]] void serve(const std::string& address, int ready) {
  echo_service service;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, grpc::InsecureServerCredentials());
  builder.RegisterService(&service);
  const auto server = builder.BuildAndStart();
  if (!server || ::write(ready, "r", 1) != 1) ::_exit(1);
  server->Wait();
  ::_exit(0);
}

double microseconds(bench::Echo::Stub& stub, int calls) {
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < calls; ++i) {
    grpc::ClientContext context;
    bench::Number in;
    bench::Number out;
    in.set_value(i);
    if (!stub.Echo(&context, in, &out).ok() || out.value() != i) std::exit(1);
  }
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count() / calls;
}

}  // namespace

int main(int, char** argv) {
  const std::string path = "/tmp/grpc_echo." + std::to_string(::getpid());
  int ready[2];
  if (::pipe(ready) != 0) return 1;
  const pid_t server = ::fork();  // before gRPC starts its threads
  if (server == 0) serve("unix:" + path, ready[1]);
  ::close(ready[1]);
  char r = 0;
  if (::read(ready[0], &r, 1) != 1) return 1;
  bench::Echo::Stub stub(grpc::CreateChannel("unix:" + path, grpc::InsecureChannelCredentials()));
  microseconds(stub, 2000);
  std::printf("%g\n", microseconds(stub, std::atoi(argv[1])));
  ::kill(server, SIGKILL);
  ::unlink(path.c_str());
  return 0;
}
