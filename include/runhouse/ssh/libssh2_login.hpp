// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/core/limits.hpp>
#include <runhouse/os/fd.hpp>
#include <runhouse/ssh/key_file.hpp>
#include <runhouse/ssh/libssh2_api.hpp>
#include <runhouse/ssh/libssh2_guard.hpp>
#include <runhouse/ssh/known_hosts.hpp>
#include <runhouse/ssh/ssh_target.hpp>
#include <runhouse/ssh/transport_choice.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <poll.h>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <utility>
#include <vector>

namespace rh::detail {

/// What libssh2 cannot do with this host: the ssh program may.
class libssh2_incapable final : public error {
 public:
  using error::error;
};

/// The host closed the connection early, as one does to which many connect at once.
class libssh2_dropped final : public error {
 public:
  using error::error;
};

struct libssh2_session_deleter {
  /// Precondition: its socket, where it has one, does not block any more: else some of it would stay.
  void operator()(LIBSSH2_SESSION* session) const noexcept { libssh2().session_free(session); }
};

/// A session that is logged in, and what it goes over. libssh2 is used from one thread at a time.
struct libssh2_session {
  os::unique_fd socket;  // they outlive the session
  std::unique_ptr<libssh2_guard> guard = std::make_unique<libssh2_guard>();
  std::unique_ptr<LIBSSH2_SESSION, libssh2_session_deleter> session;
  /// What the host may send of a channel before it is read. As much as is on its way in a round trip, at 400 MB/s: what is
  /// more piles up in the host's sshd, which is slower then.
  std::uint32_t window_bytes = least_window_bytes;
  static constexpr std::uint32_t least_window_bytes = 2 * 1024 * 1024;
  static constexpr std::uint32_t most_window_bytes = 32 * 1024 * 1024;

  libssh2_session() = default;
  libssh2_session(libssh2_session&&) = default;
  libssh2_session& operator=(libssh2_session&&) = delete;
  ~libssh2_session() {
    if (!session) return;
    ::shutdown(socket.get(), SHUT_RDWR);
    guard->socket_is_ready();
    guard->begin_call();
  }

  /// What the session waits for, as events of poll().
  short wanted_events() const noexcept {
    const int directions = libssh2().session_block_directions(session.get());
    return static_cast<short>(((directions & LIBSSH2_SESSION_BLOCK_INBOUND) != 0 ? POLLIN : 0) |
                              ((directions & LIBSSH2_SESSION_BLOCK_OUTBOUND) != 0 ? POLLOUT : 0));
  }
  std::string last_error() const {
    char* text = nullptr;
    int size = 0;
    libssh2().session_last_error(session.get(), &text, &size, 0);
    return {text, static_cast<std::size_t>(std::max(size, 0))};
  }
};

/// The types of the keys that an agent has; none where it does not answer. `socket` empty: there is none.
inline std::vector<std::string> key_types_of_agent(const std::string& socket);

/// From a connection to a session in which commands can be run. Blocks, until a deadline.
class libssh2_login {
 public:
  using clock = std::chrono::steady_clock;
  libssh2_login(const ssh_target& target, os::unique_fd connection, clock::time_point deadline);

  /// Errors: errc::host_unreachable, errc::host_key_refused, errc::authentication_failed;
  /// libssh2_incapable where the ssh program may do what this cannot.
  libssh2_session run() {
    shake_hands();
    check_host_key();
    authenticate();
    it_.guard->logged_in();
    return std::move(it_);
  }

 private:
  static constexpr unsigned most_tries = 3;  // of a password
  template <class Call>
  int finish(Call call);
  template <class Call>
  bool lets_in(Call call, const std::string& by);
  /// What a person takes to answer does not count, and a host may think about a wrong one for seconds.
  template <class Ask>
  std::optional<std::string> answered(Ask ask) {
    auto answer = ask();
    deadline_ = std::max(deadline_, clock::now() + limits::connect);
    return answer;
  }
  void wait();
  void shake_hands();
  void check_host_key();
  void authenticate();
  bool by_agent();
  bool may_sign_with(std::string_view type) const;
  [[noreturn]] void fail_login(const std::string& what);
  bool by_key_file(const std::string& path);
  bool by_questions();
  bool by_password();
  bool has_file(std::string_view blob) const;
  bool offers(std::string_view method) const;
  void tried(std::string what) { tried_ += (tried_.empty() ? "" : ", ") + std::move(what); }
  [[noreturn]] void fail_connection(const std::string& while_it);

  const ssh_target& target_;
  clock::time_point deadline_;
  libssh2_session it_;
  std::string methods_;  // that the host takes
  std::string tried_;
  unsigned failed_ways_ = 0;
  bool gave_up_ = false;  // who was asked
};

// ---- implementation

struct libssh2_agent_end {
  void operator()(LIBSSH2_AGENT* agent) const noexcept {
    libssh2().agent_disconnect(agent);
    libssh2().agent_free(agent);
  }
};
using libssh2_agent_ptr = std::unique_ptr<LIBSSH2_AGENT, libssh2_agent_end>;

/// One whose keys are read; null where it does not answer. Errors: std::bad_alloc.
inline libssh2_agent_ptr open_agent(LIBSSH2_SESSION* session, const std::string& socket) {
  libssh2_agent_ptr agent(libssh2().agent_init(session));
  if (!agent) throw std::bad_alloc();
  libssh2().agent_set_identity_path(agent.get(), socket.c_str());
  if (libssh2().agent_connect(agent.get()) != 0 || libssh2().agent_list_identities(agent.get()) != 0) return nullptr;
  return agent;
}

inline std::vector<std::string> key_types_of_agent(const std::string& socket) {
  std::vector<std::string> types;
  if (socket.empty() || libssh2_api::find() == nullptr) return types;
  libssh2_guard guard;
  const std::unique_ptr<LIBSSH2_SESSION, libssh2_session_deleter> session(guard.make_session(-1));
  if (!session) throw std::bad_alloc();
  const libssh2_agent_ptr agent = open_agent(session.get(), socket);
  libssh2_agent_publickey* key = nullptr;
  while (agent && libssh2().agent_get_identity(agent.get(), &key, key) == 0) {
    const std::string blob(reinterpret_cast<const char*>(key->blob), key->blob_len);
    types.emplace_back(type_of(blob));
  }
  return types;
}

inline libssh2_login::libssh2_login(const ssh_target& target, os::unique_fd connection, clock::time_point deadline)
    : target_(target), deadline_(deadline) {
  if (libssh2_api::find() == nullptr) throw libssh2_incapable(errc::host_unreachable, "there is no libssh2.so.1 on this machine; install libssh2-1", {});
  it_.socket = std::move(connection);
  it_.guard->asker = this;
  it_.session.reset(it_.guard->make_session(it_.socket.get()));
  if (!it_.session) throw std::bad_alloc();
  libssh2().session_set_blocking(it_.session.get(), 0);
}

inline void libssh2_login::wait() {
  pollfd ready{it_.socket.get(), it_.wanted_events(), 0};
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline_ - clock::now()).count();
    if (left <= 0) fail(errc::host_unreachable, target_.name + " did not answer in time while it was logged in to");
    if (::poll(&ready, 1, static_cast<int>(std::min<std::int64_t>(left, 1'000'000))) <= 0) continue;
    it_.guard->socket_is_ready();
    return;
  }
}

template <class Call>
int libssh2_login::finish(Call call) {
  for (;;) {
    it_.guard->begin_call();
    const int done = call();
    if (done != LIBSSH2_ERROR_EAGAIN) return done;
    wait();
  }
}

inline void libssh2_login::fail_connection(const std::string& while_it) {
  if (it_.guard->has_flooded()) fail(errc::host_unreachable, target_.name + " sends without end before it lets anybody in: it is no SSH server");
  throw libssh2_dropped(errc::host_unreachable, target_.name + " closed the connection, or broke the protocol, while " + while_it + ": " + it_.last_error(), {});
}

inline void libssh2_login::shake_hands() {
  LIBSSH2_SESSION* const session = it_.session.get();
  const auto prefer = [&](int what, const std::string& list) {
    if (libssh2().session_method_pref(session, what, list.c_str()) != 0) {
      throw libssh2_incapable(errc::host_unreachable, "this libssh2 has none of " + list, {});
    }
  };
  const auto joined = [](const auto& names) {
    std::string list;
    for (const auto& name : names) list += (list.empty() ? "" : ",") + std::string(name);
    return list;
  };
  for (const int what : {LIBSSH2_METHOD_CRYPT_CS, LIBSSH2_METHOD_CRYPT_SC}) prefer(what, joined(target_.ciphers));
  for (const int what : {LIBSSH2_METHOD_MAC_CS, LIBSSH2_METHOD_MAC_SC}) prefer(what, joined(target_.macs));
  prefer(LIBSSH2_METHOD_KEX, joined(target_.key_exchanges));

  // The type that is known comes first: with another one the host would seem to have changed.
  known_hosts known(target_.known_as, target_.known_port);
  for (const std::string& file : target_.known_hosts_files) known.add_file(file);
  std::vector<std::string> types = known.types();
  std::erase_if(types, [&](const std::string& t) { return std::ranges::find(target_.host_key_types, t) == target_.host_key_types.end(); });
  for (const std::string& type : target_.host_key_types) {
    if (std::ranges::find(types, type) == types.end()) types.push_back(type);
  }
  prefer(LIBSSH2_METHOD_HOSTKEY, joined(types));

  const int done = finish([&] { return libssh2().session_handshake(session, it_.socket.get()); });
  if (done == 0) return;
  if (done == LIBSSH2_ERROR_KEX_FAILURE || done == LIBSSH2_ERROR_METHOD_NONE || done == LIBSSH2_ERROR_METHOD_NOT_SUPPORTED ||
      done == LIBSSH2_ERROR_HOSTKEY_INIT) {
    throw libssh2_incapable(errc::host_unreachable, target_.name + " and libssh2 have no key exchange, cipher or type of host key in common: " + it_.last_error(), {});
  }
  fail_connection("keys were exchanged");
}

inline void libssh2_login::check_host_key() {
  std::size_t size = 0;
  int type = 0;
  const char* const bytes = libssh2().session_hostkey(it_.session.get(), &size, &type);
  if (bytes == nullptr) fail_connection("its key was read");
  const host_key key(bytes, size);
  known_hosts known(target_.known_as, target_.known_port);
  for (const std::string& file : target_.known_hosts_files) known.add_file(file);
  const host_key_verdict verdict = known.check(key);
  const std::string shown = target_.name + " shows the host key " + std::string(type_of(key)) + " " + fingerprint_of(key);
  using kind = host_key_verdict::kind;
  switch (verdict.is) {
    case kind::known: return;
    case kind::by_authority:
      throw libssh2_incapable(errc::host_key_refused, shown + ", which an authority is to have signed (" + verdict.where + "); libssh2 cannot check that", {});
    case kind::unknown: {
      const std::string& file = target_.new_keys_file;
      if (target_.accepts_new_keys && !file.empty()) {
        try {
          return add_known_host(file, known.line_for(key, target_.hashes_new_keys));
        } catch (const std::system_error& e) {
          fail(errc::host_key_refused, shown + ", which is new and could not be made known: " + e.what());
        }
      }
      fail(errc::host_key_refused, shown + ", which is not known. Compare it with what the machine's owner says; if it is the same, connect once by 'ssh " + target_.name + "' in a terminal, or add this line to " +
                                       (file.empty() ? "~/.ssh/known_hosts" : file) + ": " + known.line_for(key, false));
    }
    case kind::changed:
      fail(errc::host_key_refused, shown + ", but another one is known (" + verdict.where + "). Somebody may be in between, or the machine was set up anew: ask " +
                                       "its owner; if it was, remove what is known by: ssh-keygen -R '" + known.name() + "'");
    case kind::revoked: fail(errc::host_key_refused, shown + ", which is revoked (" + verdict.where + ")");
    case kind::unreadable: fail(errc::host_key_refused, shown + ", which cannot be checked: " + verdict.where + ": " + verdict.why);
  }
}

// ---- who the user is

inline bool libssh2_login::offers(std::string_view method) const {
  const std::string all = "," + methods_ + ",";
  return all.find("," + std::string(method) + ",") != all.npos;
}

inline void libssh2_login::authenticate() {
  LIBSSH2_SESSION* const session = it_.session.get();
  const auto user_bytes = static_cast<unsigned>(target_.user.size());
  const char* list = nullptr;
  const auto begun = clock::now();
  const int asked = finish([&] {
    list = libssh2().userauth_list(session, target_.user.c_str(), user_bytes);
    return list != nullptr ? 0 : libssh2().session_last_errno(session);
  });
  if (list == nullptr) {
    if (libssh2().userauth_authenticated(session) != 0) return;  // it asks for nothing
    if (asked != LIBSSH2_ERROR_AUTHENTICATION_FAILED || it_.guard->has_ended()) fail_connection("it was asked how to log in");
  } else {
    methods_ = list;
  }
  // Two round trips, and what OpenSSH lets anybody wait who is refused, at most.
  constexpr std::chrono::milliseconds refusal(9);
  const auto trip = std::chrono::duration_cast<std::chrono::microseconds>(clock::now() - begun - refusal) / 2;
  constexpr std::int64_t bytes_of_microsecond = 400;
  it_.window_bytes = static_cast<std::uint32_t>(
      std::clamp<std::int64_t>(trip.count() * bytes_of_microsecond, libssh2_session::least_window_bytes, libssh2_session::most_window_bytes));
  if (by_agent()) return;
  for (const std::string& path : target_.key_files) {
    if (offers("publickey") && by_key_file(path)) return;
  }
  if (target_.answers.question) {
    if (target_.may_ask && offers("keyboard-interactive") && by_questions()) return;
    if (!gave_up_ && target_.may_send_password && offers("password") && by_password()) return;
  }
  fail_login(target_.name + " did not let " + target_.user + " in. It takes: " + (methods_.empty() ? "nothing" : methods_) +
                                        "; tried: " + (tried_.empty() ? "nothing, as there was no key that libssh2 can use" : tried_) +
                                        ". Load a key by ssh-add, or copy one there by ssh-copy-id");
}

/// Where nobody answers its questions, the program may have a way that this has not: a key of another type, or Kerberos.
inline void libssh2_login::fail_login(const std::string& what) {
  if (target_.answers.question) fail(errc::authentication_failed, what);
  throw libssh2_incapable(errc::authentication_failed, what, {});
}

inline bool libssh2_login::has_file(std::string_view blob) const {
  return std::ranges::any_of(target_.key_files, [&](const std::string& path) {
    std::ifstream in(path.ends_with(".pub") ? path : path + ".pub");
    std::string type, key;
    in >> type >> key;
    const auto bytes = from_base64(key);
    return bytes && *bytes == blob;
  });
}

/// One way to log in, as a call of libssh2.
template <class Call>
bool libssh2_login::lets_in(Call call, const std::string& by) {
  const int done = finish(call);
  if (done == 0) return true;
  const std::string why = done == LIBSSH2_ERROR_AUTHENTICATION_FAILED || done == LIBSSH2_ERROR_PUBLICKEY_UNVERIFIED ? "" : " (" + it_.last_error() + ")";
  tried(by + why);
  const bool is_broken = done == LIBSSH2_ERROR_SOCKET_DISCONNECT || done == LIBSSH2_ERROR_SOCKET_SEND || it_.guard->has_ended();
  if (is_broken && ++failed_ways_ == 1) fail_connection("it was asked to let " + target_.user + " in");
  if (is_broken) {
    fail_login(target_.name + " did not let " + target_.user + " in, and closed the connection: it may take no more tries than it got. Tried: " +
                                          tried_ + ". Name the right key by IdentityFile, with IdentitiesOnly yes");
  }
  ++failed_ways_;
  // It may have taken it for one of several things that it wants.
  if (target_.answers.question) {
    const char* list = nullptr;
    finish([&] {
      list = libssh2().userauth_list(it_.session.get(), target_.user.c_str(), static_cast<unsigned>(target_.user.size()));
      return list != nullptr ? 0 : libssh2().session_last_errno(it_.session.get());
    });
    if (list != nullptr) methods_ = list;
  }
  return false;
}

inline bool libssh2_login::may_sign_with(std::string_view type) const {
  return transport::signs_with(type) && (target_.key_types.empty() || std::ranges::find(target_.key_types, type) != target_.key_types.end());
}

/// First those of its keys that have a file, as ssh does, then the others.
inline bool libssh2_login::by_agent() {
  if (target_.agent.empty() || !offers("publickey")) return false;
  const libssh2_agent_ptr agent = open_agent(it_.session.get(), target_.agent);
  if (!agent) {
    tried("the agent at " + target_.agent + ", which does not answer");
    return false;
  }
  it_.guard->set_agent_wait(limits::somebody_answers);  // it may ask whether to sign
  for (const bool with_file : {true, false}) {
    if (!with_file && target_.only_key_files) break;
    libssh2_agent_publickey* key = nullptr;
    while (libssh2().agent_get_identity(agent.get(), &key, key) == 0) {
      const std::string blob(reinterpret_cast<const char*>(key->blob), key->blob_len);
      const std::string type(type_of(blob));
      if (!may_sign_with(type) || has_file(blob) != with_file || !offers("publickey")) continue;
      const auto sign = [&] { return libssh2().agent_userauth(agent.get(), target_.user.c_str(), key); };
      if (lets_in(sign, "the agent's " + type + " " + fingerprint_of(blob))) return true;
    }
  }
  return false;
}

inline bool libssh2_login::by_key_file(const std::string& path) {
  std::ifstream in(path);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  const std::optional<key_facts> facts = facts_of_key(text);
  if (!facts || (!facts->type.empty() && !may_sign_with(facts->type))) return false;
  std::string passphrase;
  if (facts->is_encrypted) {
    const auto answer = target_.answers.passphrase ? answered([&] { return target_.answers.passphrase(path); }) : std::nullopt;
    if (!answer) {
      tried(path + ", which needs a passphrase");
      return false;
    }
    passphrase = *answer;
  }
  return lets_in(
      [&] {
        return libssh2().userauth_publickey_fromfile_ex(it_.session.get(), target_.user.c_str(), static_cast<unsigned>(target_.user.size()), nullptr, path.c_str(),
                                                        passphrase.c_str());
      },
      path);
}

inline bool libssh2_login::by_password() {
  for (unsigned tries = 1; tries <= most_tries; ++tries) {
    const auto answer = answered([&] { return target_.answers.question(target_.user + "@" + target_.name + "'s password: ", true); });
    if (!answer) return false;
    const bool is_in = lets_in(
        [&] {
          return libssh2().userauth_password_ex(it_.session.get(), target_.user.c_str(), static_cast<unsigned>(target_.user.size()), answer->c_str(),
                                                static_cast<unsigned>(answer->size()), nullptr);
        },
        "a password");
    if (is_in) return true;
  }
  return false;
}

inline bool libssh2_login::by_questions() {
  const auto respond = [](const char*, int, const char*, int, int count, const LIBSSH2_USERAUTH_KBDINT_PROMPT* prompts,
                          LIBSSH2_USERAUTH_KBDINT_RESPONSE* responses, void** abstract) {
    auto& self = *static_cast<libssh2_login*>(libssh2_guard::of(abstract).asker);
    for (int i = 0; i < count && !self.gave_up_; ++i) {
      std::optional<std::string> answer;
      try {
        answer = self.answered([&] { return self.target_.answers.question("(" + self.target_.user + "@" + self.target_.name + ") " + std::string(prompts[i].text, prompts[i].length), prompts[i].echo == 0); });
      } catch (...) {  // it goes through C: taken for no answer
      }
      self.gave_up_ = !answer;
      if (!answer) break;
      responses[i].text = static_cast<char*>(libssh2_guard::allocate(answer->size() + 1, abstract));  // libssh2 frees it
      if (responses[i].text == nullptr) continue;
      std::memcpy(responses[i].text, answer->c_str(), answer->size() + 1);
      responses[i].length = static_cast<unsigned>(answer->size());
    }
  };
  for (unsigned tries = 1; tries <= most_tries && !gave_up_; ++tries) {
    const bool is_in = lets_in(
        [&] {
          return libssh2().userauth_keyboard_interactive_ex(it_.session.get(), target_.user.c_str(), static_cast<unsigned>(target_.user.size()), respond);
        },
        "answers to its questions");
    if (is_in) return true;
  }
  return false;
}

}  // namespace rh::detail
