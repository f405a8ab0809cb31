// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/rpc/node_link.hpp>

#include <algorithm>
#include <cstring>

namespace rh::detail {

inline node_link::node_link(runtime& r, std::shared_ptr<node_contact> way, wire::open_session session, reached_node node, output_sink sink)
    : runtime_(r),
      contact_(std::move(way)),
      session_(std::move(session)),
      incarnation_(node.hello.incarnation),
      first_(std::move(node)),
      sink_(std::move(sink)),
      stream_(std::make_shared<session_stream>(r, static_cast<session_stream::owner&>(*this))),
      retry_timer_(r.io()),
      silence_timer_(r.io()) {}

inline void node_link::start() {
  open_connection made = std::move(first_->connection);
  first_.reset();
  static_cast<void>(stream_->attach(std::move(made)));  // nothing was said yet
  watch_silence();
  if (contact_->is_same_machine()) runtime_.add_poller(*this);
}

inline void node_link::close() noexcept {
  runtime_.remove_poller(*this);
  if (!ended_.exchange(true)) {
    if (stream_->is_connected()) {
      stream_->add(wire::frame_type::close, 0);
      stream_->flush_now();
    }
  }
  stream_->close();
  retry_timer_.cancel();
  silence_timer_.cancel();
}

// ---- calls

/// How far the call of a request had come: a wait for a value is about the call that makes it.
inline stage node_link::reached_by(const call_state& call) noexcept {
  if (!call.request || call.request->what != node_request::kind::fetch) return stage::not_started;
  const pending& value = *call.request->of->value();
  if (!value.has_ended()) return stage::may_have_run;
  return value.failure() != nullptr ? value.failure()->reached : stage::ran;
}

inline void node_link::begin(call_ptr call) {
  if (call->request && call->request->what == node_request::kind::fetch) {
    const pending& value = *call->request->of->value();
    if (value.has_ended() && value.failure() != nullptr) return call->finish(call_outcome::failure_of(*value.failure()));
  }
  if (ended_) return end_call(*call, ended_code_, why_ended_, reached_by(*call));
  waiting_.push_back(std::move(call));
  stream_->flush_soon();
}

inline bool node_link::is_being_sent(const call_state& call) const noexcept {
  return std::ranges::any_of(long_, [&](const long_message& m) { return m.call.get() == &call; });
}

inline void node_link::cancel(call_state& call) {
  if (is_being_sent(call)) return;  // the node does not know it yet: when it does
  if (sent_.contains(call.id)) return stream_->add(wire::frame_type::cancel, call.id);
  // It stays in waiting_, and is left out when its turn comes.
  end_call(call, errc::cancelled, "it was cancelled before it was sent", stage::not_started);
}

inline void node_link::detach(call_state& call) {
  if (call.has_ended()) return;
  call.is_detached = true;
  if (sent_.contains(call.id) && !is_being_sent(call)) stream_->add(wire::frame_type::detach, call.id);
}

inline void node_link::items_taken(const call_state& call, std::uint32_t count) {
  if (!sent_.contains(call.id)) return;
  std::vector<std::byte> amount;
  wire::byte_writer(amount).put(count);
  stream_->add(wire::frame_type::taken, call.id, amount);
}

inline void node_link::release(std::uint64_t value) {
  if (ended_) return;
  released_.push_back(value);
  stream_->flush_soon();
}

inline void node_link::end_call(call_state& call, errc code, const std::string& why, stage reached) noexcept {
  call_outcome outcome;
  outcome.head.kind = wire::outcome_kind::error;
  outcome.head.code = static_cast<std::uint32_t>(code);
  outcome.head.what = why;
  outcome.reached = reached;
  call.finish(std::move(outcome));
}

// ---- to the node

/// What was put, or is kept, or queued, must be there before what refers to it, or comes behind it.
inline bool node_link::may_overtake(const call_state& call) const noexcept {
  const bool refers = call.takes_values() || call.request;
  return std::ranges::none_of(long_, [&](const long_message& m) { return (m.is_kept && refers) || (m.is_queued && !call.queue.empty()); });
}

inline bool node_link::append_next(frame_log& to) {
  while (!waiting_.empty() && waiting_.front()->has_ended()) waiting_.pop_front();
  const bool has_room = sent_.empty() || (bytes_ahead_ < limits::session_ahead_bytes && sent_.size() < limits::session_calls &&
                                          long_.size() < limits::long_messages);
  const bool may_send = !waiting_.empty() && has_room && may_overtake(*waiting_.front());
  if (may_send && (long_.empty() || short_ones_turn_)) {
    short_ones_turn_ = false;
    return append_call(to);
  }
  short_ones_turn_ = true;
  if (!long_.empty()) {
    long_message m = std::move(long_.front());
    long_.pop_front();
    const bool begins = !m.message.begun();
    m.message.append_next(to.bytes());
    to.added(wire::frame_type::data, begins ? m.files : std::vector<frame_log::shared_file>());
    if (!m.message.done()) {
      long_.push_back(std::move(m));
    } else {
      append_wishes(to, *m.call);
    }
    return true;
  }
  if (released_.empty() || !waiting_.empty()) return false;
  append_released(to);
  return true;
}

/// What its caller has wanted while it was being sent, or before.
inline void node_link::append_wishes(frame_log& to, const call_state& call) {
  if (call.is_detached) to.add({wire::frame_type::detach, 0, 0, call.id}, {});
  if (call.cancel_requested()) to.add({wire::frame_type::cancel, 0, 0, call.id}, {});
}

inline void node_link::append_released(frame_log& to) {
  std::vector<std::byte> ids;
  wire::byte_writer out(ids);
  const std::size_t count = std::min<std::size_t>(released_.size(), limits::chunk_bytes / 8);
  for (std::size_t i = 0; i < count; ++i) out.put(released_[i]);
  released_.erase(released_.begin(), released_.begin() + static_cast<std::ptrdiff_t>(count));
  to.add({wire::frame_type::release, 0, 0, 0}, ids);
}

/// The first of those that wait; to.added() is called for each frame.
inline bool node_link::append_call(frame_log& to) {
  const call_ptr call = std::move(waiting_.front());
  waiting_.pop_front();
  try {
    if (call->request) {
      append_request(to, call);
    } else {
      wire::session_call head;
      append_named(to, *call, head);
      head.retries = call->retries_left;
      head.keeps_result = call->head.keeps_result;
      head.gives_items = call->items != nullptr;
      head.is_queued = !call->queue.empty();
      head.queue = call->queue;
      view_arguments(*call, head.parameters);
      append_message(to, head, call, head.keeps_result, head.is_queued);
    }
  } catch (const error& e) {
    if (const auto sent = sent_.find(call->id); sent != sent_.end()) {
      bytes_ahead_ -= sent->second.bytes;
      sent_.erase(sent);
    }
    end_call(*call, e.kind(), e.what(), stage::not_started);
  }
  return true;
}

template <class Head>
void node_link::append_message(frame_log& to, const Head& head, const call_ptr& call, bool is_kept, bool is_queued) {
  std::uint64_t bytes = 64;
  for (const wire::payload_view& p : payloads_) {
    bytes += p.stream.size();
    for (const auto& segment : p.segments) bytes += segment.size();
  }
  bytes_ahead_ += bytes;
  sent_.emplace(call->id, sent_call{call, bytes});
  if (wire::append_whole(to.bytes(), head, call->id, payloads_)) {
    to.added(wire::message_traits<Head>::type, files_);
    append_wishes(to, *call);
  } else {
    wire::outgoing_message message(head, call->id, payloads_);
    long_.push_back({std::move(message), call, call->arguments, files_, is_kept, is_queued});
  }
}

/// Functions and needs are described once, and then named by a number.
inline void node_link::append_named(frame_log& to, const call_state& call, wire::session_call& head) {
  const std::uint64_t place = std::uint64_t{call.head.function.object} << 48 | call.head.function.offset;
  const auto [function, is_new] = functions_.try_emplace(place, static_cast<std::uint32_t>(functions_.size()) + 1);
  if (is_new) {
    to.add({wire::frame_type::function, 0, 0, 0},
           encode(wire::session_function{function->second, call.head.signature, call.head.function, call.function_name}));
  }
  head.function = function->second;
  if (!call.needs) return;
  const auto [needs, are_new] =
      needs_.try_emplace(call.needs.get(), call.needs, static_cast<std::uint32_t>(needs_.size()) + 1);
  if (are_new) to.add({wire::frame_type::needs, 0, 0, 0}, encode(session_needs{needs->second.second, *call.needs}));
  head.needs = needs->second.second;
}

/// Fills payloads_ and files_.
inline void node_link::view_arguments(const call_state& call, std::vector<wire::payload_shape>& shapes) {
  payloads_.clear();
  files_.clear();
  if (segments_.size() < call.arguments.size()) segments_.resize(call.arguments.size());
  for (const call_argument& a : call.arguments) {
    if (a.bytes() && a.bytes()->file && contact_->is_same_machine()) {
      shapes.push_back(wire::shape_of(*a.bytes()->file));
      files_.push_back(a.bytes()->file);
    } else if (a.bytes()) {
      payloads_.push_back(wire::view(*a.bytes(), segments_[payloads_.size()]));
      shapes.push_back(wire::shape_of(payloads_.back()));
    } else {
      if (a.is_list()) shapes.push_back({a.values().size(), {}, wire::payload_kind::list});
      for (const auto& held : a.values()) shapes.push_back({held->value()->maker()->id, {}, wire::payload_kind::value});
    }
  }
}

inline void node_link::append_request(frame_log& to, const call_ptr& call) {
  const node_request& request = *call->request;
  if (request.what == node_request::kind::put) {
    wire::session_put head;
    std::vector<wire::payload_shape> shapes;
    view_arguments(*call, shapes);
    head.shape = shapes.at(0);
    return append_message(to, head, call, true, false);
  }
  sent_.emplace(call->id, sent_call{call, 0});
  if (request.what == node_request::kind::fetch) {
    std::vector<std::byte> value;
    wire::byte_writer(value).put(request.of->value()->maker()->id);
    return to.add({wire::frame_type::fetch, 0, 0, call->id}, value);
  }
  wire::session_question question = request.question;
  if (request.of) question.numbers.insert(question.numbers.begin(), request.of->value()->maker()->id);
  to.add({wire::frame_type::ask, 0, 0, call->id}, encode(question));
}

// ---- from the node

inline bool node_link::frame_came(const wire::frame& in, os::received_fds& files) {
  unanswered_pings_ = 0;
  switch (in.header.type) {
    case wire::frame_type::outcome: {
      if (partial_.contains(in.header.stream)) return false;
      const auto call = sent_.find(in.header.stream);
      if (call == sent_.end()) return false;
      const bool gives_items = call->second.call->items != nullptr;
      incoming_outcome message(incoming_result(gives_items ? nullptr : call->second.call->receiver));
      const auto whole = message.begin(in.header, in.payload);
      if (!whole) return false;
      if (*whole) return outcome_came(in.header.stream, std::move(message), files);
      partial_.emplace(in.header.stream, std::move(message));
      return true;
    }
    case wire::frame_type::data: {
      const auto partial = partial_.find(in.header.stream);
      if (partial == partial_.end()) return false;
      const auto whole = partial->second.add(in.header, in.payload);
      if (!whole) return false;
      if (!*whole) return true;
      auto message = std::move(partial->second);
      partial_.erase(partial);
      return outcome_came(in.header.stream, std::move(message), files);
    }
    case wire::frame_type::output: {
      const auto call = sent_.find(in.header.stream);
      if (in.payload.empty()) return false;
      const std::string_view text(reinterpret_cast<const char*>(in.payload.data()), in.payload.size());
      if (call != sent_.end() || in.header.stream == 0) {
        sink_(call != sent_.end() ? call->second.call->function_name : nullptr, text.front() != '\0', text.substr(1));
      }
      return true;
    }
    case wire::frame_type::bye: {
      const auto said = wire::decode_bye(in.payload);
      if (!said) return false;
      end(errc::node_lost, "the node of " + contact_->name() + " ended the session: " + said->text);
      return true;
    }
    default: return false;
  }
}

inline bool node_link::outcome_came(std::uint64_t id, incoming_outcome message, os::received_fds& files) {
  using kind = wire::session_outcome::kind;
  const auto found = sent_.find(id);
  if (found == sent_.end()) return false;
  const call_ptr call = found->second.call;
  wire::session_outcome head = message.head();
  const kind how = head.how;
  if (how == kind::item && call->items == nullptr) return false;
  call_outcome outcome;
  if (!outcome_that_came(std::move(head), std::move(message).take_body(), files, outcome)) return false;
  if (how == kind::item) {
    call->items->item_came(std::move(outcome));
    return true;
  }
  if (how == kind::stays) call->count_store(message.head().size_bytes);
  bytes_ahead_ -= found->second.bytes;
  sent_.erase(found);
  if (!waiting_.empty()) stream_->flush_soon();
  call->finish(std::move(outcome));
  return true;
}

// ---- connections

inline void node_link::connection_lost(std::string why) noexcept {
  if (ended_) return;
  // What breaks each connection at once, such as a frame that was changed on its way, would do so for ever.
  const std::uint64_t progress = stream_->progress();
  losses_in_vain_ = progress == progress_ ? losses_in_vain_ + 1 : 0;
  progress_ = progress;
  if (losses_in_vain_ >= limits::losses_in_vain) {
    return end(errc::node_lost, "the connection to the node of " + contact_->name() + " broke " + std::to_string(losses_in_vain_) +
                                    " times with nothing got through; the last time it " + why);
  }
  lost_at_ = clock::now();
  tries_ = losses_in_vain_;
  tell(disconnect::state::lost, why);
  if (losses_in_vain_ == 0) {
    reconnect();
  } else {
    reconnect_later();
  }
}

/// On a thread of its own, since to connect blocks.
inline void node_link::reconnect() noexcept {
  struct answer final : strand_work {
    void run() noexcept override {
      if (const auto l = link.lock()) l->reconnected(std::move(node), code, why);
      delete this;
    }
    std::weak_ptr<node_link> link;
    std::optional<reached_node> node;
    errc code{};
    std::string why;
  };
  try {
    wire::open_session again;
    again.id = session_.id;
    again.resumes = true;
    again.is_same_machine = session_.is_same_machine;
    again.received = stream_->received();
    auto a = std::make_unique<answer>();
    a->link = weak_from_this();
    os::start_thread([&r = runtime_, way = contact_, again, a = a.release()] {
      try {
        a->node = way->reach(again);
      } catch (const error& e) {
        a->code = e.kind();
        a->why = e.what();
      } catch (const std::exception& e) {
        a->code = errc::connection_lost;
        a->why = e.what();
      }
      r.defer(*a);
    });
  } catch (const std::exception& e) {
    reconnect_later();
  }
}

inline void node_link::reconnect_later() {
  const auto longest = std::min<std::chrono::milliseconds>(limits::reconnect_longest, limits::reconnect_first * (1 << std::min(tries_, 10u)));
  ++tries_;
  // Between a half and all of it, so that many programs do not come at once.
  const auto delay = std::chrono::milliseconds(longest.count() / 2 + static_cast<long>(random_()) % (longest.count() / 2 + 1));
  retry_timer_.expires_after(delay);
  retry_timer_.async_wait([self = weak_from_this()](std::error_code error) {
    const auto link = self.lock();
    if (!error && link && !link->ended_) link->reconnect();
  });
}

inline void node_link::reconnected(std::optional<reached_node> node, errc code, const std::string& why) {
  if (ended_) return;
  if (node) {
    if (node->hello.incarnation != incarnation_) {
      return end(errc::node_lost, "the node of " + contact_->name() + " has ended, and another one runs now; what it had is gone");
    }
    if (!stream_->attach(std::move(node->connection))) {
      return end(errc::node_lost, "the node of " + contact_->name() + " and this program do not agree on what was said");
    }
    unanswered_pings_ = 0;
    tell(disconnect::state::resumed, "");
    return;
  }
  if (code != errc::connection_lost) return end(code == errc::node_elsewhere ? code : errc::node_lost, why);
  if (clock::now() - lost_at_ > limits::resume_window) {
    return end(errc::node_lost, "the node of " + contact_->name() + " could not be reached for " +
                                    std::to_string(std::chrono::seconds(limits::resume_window).count()) + " s: " + why);
  }
  reconnect_later();
}

/// A connection on which nothing comes may be broken, or the node stopped: asked, it would answer.
inline void node_link::watch_silence() {
  silence_timer_.expires_after(limits::silence);
  silence_timer_.async_wait([self = weak_from_this()](std::error_code error) {
    const auto link = self.lock();
    if (error || !link || link->ended_) return;
    if (link->stream_->is_connected() && clock::now() - link->stream_->last_heard() >= limits::silence) {
      if (link->unanswered_pings_ >= limits::silences) {
        link->stream_->detach();
        link->connection_lost("did not answer for " + std::to_string(limits::silence.count() * limits::silences) + " s");
      } else {
        ++link->unanswered_pings_;
        link->stream_->add(wire::frame_type::ping, ++link->ping_);
      }
    } else {
      link->unanswered_pings_ = 0;
    }
    link->watch_silence();
  });
}

inline void node_link::tell(disconnect::state now, const std::string& why) noexcept {
  const disconnect what{now, contact_->name(), why};
  for (const observer& o : observers_) {
    try {
      o(what);
    } catch (...) {  // there is nobody to tell
    }
  }
}

/// Everything that is not there yet is lost.
inline void node_link::end(errc code, const std::string& why) noexcept {
  if (ended_.exchange(true)) return;
  ended_code_ = code;
  why_ended_ = why;
  const auto hold = shared_from_this();
  stream_->detach();
  retry_timer_.cancel();
  silence_timer_.cancel();
  partial_.clear();
  long_.clear();
  released_.clear();
  auto sent = std::exchange(sent_, {});
  auto waiting = std::exchange(waiting_, {});
  bytes_ahead_ = 0;
  for (auto& [id, s] : sent) end_call(*s.call, code, why, s.call->request ? reached_by(*s.call) : stage::may_have_run);
  for (const call_ptr& call : waiting) end_call(*call, code, why, reached_by(*call));
  tell(disconnect::state::ended, why);
}

}  // namespace rh::detail
