// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/os/libcrypto.hpp>

#include <libssh2.h>

#include <dlfcn.h>

#include <optional>

namespace rh::detail {

/// The functions of libssh2 that are used, by their names without "libssh2_". The library is loaded when it is first
/// needed: a program that is copied to a host runs there without it.
struct libssh2_api {
  /// Null where there is no libssh2. Any thread.
  [[gnu::visibility("default")]] static const libssh2_api* find() noexcept {
    static const std::optional<libssh2_api> loaded = load_all();
    return loaded ? &*loaded : nullptr;
  }

  decltype(&::libssh2_init) init = nullptr;
  decltype(&::libssh2_session_init_ex) session_init_ex = nullptr;
  decltype(&::libssh2_session_free) session_free = nullptr;
  void* (*session_callback_set)(LIBSSH2_SESSION*, int, void*) = nullptr;  // which later versions call deprecated
  decltype(&::libssh2_session_set_blocking) session_set_blocking = nullptr;
  decltype(&::libssh2_session_block_directions) session_block_directions = nullptr;
  decltype(&::libssh2_session_last_error) session_last_error = nullptr;
  decltype(&::libssh2_session_last_errno) session_last_errno = nullptr;
  decltype(&::libssh2_session_method_pref) session_method_pref = nullptr;
  decltype(&::libssh2_session_handshake) session_handshake = nullptr;
  decltype(&::libssh2_session_hostkey) session_hostkey = nullptr;
  decltype(&::libssh2_session_disconnect_ex) session_disconnect_ex = nullptr;
  decltype(&::libssh2_free) free = nullptr;
  decltype(&::libssh2_userauth_list) userauth_list = nullptr;
  decltype(&::libssh2_userauth_authenticated) userauth_authenticated = nullptr;
  decltype(&::libssh2_userauth_publickey_fromfile_ex) userauth_publickey_fromfile_ex = nullptr;
  decltype(&::libssh2_userauth_password_ex) userauth_password_ex = nullptr;
  decltype(&::libssh2_userauth_keyboard_interactive_ex) userauth_keyboard_interactive_ex = nullptr;
  decltype(&::libssh2_agent_init) agent_init = nullptr;
  decltype(&::libssh2_agent_free) agent_free = nullptr;
  decltype(&::libssh2_agent_connect) agent_connect = nullptr;
  decltype(&::libssh2_agent_disconnect) agent_disconnect = nullptr;
  decltype(&::libssh2_agent_set_identity_path) agent_set_identity_path = nullptr;
  decltype(&::libssh2_agent_list_identities) agent_list_identities = nullptr;
  decltype(&::libssh2_agent_get_identity) agent_get_identity = nullptr;
  decltype(&::libssh2_agent_userauth) agent_userauth = nullptr;
  decltype(&::libssh2_keepalive_config) keepalive_config = nullptr;
  decltype(&::libssh2_keepalive_send) keepalive_send = nullptr;
  decltype(&::libssh2_channel_open_ex) channel_open_ex = nullptr;
  decltype(&::libssh2_channel_direct_tcpip_ex) channel_direct_tcpip_ex = nullptr;
  decltype(&::libssh2_channel_setenv_ex) channel_setenv_ex = nullptr;
  decltype(&::libssh2_channel_process_startup) channel_process_startup = nullptr;
  decltype(&::libssh2_channel_write_ex) channel_write_ex = nullptr;
  decltype(&::libssh2_channel_read_ex) channel_read_ex = nullptr;
  decltype(&::libssh2_channel_send_eof) channel_send_eof = nullptr;
  decltype(&::libssh2_channel_eof) channel_eof = nullptr;
  decltype(&::libssh2_channel_close) channel_close = nullptr;
  decltype(&::libssh2_channel_free) channel_free = nullptr;
  decltype(&::libssh2_channel_get_exit_status) channel_get_exit_status = nullptr;
  decltype(&::libssh2_channel_get_exit_signal) channel_get_exit_signal = nullptr;

 private:
  static std::optional<libssh2_api> load_all() noexcept;
};

/// Precondition: libssh2_api::find() has found it.
inline const libssh2_api& libssh2() noexcept { return *libssh2_api::find(); }

// ---- implementation

inline std::optional<libssh2_api> libssh2_api::load_all() noexcept {
  void* const library = ::dlopen("libssh2.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return std::nullopt;
  libssh2_api api;
  bool has_all = true;
  const auto load = [&]<class F>(const char* name, F& function) {
    function = reinterpret_cast<F>(::dlsym(library, name));
    has_all = has_all && function != nullptr;
  };
  load("libssh2_init", api.init);
  load("libssh2_session_init_ex", api.session_init_ex);
  load("libssh2_session_free", api.session_free);
  load("libssh2_session_callback_set", api.session_callback_set);
  load("libssh2_session_set_blocking", api.session_set_blocking);
  load("libssh2_session_block_directions", api.session_block_directions);
  load("libssh2_session_last_error", api.session_last_error);
  load("libssh2_session_last_errno", api.session_last_errno);
  load("libssh2_session_method_pref", api.session_method_pref);
  load("libssh2_session_handshake", api.session_handshake);
  load("libssh2_session_hostkey", api.session_hostkey);
  load("libssh2_session_disconnect_ex", api.session_disconnect_ex);
  load("libssh2_free", api.free);
  load("libssh2_userauth_list", api.userauth_list);
  load("libssh2_userauth_authenticated", api.userauth_authenticated);
  load("libssh2_userauth_publickey_fromfile_ex", api.userauth_publickey_fromfile_ex);
  load("libssh2_userauth_password_ex", api.userauth_password_ex);
  load("libssh2_userauth_keyboard_interactive_ex", api.userauth_keyboard_interactive_ex);
  load("libssh2_agent_init", api.agent_init);
  load("libssh2_agent_free", api.agent_free);
  load("libssh2_agent_connect", api.agent_connect);
  load("libssh2_agent_disconnect", api.agent_disconnect);
  load("libssh2_agent_set_identity_path", api.agent_set_identity_path);
  load("libssh2_agent_list_identities", api.agent_list_identities);
  load("libssh2_agent_get_identity", api.agent_get_identity);
  load("libssh2_agent_userauth", api.agent_userauth);
  load("libssh2_keepalive_config", api.keepalive_config);
  load("libssh2_keepalive_send", api.keepalive_send);
  load("libssh2_channel_open_ex", api.channel_open_ex);
  load("libssh2_channel_direct_tcpip_ex", api.channel_direct_tcpip_ex);
  load("libssh2_channel_setenv_ex", api.channel_setenv_ex);
  load("libssh2_channel_process_startup", api.channel_process_startup);
  load("libssh2_channel_write_ex", api.channel_write_ex);
  load("libssh2_channel_read_ex", api.channel_read_ex);
  load("libssh2_channel_send_eof", api.channel_send_eof);
  load("libssh2_channel_eof", api.channel_eof);
  load("libssh2_channel_close", api.channel_close);
  load("libssh2_channel_free", api.channel_free);
  load("libssh2_channel_get_exit_status", api.channel_get_exit_status);
  load("libssh2_channel_get_exit_signal", api.channel_get_exit_signal);
  os::keep_libcrypto();
  if (!has_all || api.init(0) != 0) return std::nullopt;
  return api;
}

}  // namespace rh::detail
