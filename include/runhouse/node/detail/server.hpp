// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/node/server.hpp>

#include <algorithm>
#include <fcntl.h>
#include <random>
#include <sys/stat.h>

namespace rh::detail {

inline std::uint64_t random_number() {
  std::random_device device;
  return std::uint64_t{device()} << 32 | device();
}

inline server::server(runtime& r, os::unix_listener listener, server_options options, std::function<void()> ended)
    : runtime_(r),
      listener_(std::move(listener)),
      listener_events_(r.io(), listener_.descriptor()),
      options_(std::move(options)),
      ended_(std::move(ended)),
      incarnation_(random_number() | 1),
      node_(std::make_shared<hosted_node>(r, options_.has, [](const char*, bool, std::string_view) {}, options_.worker_idle)),
      store_(std::make_shared<store_account>(options_.store_bytes)),
      time_(r.io()),
      accept_again_(r.io()),
      last_used_(options_.now()) {
  if (!options_.logs.empty()) logs_.emplace(options_.logs, std::chrono::system_clock::now());
}

inline server::~server() {
  listener_events_.release();
  for (const shared_greeting& g : greetings_) g->close_events();
  for (auto& [id, session] : std::exchange(sessions_, {})) session->end();
}

inline void server::start() {
  accept();
  if (logs_) logs_->sweep(std::chrono::system_clock::now());
  watch_time();
}

// ---- its end

inline bool server::holds_anything() const { return !sessions_.empty() || !node_->get().names.is_empty() || node_->get().engine.is_busy(); }

inline void server::look_at_the_time() {
  const auto now = options_.now();
  node_->get().names.expire(now);
  if (logs_) logs_->sweep(std::chrono::system_clock::now());
  if (holds_anything()) last_used_ = now;
  if (now - last_used_ >= limits::node_idle) ended_();
}

inline void server::watch_time() {
  time_.expires_after(limits::node_looks);
  time_.async_wait([this, life = std::weak_ptr(life_)](std::error_code error) {
    if (error || life.expired()) return;
    look_at_the_time();
    watch_time();
  });
}

inline std::string server::holds() const {
  std::size_t calls = 0;
  std::size_t values = 0;
  for (const auto& [id, session] : sessions_) {
    calls += session->calls();
    values += session->values();
  }
  return std::to_string(sessions_.size()) + " programs, " + std::to_string(calls) + " calls and " + std::to_string(values) + " values";
}

// ---- connections

inline void server::accept() {
  listener_events_.async_wait(asio::posix::stream_descriptor::wait_read, [this, life = std::weak_ptr(life_)](std::error_code error) {
    if (error || life.expired()) return;
    accept_all();
  });
}

inline void server::accept_all() {
  try {
    while (auto accepted = listener_.accept()) {
      if (accepted->peer.uid != ::geteuid() || greetings_.size() >= limits::greetings) continue;
      expect(std::make_shared<greeting>(runtime_, os::duplex(std::move(accepted->fd))));
    }
    accept();
  } catch (const std::exception&) {
    // No descriptor is left: the connection waits until there may be one.
    accept_again_.expires_after(limits::start_again);
    accept_again_.async_wait([this, life = std::weak_ptr(life_)](std::error_code error) {
      if (!error && !life.expired()) accept_all();
    });
  }
}

inline void server::expect(shared_greeting g) {
  greetings_.push_back(g);
  g->deadline.expires_after(limits::connect);
  g->deadline.async_wait([this, life = std::weak_ptr(life_), weak = std::weak_ptr(g)](std::error_code error) {
    const auto late = weak.lock();
    if (error || life.expired() || !late) return;
    refuse(*late, errc::timed_out, "nothing that begins a session came in time");
    greetings_.remove(late);
  });
  // Some of it may be here already.
  asio::post(runtime_.io(), [this, life = std::weak_ptr(life_), weak = std::weak_ptr(g)] {
    const auto greeted = weak.lock();
    if (!life.expired() && greeted) serve(greeted);
  });
}

inline void server::watch(const shared_greeting& g) {
  g->events.async_wait(asio::posix::stream_descriptor::wait_read, [this, life = std::weak_ptr(life_), weak = std::weak_ptr(g)](std::error_code error) {
    const auto greeted = weak.lock();
    if (!error && !life.expired() && greeted) serve(greeted);
  });
}

inline void server::serve(const shared_greeting& g) {
  bool goes_on = false;
  try {
    goes_on = read(g);
  } catch (const std::exception& e) {
    refuse(*g, errc::protocol_error, e.what());
  }
  if (goes_on) return watch(g);
  g->close_events();
  greetings_.remove(g);
}

/// True if more must come.
inline bool server::read(const shared_greeting& g) {
  for (;;) {
    const auto next = g->in.next();
    if (next) {
      if (!greet(g, *next)) return false;
      continue;
    }
    if (next.code() != errc::truncated) {
      refuse(*g, next.code(), "what came is no frame of a program");
      return false;
    }
    const auto got = g->stream.receive(g->in.room(), g->files);
    if (got.how == os::transfer::would_block) return true;
    if (got.how != os::transfer::some || g->files.size() > 3) return false;
    g->in.received(got.bytes);
  }
}

/// True if more must come before the session is open.
inline bool server::greet(const shared_greeting& g, const wire::frame& in) {
  if (!g->hello) {
    if (in.header.type == wire::frame_type::bridge) return bridge(g, in);
    if (in.header.type != wire::frame_type::hello) return refuse(*g, errc::protocol_error, "the first frame is no hello"), false;
    auto h = wire::decode_hello(in.payload);
    if (!h && h.code() == errc::node_incompatible) {
      refuse(*g, errc::node_incompatible, "this node speaks version " + std::to_string(wire::protocol_major) + " of the protocol; it has " + holds());
    } else if (!h) {
      refuse(*g, h.code(), "the hello is not whole");
    }
    if (!h) return false;
    g->hello = std::move(*h);
    return true;
  }
  auto o = in.header.type == wire::frame_type::open ? wire::decode_open(in.payload) : result<wire::open_session>(errc::protocol_error);
  if (!o) return refuse(*g, errc::protocol_error, "what follows the hello does not open a session"), false;
  open(g, std::move(*o));
  return false;
}

/// What follows comes over the two descriptors that came with this. Always false: nothing more comes here.
inline bool server::bridge(const shared_greeting& g, const wire::frame& in) {
  auto program = wire::decode_bridged(in.payload);
  if (g->bridge || !program || g->files.size() != 3) return refuse(*g, errc::protocol_error, "it is no bridge"), false;
  const auto take = [&] {
    os::unique_fd first = std::move(g->files.front());
    g->files.pop_front();
    return first;
  };
  os::unique_fd far_in = take();
  auto through = std::make_shared<greeting>(runtime_, os::duplex(std::move(far_in), take()));
  os::unique_fd executable = take();
  through->in.add(std::as_bytes(std::span(program->said)));
  through->bridge.emplace(bridged{g->stream.take_in(), std::move(executable), std::move(*program)});
  expect(std::move(through));
  return false;
}

inline void server::refuse(greeting& g, errc code, const std::string& why) {
  std::vector<std::byte> out;
  wire::append_frame(out, {wire::frame_type::bye, 0, 0, 0}, encode(wire::bye{static_cast<std::uint32_t>(code), why}));
  static_cast<void>(g.stream.send(out));
}

/// False if the connection does not even take this.
inline bool server::say(greeting& g, const wire::session_opened& opened) {
  wire::hello h;
  h.features = wire::feature::files;
  h.pid = static_cast<std::uint32_t>(::getpid());
  h.incarnation = incarnation_;
  h.host = os::host_name();
  std::vector<std::byte> out;
  wire::append_frame(out, {wire::frame_type::hello, 0, 0, 0}, encode(h));
  wire::append_frame(out, {wire::frame_type::opened, 0, 0, 0}, encode(opened));
  const auto sent = g.stream.send(out);
  return sent.how == os::transfer::some && sent.bytes == out.size();
}

inline void server::open(const shared_greeting& g, wire::open_session open) {
  auto known = sessions_.find(open.id);
  // Opened, and nobody has heard of it: the connection broke before the answer came.
  if (!open.resumes && known != sessions_.end() && known->second->received() == 0) open.resumes = true;
  if (open.resumes != (known != sessions_.end())) {
    return refuse(*g, errc::node_lost, open.resumes ? "this node does not know the session; it was ended, or another node had it" : "the session is open already");
  }
  std::shared_ptr<program_session> session;
  if (open.resumes) {
    session = known->second;
  } else {
    auto program = program_of(g, open);
    if (!program) return refuse(*g, errc::protocol_error, "no executable came with what opens a session");
    auto shared = std::make_shared<local_session>(node_, store_, os::host_name());
    session = std::make_shared<program_session>(runtime_, static_cast<program_session::owner&>(*this), open.id, ++session_numbers_, std::move(program), std::move(shared));
    if (open.is_same_machine && !g->bridge) {
      session->pass_files();
      // It is what the program says: by a false one it ends its own session, early or late, and no other's.
      os::unique_fd pidfd = os::open_pidfd(static_cast<pid_t>(g->hello->pid));
      if (!pidfd) return refuse(*g, errc::protocol_error, "the program's process is not to be seen from here");
      session->watch_process(std::move(pidfd));
    }
    sessions_.emplace(open.id, session);
  }
  used();
  wire::session_opened opened;
  opened.received = session->received();
  opened.workers = node_->get().engine.resources().workers;
  opened.store_bytes = options_.store_bytes;
  opened.notice = std::exchange(options_.notice, {});
  if (!say(*g, opened)) return session->connection_refused();
  g->close_events();
  open_connection connection;
  connection.stream = std::move(g->stream);
  if (g->bridge) connection.bridge = std::move(g->bridge->socket);
  connection.in = std::move(g->in);
  connection.files = std::move(g->files);
  connection.peer_received = open.received;
  if (!session->attach(std::move(connection))) session->end();
}

inline std::shared_ptr<const worker_program> server::program_of(const shared_greeting& g, wire::open_session& open) {
  auto p = std::make_shared<worker_program>();
  if (g->bridge) {
    p->executable = std::move(g->bridge->executable);
    p->files = g->bridge->program.files;
    p->folder = options_.folder;
    p->environment = options_.environment;
    for (const std::string& variable : g->bridge->program.variables) {
      const std::string_view name(variable.data(), variable.find('=') + 1);
      std::erase_if(p->environment, [&](const std::string& v) { return v.starts_with(name); });
      p->environment.push_back(variable);
    }
  } else {
    if (g->files.size() != 1) return nullptr;
    p->executable = std::move(g->files.front());
    g->files.clear();
    p->files = g->hello->program;
    p->folder = std::move(open.folder);
    p->environment = std::move(open.environment);
  }
  struct stat facts {};
  const int mode = ::fcntl(p->executable.get(), F_GETFL);
  if (::fstat(p->executable.get(), &facts) != 0 || !S_ISREG(facts.st_mode) || mode < 0 || (mode & O_ACCMODE) != O_RDONLY) return nullptr;
  std::erase_if(programs_, [](const auto& weak) { return weak.expired(); });
  for (const auto& weak : programs_) {
    if (auto same = weak.lock(); same && same->is_same(*p)) return same;
  }
  programs_.push_back(p);
  return p;
}

// ---- sessions

inline void server::session_ended(const wire::session_id& id) noexcept {
  sessions_.erase(id);
  last_used_ = options_.now();
}

inline call_log server::log_of(std::uint64_t session, std::uint64_t call, const char* function) {
  return logs_ ? logs_->log_of(session, call, pretty_name(function), std::chrono::system_clock::now()) : call_log();
}

}  // namespace rh::detail
