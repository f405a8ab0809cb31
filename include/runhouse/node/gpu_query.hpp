// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/async/runtime.hpp>
#include <runhouse/core/limits.hpp>
#include <runhouse/node/gpu_list.hpp>
#include <runhouse/os/process.hpp>
#include <runhouse/os/socket.hpp>
#include <runhouse/os/system.hpp>

#include <array>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <functional>
#include <memory>
#include <string>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

namespace rh::detail {

/// What nvidia-smi says of the GPUs that this program may use.
struct gpu_answer {
  std::vector<gpu> gpus;
  std::string why_none;  ///< where there are none: the reason, in words
};

/// Asks nvidia-smi, which may take seconds, without waiting for it. On the strand; holds itself until that has ended.
class gpu_query : public std::enable_shared_from_this<gpu_query> {
 public:
  /// Gives the answer to `then`, later, once.
  static void start(runtime& r, std::function<void(gpu_answer)> then) {
    std::make_shared<gpu_query>(r, std::move(then))->begin();
  }
  gpu_query(runtime& r, std::function<void(gpu_answer)> then)
      : then_(std::move(then)), exit_events_(r.io()), deadline_(r.io()) {}

 private:
  void begin() {
    deadline_.expires_after(limits::gpu_query);
    std::string failed = "nvidia-smi does not answer";
    try {
      auto [ours, theirs] = os::make_pipe();
      const os::unique_fd nothing = os::checked(::open("/dev/null", O_RDWR | O_CLOEXEC), "opening /dev/null");
      os::set_nonblocking(ours.get());
      os::spawn_request request;
      request.path = "nvidia-smi";
      request.arguments = {"nvidia-smi", "--query-gpu=uuid,memory.free", "--format=csv,noheader,nounits"};
      request.environment = os::environment_without("RUNHOUSE_");
      request.descriptors = {nothing.get(), theirs.get(), theirs.get()};
      process_ = os::spawn(request);
      printed_ = std::move(ours);
      exit_events_.assign(::fcntl(process_.pidfd(), F_DUPFD_CLOEXEC, 0));
      exit_events_.async_wait(asio::posix::stream_descriptor::wait_read, [self = shared_from_this()](std::error_code) {
        static_cast<void>(self->process_.try_wait());
        self->exit_events_.close();
        self->answer(self->text());
      });
    } catch (const std::system_error& e) {
      failed = e.code() == std::errc::no_such_file_or_directory ? "nvidia-smi is not there" : e.what();
      deadline_.expires_after({});
    }
    deadline_.async_wait([self = shared_from_this(), failed](std::error_code error) {
      if (error) return;
      self->process_.signal_group(SIGKILL);
      self->answer(failed);
    });
  }
  /// What it has printed: far less than a pipe holds.
  std::string text() const {
    std::array<char, 65536> all;
    const ssize_t got = ::read(printed_.get(), all.data(), all.size());
    return {all.data(), got > 0 ? static_cast<std::size_t>(got) : 0};
  }
  void answer(const std::string& text) {
    deadline_.cancel();
    const auto then = std::exchange(then_, {});
    if (!then) return;
    const std::vector<gpu> all = parse_gpus(text);
    const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
    gpu_answer given{visible_gpus(all, visible), {}};
    if (given.gpus.empty()) {
      given.why_none = text.substr(0, text.find('\n'));
      if (given.why_none.empty()) given.why_none = "nvidia-smi lists none";
      if (!all.empty()) given.why_none = "CUDA_VISIBLE_DEVICES is '" + std::string(visible) + "'";
    }
    then(std::move(given));
  }

  std::function<void(gpu_answer)> then_;
  os::process process_;
  os::unique_fd printed_;
  asio::posix::stream_descriptor exit_events_;
  asio::steady_timer deadline_;
};

}  // namespace rh::detail
