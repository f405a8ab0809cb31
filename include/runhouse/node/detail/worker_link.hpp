// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/function/program_objects.hpp>
#include <runhouse/node/worker_link.hpp>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <iterator>

namespace rh::detail {

inline worker_link::worker_link(runtime& r, owner& o, std::shared_ptr<const worker_program> program, worker_process process)
    : runtime_(r),
      owner_(&o),
      program_(std::move(program)),
      process_(std::move(process)),
      calls_events_(r.io(), process_.calls.get()),
      exit_events_(r.io(), process_.process.pidfd()),
      deadline_(r.io()),
      kill_timer_(r.io()),
      store_timer_(r.io()),
      printed_{asio::posix::stream_descriptor(r.io(), process_.out.get()), call_output(process_.mark_token), false},
      printed_on_stderr_{asio::posix::stream_descriptor(r.io(), process_.err.get()), call_output(process_.mark_token), true} {}

inline void worker_link::start() {
  watch_calls();
  watch_pipe(printed_);
  watch_pipe(printed_on_stderr_);
  watch_exit();
  deadline_.expires_after(limits::worker_handshake);
  deadline_.async_wait([self = shared_from_this()](std::error_code error) {
    if (!error && !self->ready_) self->lost("did not say hello within 30 s");
  });
  wire::hello h;
  h.features = wire::feature::files;
  h.pid = static_cast<std::uint32_t>(::getpid());
  h.program = program_ ? program_->files : program_files();
  h.host = os::host_name();
  wire::append_frame(out_, {wire::frame_type::hello, 0, 0, 0}, encode(h));
  flush();
}

/// Its socket is closed: most likely it is ending, and its exit status will say how. If it lives on, it is of no use.
inline void worker_link::closed() noexcept {
  if (lost_ || ended_) return;
  lost_ = true;
  deadline_.expires_after(limits::worker_exit);
  deadline_.async_wait([self = shared_from_this()](std::error_code error) {
    if (error || self->ended_) return;
    self->why_lost_ = "closed its connection";
    self->process_.process.signal_group(SIGKILL);
  });
}

inline void worker_link::watch_exit() {
  exit_events_.async_wait(asio::posix::stream_descriptor::wait_read, [self = shared_from_this()](std::error_code error) {
    if (!error && !self->ended_) self->exited();
  });
}

inline void worker_link::abandon() noexcept {
  if (ended_) return;
  ended_ = true;
  process_.process.signal_group(SIGKILL);
  close_events();
  static_cast<void>(process_.process.try_wait());
}

inline void worker_link::send(call_ptr call) {
  const std::uint32_t number = ++last_number_;
  payloads_.view(*call);
  // A descriptor counts as if it was a good part of what is sent ahead: the worker has few.
  const std::uint64_t bytes = payloads_.size_bytes() + payloads_.files().size() * (limits::chunk_bytes / 4);
  const bool follows = call->takes_values() && std::any_of(call->head.parameters.begin(), call->head.parameters.end(), [](const auto& p) {
                         return p.kind == wire::payload_kind::result_of;
                       });
  const std::size_t begin = out_.size();
  if (!messages_.empty() || !wire::append_whole(out_, call->head, number, payloads_.all())) {
    messages_.emplace_back(*call, number, payloads_);
  } else {
    add_files(payloads_.files(), begin);
  }
  call->sent = {this, number};
  calls_.push_back({number, std::move(call), bytes, follows, {}});
  bytes_ahead_ += bytes;
  followers_ += follows ? 1 : 0;
  if (!std::exchange(dirty_, true)) runtime_.flush_later(*this);
}

/// Those of the frame that begins at `begin`. One send takes only so many, and carries a byte at least.
inline void worker_link::add_files(const std::vector<std::shared_ptr<const wire::payload_file>>& files, std::size_t begin) {
  for (std::size_t i = 0; i < files.size(); ++i) out_files_.push_back({begin + i / os::fds_per_send, files[i]});
}

inline std::vector<call_ptr> worker_link::take_back() {
  const std::uint32_t started = process_.memory->gate.revoke(last_number_);
  std::vector<call_ptr> back;
  while (!calls_.empty() && wire::start_gate::is_after(calls_.back().number, started)) {
    back.push_back(take_last());
  }
  std::reverse(back.begin(), back.end());
  // What has not left at all need not leave. The first message may be under way, so it must be ended.
  while (messages_.size() > 1) messages_.pop_back();
  return back;
}

inline call_ptr worker_link::take_last() {
  sent_call last = std::move(calls_.back());
  calls_.pop_back();
  bytes_ahead_ -= last.bytes;
  followers_ -= last.follows ? 1 : 0;
  last.call->sent = {};
  return std::move(last.call);
}

inline worker_link::sent_call worker_link::take_front() {
  sent_call first = std::move(calls_.front());
  calls_.pop_front();
  bytes_ahead_ -= first.bytes;
  followers_ -= first.follows ? 1 : 0;
  first.call->sent = {};
  return first;
}

/// It runs, or is about to run, the first of them. What it has begun is no more to be had, also where its outcome has not
/// been read yet: a worker that is thought to have calls left when it has ended all would get help without end.
inline std::size_t worker_link::spare_calls() const noexcept {
  if (calls_.size() < 2) return 0;
  const std::uint32_t started = process_.memory->gate.started();
  const auto begun = [&](const sent_call& s) { return !wire::start_gate::is_after(s.number, started); };
  const auto first = std::partition_point(std::next(calls_.begin()), calls_.end(), begun);
  if (followers_ == 0) return static_cast<std::size_t>(calls_.end() - first);
  return static_cast<std::size_t>(std::count_if(first, calls_.end(), [](const sent_call& s) { return s.call->values_have_ended(); }));
}

inline bool worker_link::has(const call_state& call) const noexcept {
  return std::any_of(calls_.begin(), calls_.end(), [&](const sent_call& s) { return s.call.get() == &call; });
}

inline bool worker_link::has_begun(const call_state& call) const noexcept {
  const std::uint32_t started = process_.memory->gate.started();
  return std::any_of(calls_.begin(), calls_.end(), [&](const sent_call& s) {
    return s.call.get() == &call && !wire::start_gate::is_after(s.number, started);
  });
}

inline void worker_link::cancel_running(call_state& call) {
  for (const sent_call& s : calls_) {
    if (s.call.get() != &call) continue;
    if (waiting_ && s.number == calls_.front().number) {
      call_outcome outcome;
      outcome.head.kind = wire::outcome_kind::error;
      outcome.head.code = static_cast<std::uint32_t>(errc::cancelled);
      outcome.head.ran = true;
      outcome.head.what = "it was cancelled when its result waited for room in the store";
      end_waiting(std::move(outcome));
      read_calls();
      return watch_calls();
    }
    control(wire::frame_type::cancel, s.number, {});
    escalate(s.number, SIGTERM, limits::cancel_term);
  }
}

inline void worker_link::escalate(std::uint32_t number, int signal, std::chrono::seconds after) {
  kill_timer_.expires_after(after);
  kill_timer_.async_wait([self = shared_from_this(), number, signal](std::error_code error) {
    if (error || self->ended_ || self->calls_.empty() || self->calls_.front().number != number) return;
    self->process_.process.signal_group(signal);
    if (signal == SIGTERM) self->escalate(number, SIGKILL, limits::cancel_kill - limits::cancel_term);
  });
}

inline void worker_link::control(wire::frame_type type, std::uint64_t stream, std::span<const std::byte> payload) {
  std::vector<std::byte> frame;
  wire::append_frame(frame, {type, 0, 0, stream}, payload);
  // A worker that lets some thousand of these small frames lie is stuck, and silence is then noticed otherwise.
  const auto sent = os::send(process_.control.get(), frame, os::blocking::no);
  if (sent.how != os::transfer::some || sent.bytes != frame.size()) lost("does not read its control socket");
}

inline void worker_link::watch_calls() {
  if (lost_ || ended_ || waiting_ || std::exchange(watching_calls_, true)) return;
  calls_events_.async_wait(asio::posix::stream_descriptor::wait_read, [self = shared_from_this()](std::error_code error) {
    self->watching_calls_ = false;
    if (error || self->ended_) return;
    self->read_calls();
    self->watch_calls();
  });
}

inline void worker_link::watch_pipe(output_pipe& pipe) {
  pipe.events.async_wait(asio::posix::stream_descriptor::wait_read, [self = shared_from_this(), &pipe](std::error_code error) {
    if (error || self->ended_) return;
    // At its end a pipe stays readable for ever: no more of it.
    if (self->read_pipe(pipe)) self->watch_pipe(pipe);
  });
}

/// The descriptors belong to process_: Asio only lets go of them.
inline void worker_link::close_events() noexcept {
  for (auto* events : {&calls_events_, &exit_events_, &printed_.events, &printed_on_stderr_.events}) {
    if (events->is_open()) events->release();
  }
  deadline_.cancel();
  kill_timer_.cancel();
  store_timer_.cancel();
}

inline bool worker_link::poll() noexcept { return !calls_.empty() && !ended_ && !waiting_ && read_calls(); }

/// Reads and delivers what is there; true if there was something.
inline bool worker_link::read_calls() noexcept {
  bool any = false;
  bool is_empty = false;
  try {
    for (;;) {
      if (!serve_frames()) {
        lost("sent something that the protocol does not allow");
        return true;
      }
      if (lost_ || ended_ || waiting_ || is_empty) return any;
      const auto room = in_.room();
      const auto got = os::receive(process_.calls.get(), room, in_files_);
      if (got.how == os::transfer::would_block) return any;
      if (got.how == os::transfer::closed) {
        closed();
        return true;
      }
      if (got.how == os::transfer::no_fds || in_files_.size() > limits::memory_files) {
        lost("sent a value for which this process has no descriptor left; allow it more, by ulimit -n");
        return true;
      }
      any = true;
      in_.received(got.bytes);
      is_empty = got.bytes < room.size();
    }
  } catch (const std::exception& e) {
    lost(std::string("could not be served: ") + e.what());
  }
  return any;
}

/// All that have come, or until a result waits for room; false if one is not allowed.
inline bool worker_link::serve_frames() {
  while (!lost_ && !ended_ && !waiting_) {
    const auto next = in_.next();
    if (!next && next.code() == errc::truncated) return true;
    if (!next || !serve_frame(*next)) return false;
  }
  return true;
}

inline bool worker_link::serve_frame(const wire::frame& in) {
  const auto number = static_cast<std::uint32_t>(in.header.stream);
  if (number != in.header.stream) return false;
  switch (in.header.type) {
    case wire::frame_type::bye: {
      const auto said = wire::decode_bye(in.payload);
      if (!said) return false;
      lost("gave up: " + said->text);
      return true;
    }
    case wire::frame_type::hello: {
      const auto h = wire::decode_hello(in.payload);
      if (!h || ready_) return false;
      if (h->program != (program_ ? program_->files : program_files())) {
        lost("has loaded other files than this program: one of its shared objects was replaced while it ran; start it again");
        return true;
      }
      ready_ = true;
      deadline_.cancel();
      owner_->worker_changed(*this);
      return true;
    }
    case wire::frame_type::outcome: {
      if (partial_ || calls_.empty() || calls_.front().number != number) return false;
      wire::incoming_message<wire::outcome_head> message;
      const auto whole = message.begin(in.header, in.payload);
      if (!whole) return false;
      grant_credit(number, in.payload.size());
      if (*whole) return end_message(message, number);
      partial_.emplace(number, std::move(message));
      return true;
    }
    case wire::frame_type::data: {
      if (!partial_ || partial_->first != number) return false;
      const auto whole = partial_->second.add(in.header, in.payload);
      if (!whole) return false;
      grant_credit(number, in.payload.size());
      if (!*whole) return true;
      auto message = std::move(partial_->second);
      partial_.reset();
      return end_message(message, number);
    }
    default: return static_cast<std::uint8_t>(in.header.type) >= 0x80;
  }
}

inline void worker_link::grant_credit(std::uint64_t stream, std::size_t bytes) {
  uncredited_ += bytes;
  if (uncredited_ < limits::stream_credit_bytes / 2) return;
  std::vector<std::byte> amount;
  wire::byte_writer(amount).put(std::exchange(uncredited_, 0));
  control(wire::frame_type::credit, stream, amount);
}

inline bool worker_link::end_message(wire::incoming_message<wire::outcome_head>& message, std::uint32_t) {
  uncredited_ = 0;
  if (message.head().kind == wire::outcome_kind::missing && !calls_.front().follows) return false;
  if (message.head().output_waiting) read_output();
  call_outcome outcome;
  outcome.head = std::move(message).take_head();
  outcome.body = std::move(message).take_body();
  const bool has_file = wire::has_payload(outcome.head.kind) && outcome.head.result.kind == wire::payload_kind::in_file;
  if (has_file && !take_file(outcome.head.result, outcome)) return false;
  if (outcome.head.kind == wire::outcome_kind::item) {
    const call_ptr call = calls_.front().call;
    if (call->items == nullptr) return false;
    call->gave_items = true;
    call->items->item_came(std::move(outcome));
    return true;
  }
  finish_front(std::move(outcome));
  return true;
}

inline void worker_link::items_taken(const call_state& call, std::uint32_t count) {
  if (calls_.empty() || calls_.front().call.get() != &call) return;
  std::vector<std::byte> amount;
  wire::byte_writer(amount).put(count);
  control(wire::frame_type::taken, calls_.front().number, amount);
}

/// The file that came with an outcome; false if there is none, or not such a one.
inline bool worker_link::take_file(wire::payload_shape& shape, call_outcome& outcome) {
  if (in_files_.empty()) return false;
  wire::payload_file filed;
  filed.file = os::memory_file::adopt(std::move(in_files_.front()));
  in_files_.pop_front();
  filed.stream_bytes = shape.stream_bytes;
  filed.segment_bytes = shape.segment_bytes;
  if (!filed.file || filed.file->size_bytes() < filed.size_bytes()) return false;
  if (os::memory_file::count() <= limits::memory_files) {
    outcome.file = std::make_shared<const wire::payload_file>(std::move(filed));
    return true;
  }
  // There are too many: this one's bytes are taken out of it.
  std::vector<std::span<const std::byte>> segments;
  outcome.body = wire::body_of(wire::view(filed, segments));
  shape.kind = wire::payload_kind::in_body;
  return true;
}

/// Takes room in the store for a result that stays, or makes an error of it that never could; false if it is to wait.
inline bool worker_link::store(call_outcome& outcome) {
  call_state& call = *calls_.front().call;
  if (!call.head.keeps_result || outcome.head.kind != wire::outcome_kind::value) return true;
  const std::uint64_t bytes = outcome.file ? outcome.file->size_bytes() : outcome.body.size();
  if (call.take_store(bytes)) return true;
  if (bytes > call.at().store().limit_bytes()) {
    outcome = store_full(bytes);
    return true;
  }
  call.at().store().wait_for_room();
  return call.take_store(bytes);  // it may have come in between
}

inline call_outcome worker_link::store_full(std::uint64_t bytes) {
  call_outcome outcome;
  outcome.head.kind = wire::outcome_kind::error;
  outcome.head.code = static_cast<std::uint32_t>(errc::store_full);
  outcome.head.ran = true;
  outcome.head.what = "its result of " + std::to_string(bytes) + " bytes: " + store_is_full(calls_.front().call->at());
  return outcome;
}

/// The result that waits for room, or an error in its place; then goes on to read.
inline void worker_link::end_waiting(call_outcome outcome) {
  waiting_.reset();
  store_timer_.cancel();
  finish_stored(std::move(outcome));
}

inline void worker_link::retry_waiting() noexcept {
  if (!waiting_ || !store(*waiting_)) return;
  end_waiting(std::move(*waiting_));
  read_calls();
  watch_calls();
}

inline void worker_link::finish_front(call_outcome outcome) {
  if (store(outcome)) return finish_stored(std::move(outcome));
  waiting_ = std::move(outcome);
  store_timer_.expires_after(limits::store_wait);
  store_timer_.async_wait([self = shared_from_this(), number = calls_.front().number](std::error_code error) {
    if (error || self->ended_ || !self->waiting_ || self->calls_.front().number != number) return;
    self->end_waiting(self->store_full(self->waiting_->file ? self->waiting_->file->size_bytes() : self->waiting_->body.size()));
    self->read_calls();
    self->watch_calls();
  });
  owner_->worker_changed(*this);
}

inline void worker_link::finish_stored(call_outcome outcome) {
  wire::outcome_head& head = outcome.head;
  end_output(printed_, calls_.front().number);
  end_output(printed_on_stderr_, calls_.front().number);
  sent_call done = take_front();
  if (head.kind == wire::outcome_kind::missing) {
    owner_->call_returned(std::move(done.call));
    return;
  }
  outcome.reached = head.kind != wire::outcome_kind::error || head.ran ? stage::ran : stage::not_started;
  if (head.kind != wire::outcome_kind::value) outcome.output = std::move(done.last_output);
  done.call->finish(std::move(outcome));
  owner_->worker_changed(*this);
}

inline void worker_link::read_output() noexcept {
  read_pipe(printed_);
  read_pipe(printed_on_stderr_);
}

/// False at the end of the pipe.
inline bool worker_link::read_pipe(output_pipe& pipe) {
  std::array<char, 16 * 1024> block;
  for (;;) {
    // What a call left unread when it ended is followed by its mark. So what comes without one is of the call that was
    // last started, or a later one; to have looked before reading is what makes that certain.
    const std::uint32_t started = process_.memory->gate.started();
    const auto got = os::read_some(pipe.events.native_handle(), std::as_writable_bytes(std::span(block)));
    if (got.how != os::transfer::some) return got.how != os::transfer::closed;
    pipe.lines.feed(
        std::string_view(block.data(), got.bytes), started, [&](std::uint32_t number) { end_output(pipe, number - 1); },
        [&](std::string_view text) { line(pipe, text); });
    if (got.bytes < block.size()) return true;
  }
}

/// Calls up to `number` have ended: a line that they left open ends too.
inline void worker_link::end_output(output_pipe& pipe, std::uint32_t number) {
  if (wire::start_gate::is_after(pipe.owner, number)) return;
  pipe.lines.finish([&](std::string_view text) { line(pipe, text); });
  pipe.owner = number + 1;
}

/// A line of the pipe's owner, or the first call after it that has not ended.
inline void worker_link::line(const output_pipe& pipe, std::string_view text) {
  const auto keep = [&](std::string& last) {
    last.append(text).push_back('\n');
    if (last.size() > limits::last_output_bytes) last.erase(0, last.size() - limits::last_output_bytes);
  };
  for (sent_call& s : calls_) {
    if (wire::start_gate::is_after(pipe.owner, s.number)) continue;
    keep(s.last_output);
    owner_->printed(s.call.get(), pipe.is_error, text);
    return;
  }
  keep(last_output_);
  owner_->printed(nullptr, pipe.is_error, text);
}

inline void worker_link::flush() noexcept {
  dirty_ = false;
  while (!lost_ && !ended_ && !write_blocked_) {
    try {
      while (!messages_.empty() && out_.size() - out_sent_ < limits::chunk_bytes) {
        if (!messages_.front().message.begun()) add_files(messages_.front().files, out_.size());
        messages_.front().message.append_next(out_);
        if (messages_.front().message.done()) messages_.pop_front();
      }
    } catch (const std::exception& e) {
      return lost(std::string("could not be written to: ") + e.what());
    }
    if (out_sent_ == out_.size()) {
      out_.clear();
      out_sent_ = 0;
      return;
    }
    const auto sent = send_some();
    ++writes_;
    if (sent.how == os::transfer::would_block) return watch_writable();
    if (sent.how == os::transfer::closed) return closed();
    out_sent_ += sent.bytes;
    if (out_sent_ > 4 * limits::chunk_bytes) {
      out_.erase(out_.begin(), out_.begin() + static_cast<std::ptrdiff_t>(out_sent_));
      for (outgoing_file& f : out_files_) f.at -= out_sent_;
      out_sent_ = 0;
    }
  }
}

/// The next bytes of out_, up to one that descriptors go with; or that one, and those after it.
inline os::transferred worker_link::send_some() noexcept {
  const auto rest = [&](std::size_t end) { return std::span(out_).subspan(out_sent_, end - out_sent_); };
  if (out_files_.empty()) return os::send(process_.calls.get(), rest(out_.size()), os::blocking::no);
  if (out_files_.front().at > out_sent_) return os::send(process_.calls.get(), rest(out_files_.front().at), os::blocking::no);
  std::array<int, os::fds_per_send> fds;
  std::size_t count = 0;
  while (count < out_files_.size() && out_files_[count].at == out_sent_) {
    fds[count] = out_files_[count].file->file->descriptor();
    ++count;
  }
  const std::size_t end = count < out_files_.size() ? out_files_[count].at : out_.size();
  const auto sent = os::send(process_.calls.get(), rest(end), std::span<const int>(fds.data(), count));
  if (sent.how == os::transfer::some) out_files_.erase(out_files_.begin(), out_files_.begin() + static_cast<std::ptrdiff_t>(count));
  return sent;
}

inline void worker_link::watch_writable() {
  write_blocked_ = true;
  calls_events_.async_wait(asio::posix::stream_descriptor::wait_write, [self = shared_from_this()](std::error_code error) {
    self->write_blocked_ = false;
    if (!error && !self->ended_) self->flush();
  });
}

/// It is of no more use: ends it; the rest follows when it has ended.
inline void worker_link::lost(std::string why) noexcept {
  if (lost_ || ended_) return;
  lost_ = true;
  why_lost_ = std::move(why);
  process_.process.signal_group(SIGKILL);
}

inline void worker_link::exited() noexcept {
  // Its group may still hold what its functions have started; as long as it is not reaped, the group is its.
  process_.process.signal_group(SIGKILL);
  const auto status = process_.process.try_wait();
  if (!status) return watch_exit();
  // What it had answered and printed before counts.
  while (!lost_ && !ended_) {
    if (waiting_) end_waiting(store_full(waiting_->file ? waiting_->file->size_bytes() : waiting_->body.size()));
    read_calls();
    if (!waiting_) break;
  }
  if (why_lost_.empty()) read_outbox();
  read_output();
  std::string why = why_lost_.empty() ? status->text() : why_lost_;
  if (why_lost_.empty() && status->kind == os::exit_status::how::exited) why += " (something called exit)";
  ended_ = true;
  close_events();

  const std::uint32_t started = process_.memory->gate.started();
  std::vector<call_ptr> not_started;
  while (!calls_.empty() && wire::start_gate::is_after(calls_.back().number, started)) {
    not_started.push_back(take_last());
  }
  std::reverse(not_started.begin(), not_started.end());
  if (ready_ && calls_.empty() && !not_started.empty()) give_up_on_front(not_started, why);
  auto again = fail_running(why);
  not_started.insert(not_started.begin(), std::make_move_iterator(again.begin()), std::make_move_iterator(again.end()));
  if (!ready_ && !last_output_.empty()) why += "; it printed: " + last_output_;
  owner_->worker_ended(*this, std::move(not_started), why);
}

/// Outcomes that it had ready and not sent, or not all of them: what they begin with may have come.
inline void worker_link::read_outbox() noexcept {
  if (partial_) return;  // not while it has some there
  const auto frames = process_.memory->out.frames();
  in_ = wire::frame_buffer();
  try {
    std::memcpy(in_.room().data(), frames.data(), frames.size());
    in_.received(frames.size());
    while (const auto next = in_.next()) {
      const auto number = static_cast<std::uint32_t>(next->header.stream);
      if (calls_.empty()) return;
      if (wire::start_gate::is_after(calls_.front().number, number)) continue;
      if (calls_.front().call->items != nullptr) return;  // some of its items may have come
      if (next->header.type != wire::frame_type::outcome || !serve_frame(*next)) return;
    }
  } catch (const std::exception&) {  // no memory: as if it had not had them ready
  }
}

/// It ended while it took in the first of them, which may be why: what is too large for the machine's memory, say. That
/// is not tried on one worker after the other for ever.
inline void worker_link::give_up_on_front(std::vector<call_ptr>& not_started, const std::string& why) {
  const call_ptr front = not_started.front();
  if (++front->workers_lost < limits::workers_lost) return;
  not_started.erase(not_started.begin());
  call_outcome outcome;
  outcome.head.kind = wire::outcome_kind::error;
  outcome.head.code = static_cast<std::uint32_t>(front->cancel_requested() ? errc::cancelled : errc::worker_died);
  outcome.head.what = std::to_string(limits::workers_lost) + " workers ended while they took it in; the last (pid " + std::to_string(pid()) + ") " + why;
  front->finish(std::move(outcome));
}

/// Gives those that may be tried again.
inline std::vector<call_ptr> worker_link::fail_running(const std::string& why) {
  std::vector<call_ptr> again;
  while (!calls_.empty()) {
    sent_call running = take_front();
    call_outcome outcome;
    outcome.head.kind = wire::outcome_kind::error;
    const bool cancelled = running.call->cancel_requested();
    if (!cancelled && running.call->retries_left > 0 && !running.call->gave_items) {
      --running.call->retries_left;
      running.call->has_begun = true;
      again.push_back(std::move(running.call));
      continue;
    }
    outcome.head.code = static_cast<std::uint32_t>(cancelled ? errc::cancelled : errc::worker_died);
    outcome.head.what = "the worker (pid " + std::to_string(pid()) + ") " + why;
    outcome.reached = stage::may_have_run;
    outcome.output = std::move(running.last_output);
    running.call->finish(std::move(outcome));
  }
  return again;
}

}  // namespace rh::detail
