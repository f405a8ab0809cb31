// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/limits.hpp>
#include <runhouse/os/tcp.hpp>
#include <runhouse/ssh/libssh2_link.hpp>
#include <runhouse/ssh/ssh_command.hpp>
#include <runhouse/ssh/ssh_target.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

namespace rh::detail {

/// A command that libssh2 carries, in a session of its own.
class libssh2_command final : public ssh_command {
 public:
  /// Through each of `way` but the last, to that one, where it is run. Blocks, for limits::connect at most with each host.
  /// Errors: as libssh2_login::run; errc::host_unreachable.
  static std::shared_ptr<ssh_command> start(std::span<const ssh_target> way, const std::string& command);
  ~libssh2_command() override {
    if (link_) link_->finish();
  }

  os::duplex take_stream() noexcept override { return channel_->take_stream(); }
  std::string said() const override { return channel_->said(); }
  std::optional<os::exit_status> wait(std::chrono::milliseconds longest) const override { return channel_->wait(longest); }
  inline ssh_failure failure(const std::string& host) const override;
  void terminate() const override { link_->close(*channel_); }

 private:
  std::shared_ptr<libssh2_link> link_;
  std::shared_ptr<libssh2_channel> channel_;
};

// ---- implementation

inline std::shared_ptr<ssh_command> libssh2_command::start(std::span<const ssh_target> way, const std::string& command) {
  const auto self = std::make_shared<libssh2_command>();
  std::shared_ptr<libssh2_channel> before;  // that leads to the host
  for (const ssh_target& target : way) {
    const auto deadline = libssh2_login::clock::now() + limits::connect;
    os::unique_fd connection;
    if (self->link_) {
      before = self->link_->connect(target.host, target.port);
      self->link_->finish();
      connection = before->take_stream().take_in();
    } else {
      connection = os::connect_tcp(target.host, target.port, target.family, deadline, limits::silence * limits::silences);
    }
    try {
      self->link_ = libssh2_link::start(libssh2_login(target, std::move(connection), deadline).run());
    } catch (const error& e) {
      if (!before || before->why().empty()) throw;
      fail(e.kind(), std::string(e.what()) + " (on the way: " + before->why() + ")");
    }
  }
  self->channel_ = self->link_->run(command, way.back().variables, [weak = std::weak_ptr<libssh2_command>(self)] {
    if (const auto ended = weak.lock()) registry::instance().remove(*ended);
  });
  self->link_->finish();
  registry::instance().add(self);
  if (self->channel_->wait(std::chrono::milliseconds(0))) registry::instance().remove(*self);  // it was faster
  return self;
}

inline ssh_failure libssh2_command::failure(const std::string& host) const {
  if (const std::string why = channel_->why(); !why.empty()) return {errc::host_unreachable, host + " could not be reached: " + why, true};
  const auto ended = channel_->wait(std::chrono::milliseconds(0));
  const int code = ended && ended->kind == os::exit_status::how::exited ? ended->number : -1;
  ssh_failure shell = ssh_failure_of(host, code == 255 || code == -1 ? 254 : code, said());
  return shell;
}

}  // namespace rh::detail
