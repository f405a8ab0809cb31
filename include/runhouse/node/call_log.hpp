// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/limits.hpp>
#include <runhouse/node/log_format.hpp>
#include <runhouse/node/log_sweep.hpp>
#include <runhouse/os/fd.hpp>
#include <runhouse/os/private_folder.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <fcntl.h>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace rh::detail {

class log_folder;

/// What one call prints, kept in a file that is made with its first line: see log_format.hpp. Nothing here fails the
/// call or throws: what cannot be written is counted, said in the log as soon as that is possible, and tried again
/// after limits::log_again. Not thread-safe: one strand for all logs of a folder. A process that may have a limit on
/// the size of files ignores SIGXFSZ.
class call_log {
 public:
  /// Keeps nothing.
  call_log() noexcept = default;
  call_log(call_log&&) noexcept = default;
  call_log& operator=(call_log&& other) noexcept {
    end();
    state_ = std::move(other.state_);
    return *this;
  }
  /// Ends it, if that has not been done.
  ~call_log() { end(); }

  /// One or more lines, with or without the last one's end.
  void write(std::string_view text, printed_on where, log_time now) noexcept;
  /// The call has ended: nothing more is written.
  void end(log_time now) noexcept;
  void end() noexcept {
    if (state_) end(state_->last);
  }

  /// The path of its first file; empty if there is none.
  std::string path() const;

 private:
  friend class log_folder;

  struct state;
  /// What the logs of one life of a node have in common.
  struct common {
    common(std::string path, std::string life_name, const log_bounds& b)
        : logs_path(std::move(path)), life(std::move(life_name)), bounds(b), sweep(b, life) {}

    const os::private_folder& folder();
    void failed(int reason, log_time now) {
      again = now + bounds.again;
      trouble = std::strerror(reason);
      if (reason == ENOENT || reason == ESTALE) own.reset(), logs.reset();  // somebody has removed them
    }
    bool is_waiting(log_time now) const noexcept { return now < again && again - now <= bounds.again; }

    std::string logs_path;
    std::string life;
    log_bounds bounds;
    log_sweep sweep;
    std::optional<os::private_folder> logs;
    std::optional<os::private_folder> own;
    std::list<state*> open;  // the least recently used last
    std::uint64_t unwritten = 0;
    std::string trouble;
    log_time again{};
  };
  struct state {
    std::shared_ptr<common> shared;
    std::uint64_t session = 0;
    std::uint64_t call_id = 0;
    std::string function;
    log_time begun{};
    log_time last{};

    std::string name;            // of the first file; empty until there is one
    bool has_title = false;
    unsigned segment = 0;        // 0: the first file; each one after that gets a name with .2, and then .1
    std::uint64_t size = 0;      // of the file that grows
    std::uint64_t head = 0;      // of the first file, once it is full
    std::uint64_t older = 0;     // of the one with .1
    std::uint64_t all = 0;       // bytes of all files, also of those that are gone
    std::uint64_t lost = 0;      // printed, and not yet said to be missing
    os::unique_fd fd;
    std::list<state*>::iterator at{};

    std::string current() const { return segment == 0 ? name : name + ".2"; }
    void add(std::string_view lines, std::uint64_t printed, log_time now);
    bool open_current(log_time now);
    bool append(std::string_view text, log_time now, int& reason);
    void next_segment();
    void close() noexcept;
    std::string note(log_time now, const std::string& text) const { return log_stamp(now) + " log " + text + "\n"; }
  };
  explicit call_log(std::unique_ptr<state> s) noexcept : state_(std::move(s)) {}

  std::unique_ptr<state> state_;
};

// ---- implementation

inline const os::private_folder& call_log::common::folder() {
  if (!own) {
    if (!logs) {
      const std::size_t slash = logs_path.rfind('/');
      if (slash != std::string::npos && slash > 0) os::private_folder::open(logs_path.substr(0, slash));
      logs = os::private_folder::open(logs_path);
    }
    own = logs->folder(life);
  }
  return *own;
}

inline std::string call_log::path() const {
  if (!state_ || state_->name.empty()) return "";
  return state_->shared->logs_path + "/" + state_->shared->life + "/" + state_->name;
}

inline void call_log::write(std::string_view text, printed_on where, log_time now) noexcept {
  if (!state_) return;
  state& s = *state_;
  std::uint64_t left = text.size();
  try {
    s.last = now;
    const std::size_t most = std::min<std::size_t>(limits::output_line_bytes, s.shared->bounds.segment_bytes / 2);
    const std::string prefix = log_stamp(now) + (where == printed_on::out ? " out " : " err ");
    std::string lines;
    std::uint64_t printed = 0;
    do {
      std::size_t length = std::min(text.find('\n'), text.size());
      const bool is_part = length > most;
      length = std::min(length, most);
      lines.append(prefix).append(text.substr(0, length)).push_back('\n');
      if (!is_part) length += length < text.size();
      printed += length;
      text.remove_prefix(length);
      if (lines.size() >= most || text.empty()) {
        left -= printed;
        s.add(lines, printed, now);
        lines.clear();
        printed = 0;
      }
    } while (!text.empty());
  } catch (const std::exception&) {
    s.lost += left;
    s.shared->unwritten += left;
  }
}

inline void call_log::state::add(std::string_view lines, std::uint64_t printed, log_time now) {
  const auto lose = [&] {
    lost += printed;
    shared->unwritten += printed;
  };
  if (shared->is_waiting(now)) return lose();
  const std::uint64_t most = segment == 0 ? shared->bounds.head_bytes : shared->bounds.segment_bytes;
  if (size > 0 && size + lines.size() > most) next_segment();
  if (!open_current(now)) return lose();

  std::string text;
  if (segment == 0 && (size == 0 || !has_title)) {
    text = note(begun, "call " + std::to_string(call_id) + " of session " + std::to_string(session) + ": " + function);
  } else if (size == 0) {
    text = note(now, "from byte " + std::to_string(all));
  }
  if (lost > 0) text += note(now, std::to_string(lost) + " bytes could not be written: " + shared->trouble);
  text += lines;
  int reason = 0;
  if (append(text, now, reason)) {
    lost = 0;
    has_title = true;
    shared->trouble.clear();
  } else {
    const bool is_first = lost == 0;
    lose();
    // What is left of the file's last block may have room for this much.
    int ignored = 0;
    if (is_first && size > 0)
      append(note(now, std::string("cannot write here: ") + std::strerror(reason)), now, ignored);
    shared->failed(reason, now);
    close();
  }
  if (shared->sweep.is_over() && shared->logs) shared->sweep.step(*shared->logs, now);
}

inline bool call_log::state::open_current(log_time now) {
  if (fd) {
    shared->open.splice(shared->open.begin(), shared->open, at);
    return true;
  }
  try {
    if (name.empty()) name = log_file_name(session, call_id, function);
    const bool is_new = size == 0 && segment > 0;
    fd = shared->folder().try_open_file(current(), O_WRONLY | O_CREAT | O_APPEND | (is_new ? O_TRUNC : 0));
  } catch (const error& e) {
    shared->failed(ENOENT, now);
    shared->trouble = e.what();
    return false;
  }
  struct stat facts {};
  if (!fd || ::fstat(fd.get(), &facts) != 0 || !S_ISREG(facts.st_mode)) {
    shared->failed(fd ? EINVAL : errno, now);
    fd.reset();
    return false;
  }
  const auto there = static_cast<std::uint64_t>(facts.st_size);
  if (there < size) size = there;  // somebody has removed it
  if (segment == 0 && !has_title) all = size = there;  // of an earlier attempt at this call
  shared->open.push_front(this);
  at = shared->open.begin();
  if (shared->open.size() > shared->bounds.open_files) shared->open.back()->close();
  return true;
}

inline void call_log::state::close() noexcept {
  if (!fd) return;
  fd.reset();
  shared->open.erase(at);
}

/// All of it or, as far as that can be had, nothing.
inline bool call_log::state::append(std::string_view text, log_time, int& reason) {
  std::size_t done = 0;
  while (done < text.size()) {
    const ssize_t n = ::write(fd.get(), text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      reason = n < 0 ? errno : EIO;
      if (done > 0 && ::ftruncate(fd.get(), static_cast<off_t>(size)) != 0) {
        shared->sweep.grew(disk_bytes(size + done) - disk_bytes(size));
        size += done;
        all += done;
      }
      return false;
    }
    done += static_cast<std::size_t>(n);
  }
  shared->sweep.grew(disk_bytes(size + done) - disk_bytes(size));
  size += done;
  all += done;
  return true;
}

inline void call_log::state::next_segment() {
  close();
  if (segment == 0) {
    head = size;
  } else {
    // In place of the older one, which is gone with that.
    try {
      shared->folder().rename_file(name + ".2", name + ".1");
    } catch (const error&) {
    }
    shared->sweep.gone(disk_bytes(older));
    older = size;
  }
  ++segment;
  size = 0;
}

inline void call_log::end(log_time now) noexcept {
  if (!state_) return;
  const std::unique_ptr<state> s = std::move(state_);
  if (s->name.empty()) return;
  try {
    int ignored = 0;
    std::string text;
    if (s->lost > 0)
      text = s->note(now, std::to_string(s->lost) + " bytes could not be written: " + s->shared->trouble);
    if (s->size == 0 && s->segment > 0) text.insert(0, s->note(now, "from byte " + std::to_string(s->all)));
    text += s->note(now, "ended");
    if ((s->size > 0 || s->segment > 0) && s->open_current(now)) s->append(text, now, ignored);
    s->close();
    const std::uint64_t kept = s->segment == 0 ? s->size : s->head + s->older + s->size;
    if (kept < s->all) {
      text = s->note(now, std::to_string(s->all - kept) + " bytes are missing here; go on with " + s->name + ".1 and " +
                              s->name + ".2");
      const os::unique_fd head = s->shared->folder().try_open_file(s->name, O_WRONLY | O_APPEND);
      if (head && ::write(head.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size())) {
        s->shared->sweep.grew(disk_bytes(s->head + text.size()) - disk_bytes(s->head));
        s->head += text.size();
      }
    }
    s->shared->sweep.ended(s->name, disk_bytes(s->segment == 0 ? s->size : s->head), now);
    if (s->segment > 1) s->shared->sweep.ended(s->name + ".1", disk_bytes(s->older), now);
    if (s->segment > 0) s->shared->sweep.ended(s->name + ".2", disk_bytes(s->size), now);
  } catch (const std::exception&) {
    s->close();
  }
}

}  // namespace rh::detail
