// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/node/program_session.hpp>

#include <algorithm>
#include <string_view>

namespace rh::detail {

inline program_session::program_session(runtime& r, owner& o, const wire::session_id& id, std::uint64_t number, std::shared_ptr<const worker_program> program,
                                        std::shared_ptr<local_session> node)
    : runtime_(r),
      owner_(&o),
      id_(id),
      number_(number),
      program_(std::move(program)),
      node_(std::move(node)),
      stream_(std::make_shared<session_stream>(r, static_cast<session_stream::owner&>(*this))),
      window_(r.io()) {}

// ---- its life

inline void program_session::watch_process(os::unique_fd pidfd) {
  process_ = std::move(pidfd);
  process_events_.emplace(runtime_.io(), process_.get());
  process_events_->async_wait(asio::posix::stream_descriptor::wait_read, [self = weak_from_this()](std::error_code error) {
    if (const auto s = self.lock(); s && !error) s->end();
  });
}

inline bool program_session::attach(open_connection connection) {
  window_.cancel();
  if (!std::exchange(is_asked_, true)) stream_->spin();
  if (stream_->is_connected()) stream_->detach();
  return stream_->attach(std::move(connection));
}

inline void program_session::connection_lost(std::string) noexcept {
  if (!ended_) watch_window();
}

inline void program_session::watch_window() {
  window_.expires_after(limits::resume_window);
  window_.async_wait([self = weak_from_this()](std::error_code error) {
    const auto s = self.lock();
    if (!error && s && !s->stream_->is_connected()) s->end();
  });
}

inline void program_session::end() noexcept {
  if (std::exchange(ended_, true)) return;
  const auto hold = weak_from_this().lock();
  stream_->close();
  window_.cancel();
  if (process_events_ && process_events_->is_open()) process_events_->release();
  ready_.clear();
  long_.clear();
  auto calls = std::exchange(calls_, {});
  for (auto& [id, call] : calls) {
    call->of = nullptr;
    if (!call->is_detached) call->result->cancel();
  }
  values_.clear();
  owner_->session_ended(id_);
}

// ---- from the program

inline bool program_session::frame_came(const wire::frame& in, os::received_fds& files) {
  const std::uint64_t id = in.header.stream;
  wire::byte_reader read(in.payload);
  switch (in.header.type) {
    case wire::frame_type::call: return message_came(partial_calls_, in, files);
    case wire::frame_type::put: return message_came(partial_puts_, in, files);
    case wire::frame_type::data:
      if (partial_puts_.contains(id)) return data_came(partial_puts_, in, files);
      return data_came(partial_calls_, in, files);
    case wire::frame_type::function: {
      auto f = wire::decode_session_function(in.payload);
      if (!f || f->index != functions_.size() + 1 || functions_.size() >= limits::session_functions) return false;
      const char* const name = node_->node().intern(std::move(f->name));
      if (name == nullptr) return false;
      functions_.push_back({f->signature, std::move(f->function), name});
      return true;
    }
    case wire::frame_type::needs: {
      auto n = decode_session_needs(in.payload);
      if (!n || n->index != needs_.size() + 1 || needs_.size() >= limits::session_functions) return false;
      needs_.push_back(std::make_shared<const rh::needs>(std::move(n->needs)));
      return true;
    }
    case wire::frame_type::cancel: {
      const auto call = calls_.find(id);
      if (call != calls_.end()) {
        const counted<pending> hold = call->second->result;
        hold->cancel();
      }
      return true;
    }
    case wire::frame_type::detach: {
      const auto call = calls_.find(id);
      if (call != calls_.end()) call->second->is_detached = true;
      const auto value = values_.find(id);
      if (value != values_.end()) value->second->detach();
      return true;
    }
    case wire::frame_type::taken: {
      const auto count = read.get<std::uint32_t>();
      const auto call = calls_.find(id);
      if (call != calls_.end() && call->second->call) node_->items_taken(*call->second->call, count);
      return read.ok();
    }
    case wire::frame_type::release: {
      if (in.payload.size() % sizeof(std::uint64_t) != 0) return false;
      while (read.left() > 0) {
        const auto value = values_.find(read.get<std::uint64_t>());
        if (value == values_.end()) continue;  // it had failed to be put
        const auto gone = std::move(value->second);
        values_.erase(value);
      }
      return true;
    }
    case wire::frame_type::fetch: {
      const auto value = read.get<std::uint64_t>();
      return read.ok() && fetch(id, value);
    }
    case wire::frame_type::ask: {
      auto question = wire::decode_question(in.payload);
      return question && ask(id, std::move(*question));
    }
    case wire::frame_type::bye:
    case wire::frame_type::close: end(); return true;
    default: return false;
  }
}

template <class Head>
bool program_session::message_came(std::unordered_map<std::uint64_t, incoming<Head>>& partial, const wire::frame& in,
                                   os::received_fds& files) {
  const std::uint64_t id = in.header.stream;
  if (is_known(id) || partial_calls_.contains(id) || partial_puts_.contains(id) || calls_.size() >= limits::session_calls) return false;
  incoming<Head> message;
  const auto whole = message.begin(in.header, in.payload);
  if (!whole) return false;
  if (*whole) return message_is_whole(id, std::move(message), files);
  if (partial_calls_.size() + partial_puts_.size() >= 2 * limits::long_messages) return false;
  partial.emplace(id, std::move(message));
  return true;
}

template <class Head>
bool program_session::data_came(std::unordered_map<std::uint64_t, incoming<Head>>& partial, const wire::frame& in,
                                os::received_fds& files) {
  const auto at = partial.find(in.header.stream);
  if (at == partial.end()) return false;
  const auto whole = at->second.add(in.header, in.payload);
  if (!whole) return false;
  if (!*whole) return true;
  auto message = std::move(at->second);
  partial.erase(at);
  return message_is_whole(in.header.stream, std::move(message), files);
}

/// `payloads` are those that came in the body; `shapes` becomes what they are now.
inline bool program_session::take_arguments(std::span<wire::payload_shape> shapes, std::vector<wire::shared_payload> payloads,
                                            os::received_fds& files, call_arguments& arguments) {
  const auto held = [&](const wire::payload_shape& shape) -> std::shared_ptr<const value_holder> {
    const auto value = values_.find(shape.stream_bytes);
    return value != values_.end() ? value->second : nullptr;
  };
  const auto bytes = [&](std::size_t i) -> wire::shared_payload {
    if (shapes[i].kind != wire::payload_kind::in_file) {
      if (payloads[i] && payloads[i]->file) shapes[i].kind = wire::payload_kind::in_file;
      return std::move(payloads[i]);
    }
    auto p = std::make_shared<wire::payload>();
    p->file = take_file(shapes[i], files);
    return p->file ? p : nullptr;
  };
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    if (shapes[i].kind == wire::payload_kind::value) {
      auto value = held(shapes[i]);
      if (!value) return false;
      arguments.emplace_back(std::move(value));
    } else if (shapes[i].kind == wire::payload_kind::list) {
      std::vector<std::shared_ptr<const value_holder>> list;
      const auto size = static_cast<std::size_t>(shapes[i].stream_bytes);
      for (std::size_t k = 1; k <= size; ++k) {
        if (shapes[i + k].kind == wire::payload_kind::value) {
          list.push_back(held(shapes[i + k]));
        } else if (auto element = bytes(i + k)) {
          list.push_back(node_->put(std::move(element)));
        } else {
          list.push_back(nullptr);
        }
        if (!list.back()) return false;
      }
      i += size;
      arguments.emplace_back(std::move(list));
    } else if (auto argument = bytes(i)) {
      arguments.emplace_back(std::move(argument));
    } else {
      return false;
    }
  }
  return true;
}

inline bool program_session::message_is_whole(std::uint64_t id, incoming<wire::session_call> message, os::received_fds& files) {
  const wire::session_call& head = message.head();
  if (head.function == 0 || head.function > functions_.size() || head.needs > needs_.size()) return false;
  const known_function& f = functions_[head.function - 1];
  const call_ptr call(new call_state(node_, f.name));
  std::vector<wire::payload_shape> shapes = head.parameters;
  if (!take_arguments(shapes, std::move(message).take_body(), files, call->arguments)) return false;
  call->head.signature = f.signature;
  call->head.function = f.function;
  call->head.keeps_result = head.keeps_result;
  call->head.parameters = std::move(shapes);
  call->program = program_;
  call->retries_left = head.retries;
  call->queue = head.queue;
  if (head.needs != 0) call->needs = needs_[head.needs - 1];
  auto asked = std::make_shared<asked_call>();
  asked->of = this;
  asked->at = owner_;
  asked->session_number = number_;
  asked->id = id;
  asked->call = call;
  asked->stays = head.keeps_result;
  call->output = asked.get();
  if (head.gives_items) call->items = asked.get();
  asked->result = call;
  counted<kept_result> kept;
  if (head.keeps_result) {
    kept = counted<kept_result>(new kept_result(call));
    asked->result = kept;
    values_.emplace(id, node_->hold(kept));
  }
  calls_.emplace(id, asked);
  asked->self = asked;
  if (kept) kept->start();
  if (!asked->result->wait(*asked)) return asked->ended(), true;
  call->start_on_strand();
  return true;
}

inline bool program_session::message_is_whole(std::uint64_t id, incoming<wire::session_put> message, os::received_fds& files) {
  call_arguments arguments;
  wire::payload_shape shape = message.head().shape;
  if (!take_arguments({&shape, 1}, std::move(message).take_body(), files, arguments)) return false;
  try {
    auto value = node_->put(arguments.at(0).bytes());
    const counted<pending> held = value->value();
    values_.emplace(id, std::move(value));
    wait_for(id, held, {}, true);
  } catch (const error& e) {
    refuse_call(id, e.kind(), e.what());
  }
  return true;
}

/// Precondition: the call, if it is one, was started.
inline void program_session::wait_for(std::uint64_t id, counted<pending> result, call_ptr call, bool stays) {
  auto asked = std::make_shared<asked_call>();
  asked->of = this;
  asked->at = owner_;
  asked->session_number = number_;
  asked->id = id;
  asked->result = std::move(result);
  asked->call = std::move(call);
  asked->stays = stays;
  calls_.emplace(id, asked);
  asked->self = asked;
  if (!asked->result->wait(*asked)) asked->ended();
}

inline void program_session::refuse_call(std::uint64_t id, errc code, const std::string& what) {
  const call_ptr failed(new call_state(node_, ""));
  failed->start_refused();
  refuse(*failed, code, what);
  wait_for(id, failed, failed, false);
}

inline bool program_session::fetch(std::uint64_t id, std::uint64_t value) {
  const auto held = values_.find(value);
  if (is_known(id) || held == values_.end()) return false;
  wait_for(id, node_->fetch(held->second, nullptr), {}, false);
  return true;
}

inline bool program_session::ask(std::uint64_t id, wire::session_question question) {
  if (is_known(id)) return false;
  node_request request;
  const auto topic = static_cast<wire::session_topic>(question.what);
  const bool is_about_value = topic == wire::session_topic::keep_name;
  if (is_about_value) {
    if (question.numbers.empty()) return false;
    const auto held = values_.find(question.numbers.front());
    if (held == values_.end()) return false;
    request.of = held->second;
    question.numbers.erase(question.numbers.begin());
  }
  if (topic == wire::session_topic::queue_place && !question.numbers.empty()) {
    const auto call = calls_.find(question.numbers.front());
    question.numbers.front() = call != calls_.end() && call->second->call ? call->second->call->id : 0;
  }
  request.question = std::move(question);
  const call_ptr call = node_->question(std::move(request));
  call->program = program_;
  const bool stays = topic == wire::session_topic::find_name;
  counted<pending> result = call;
  if (stays) {
    const counted<kept_result> kept(new kept_result(call));
    kept->start();
    values_.emplace(id, node_->hold(kept));
    result = kept;
  }
  wait_for(id, std::move(result), call, stays);
  call->start();  // behind what was cancelled before
  return true;
}

// ---- to the program

inline void program_session::asked_call::ended() noexcept {
  const auto hold = std::exchange(self, nullptr);
  if (call) {
    call->items = nullptr;
    call->output = nullptr;
    if (log) log->end(std::chrono::system_clock::now());
  }
  if (of == nullptr) return;
  of->ready_.push_back({hold, nullptr});
  of->stream_->flush_soon();
}

inline void program_session::asked_call::item_came(call_outcome&& outcome) {
  if (of == nullptr) return;
  const auto mine = of->calls_.find(id);
  if (mine == of->calls_.end()) return;
  of->ready_.push_back({mine->second, std::make_unique<call_outcome>(std::move(outcome))});
  of->stream_->flush_soon();
}

inline void program_session::asked_call::printed(const call_state& c, bool is_error, std::string_view line) {
  if (!log) log = at->log_of(session_number, id, c.function_name);
  log->write(line, is_error ? printed_on::err : printed_on::out, std::chrono::system_clock::now());
  if (of == nullptr) return;
  // A program that does not read is not to fill the node's memory: the log has all of it.
  if (!of->stream_->has_room()) {
    ++of->lines_left_out_;
    return;
  }
  if (of->lines_left_out_ != 0) of->stream_->add(wire::frame_type::output, id, of->take_left_out());
  of->stream_->add(wire::frame_type::output, id, output_frame(is_error, line));
}

inline std::vector<std::byte> program_session::output_frame(bool is_error, std::string_view line) {
  std::vector<std::byte> bytes;
  bytes.reserve(line.size() + 1);
  bytes.push_back(static_cast<std::byte>(is_error ? 1 : 0));
  wire::append(bytes, std::as_bytes(std::span(line)));
  return bytes;
}

/// That there were lines which were not sent, for people.
inline std::vector<std::byte> program_session::take_left_out() {
  const auto count = std::exchange(lines_left_out_, 0);
  return output_frame(true, "(" + std::to_string(count) + " lines of output were not sent, since the program did not read; the node's logs have them)");
}

inline bool program_session::append_next(frame_log& to) {
  const bool may_begin = !ready_.empty() && !ready_.front().of->is_being_sent && long_.size() < limits::long_messages;
  if (may_begin && (long_.empty() || short_ones_turn_)) {
    short_ones_turn_ = false;
    ready_outcome next = std::move(ready_.front());
    ready_.pop_front();
    append_outcome(to, std::move(next));
    return true;
  }
  short_ones_turn_ = true;
  if (long_.empty()) return false;
  long_message m = std::move(long_.front());
  long_.pop_front();
  const bool begins = !m.message.begun();
  m.message.append_next(to.bytes());
  to.added(wire::frame_type::data, begins ? m.files : std::vector<frame_log::shared_file>());
  if (!m.message.done()) {
    long_.push_back(std::move(m));
    return true;
  }
  m.from.of->is_being_sent = false;
  if (!m.from.item) calls_.erase(m.from.of->id);
  return true;
}

inline void program_session::append_outcome(frame_log& to, ready_outcome next) {
  if (lines_left_out_ != 0) to.add({wire::frame_type::output, 0, 0, next.of->id}, take_left_out());
  const std::uint64_t id = next.of->id;
  wire::session_outcome head;
  wire::payload_view payload;
  std::vector<std::span<const std::byte>> segments;
  std::vector<frame_log::shared_file> files;
  const auto set_payload = [&](std::shared_ptr<const wire::payload_file> file, auto&& view) {
    if (file && limits::memory_file_bytes <= file->size_bytes() && stream_->passes_files()) {
      head.result = wire::shape_of(*file);
      files.push_back(std::move(file));
    } else {
      payload = view();
      head.result = wire::shape_of(payload);
    }
  };
  if (next.item) {
    head.how = wire::session_outcome::kind::item;
    set_payload(next.item->file, [&] {
      if (next.item->file) return wire::view(*next.item->file, segments);
      wire::payload_view v;
      wire::view_payloads({&next.item->head.result, 1}, next.item->body.bytes(), segments, {&v, 1});
      return v;
    });
  } else if (const call_outcome* failed = next.of->result->failure()) {
    head = outcome_on_the_way(*failed);
  } else if (next.of->stays) {
    head.how = wire::session_outcome::kind::stays;
    head.reached = stage::ran;
    if (const auto file = next.of->result->in_file()) {
      head.size_bytes = file->size_bytes();
    } else {
      const wire::payload_view v = next.of->result->result(0, segments);
      const wire::payload_shape shape = wire::shape_of(v);
      head.size_bytes = wire::body_bytes({&shape, 1});
    }
  } else {
    head.reached = stage::ran;
    try {
      set_payload(next.of->result->in_file(), [&] { return next.of->result->result(0, segments); });
    } catch (const error& e) {  // the wait for it was cancelled
      head.how = wire::session_outcome::kind::error;
      head.reached = stage::not_started;
      head.code = static_cast<std::uint32_t>(e.kind());
      head.what = e.what();
      payload = {};
    }
  }
  const bool has_payload = files.empty() && wire::message_traits<wire::session_outcome>::has_payload(head);
  const std::span<const wire::payload_view> payloads(&payload, has_payload ? std::size_t{1} : std::size_t{0});
  if (wire::append_whole(to.bytes(), head, id, payloads)) {
    to.added(wire::frame_type::outcome, files);
    if (!next.item) calls_.erase(id);
    return;
  }
  next.of->is_being_sent = true;
  wire::outgoing_message message(head, id, payloads);
  long_.push_back({std::move(message), std::move(next), std::move(files)});
}

}  // namespace rh::detail
