// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/core/limits.hpp>
#include <runhouse/host/bootstrap_script.hpp>
#include <runhouse/host/content_chunks.hpp>
#include <runhouse/host/program_image.hpp>
#include <runhouse/host/shipping_plan.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rh::detail {

/// Bounds of the conversation.
struct bootstrap_limits {
  /// To the script's first line: start-up files of a shell may take long.
  static constexpr std::chrono::seconds first_line{60};
  /// To each line after that, and to the next byte of an upload, which has no deadline of its own.
  static constexpr std::chrono::seconds answer{60};
  /// From the last byte that the far side has got to a whole program: it copies, hashes and syncs.
  static constexpr std::chrono::minutes assembly{15};
  /// From starting the program there to its node's being there.
  static constexpr std::chrono::seconds start = 2 * limits::node_start + limits::connect;
  /// What shells may print that is none of our lines, and the longest of those.
  static constexpr std::size_t noise_bytes = 1024 * 1024;
  static constexpr std::size_t line_bytes = 8 * 1024;
  /// No more manifests of other programs are asked for once so little is left to send, or they are as long as a part of it.
  static constexpr std::uint64_t worth_sending = 256 * 1024;
  static constexpr std::uint64_t manifests_share = 8;
};

/// The machine that was reached.
struct far_host {
  std::string machine;  ///< as `uname -m` says: "x86_64"
  std::string name;     ///< as `uname -n` says
  std::string folder;   ///< where programs are put there
};

/// How far it came; also where it throws.
struct bootstrap_state {
  bool had_begun = false;      ///< the host's /bin/sh has answered in this try
  std::uint64_t uploaded = 0;  ///< bytes to be sent that the host has said it has, of the last upload
};

struct bootstrap_options {
  std::string folder;         ///< on the host, instead of ~/.runhouse
  std::string expected_host;  ///< its name; empty: any
  bool resumes = false;       ///< the program must be there already
  std::chrono::seconds first_line = bootstrap_limits::first_line;  ///< to the script's first line
  bool ends_node = false;     ///< the program is to end the node there, instead of reaching it
  std::vector<std::byte> said;  ///< what the program says first to the node, which the bridge says for it
  std::function<void(std::uint64_t done, std::uint64_t of)> progress;  ///< of an upload, in bytes
  /// The same program with the system's libraries, for a host that has not what it needs; null where there is none.
  std::function<const program_image*()> whole = [] { return nullptr; };
  bootstrap_state state;
};

struct bootstrapped {
  far_host host;
  std::vector<std::byte> rest;      ///< what came behind the line that says that it is done: a session's bytes
  std::uint64_t shipped_bytes = 0;  ///< sent by this call
  std::uint64_t program_bytes = 0;  ///< all of the program
};

/// Bytes to and from /bin/sh on a host. Both directions throw rh::error, errc::connection_lost, when it has closed; what
/// came before is read first.
class far_channel {
 public:
  using time_point = std::chrono::steady_clock::time_point;

  virtual ~far_channel() = default;
  /// Reads at least a byte; at a deadline that has passed, what is there. Throws errc::timed_out.
  virtual std::size_t read(std::span<std::byte> into, time_point deadline) = 0;
  /// Writes what it takes now, which may be nothing.
  virtual std::size_t write_some(std::span<const std::byte> from) = 0;
  /// Waits until it can be read from or written to, as asked; false at the deadline.
  virtual bool wait(bool for_reading, bool for_writing, time_point deadline) = 0;
};

/// Names what one process ships, in all its tries, so that a later one goes on where an earlier one broke off.
inline std::string new_shipping_token();

/// Has a program started on a host, by /bin/sh there, which reads the channel: copied there first where it is not there,
/// as little of it as is needed, going on where an earlier try with the same token broke off. Blocks, each wait with a
/// deadline. Returns when the program there has handed the connection to its node, or has ended that.
///
/// Errors:
///   errc::connection_lost    the channel closed: try again with the same token, as with
///   errc::timed_out          the host does not answer
///   errc::incompatible_host  the program cannot run there: the message says what is missing, and what to do
///   errc::shipping_failed    it cannot be put there: the message names the folder, and what to do
///   errc::node_elsewhere     it is another host than the expected one
///   errc::node_lost          it was to be there already, and is not
///   errc::node_not_started   it started there, and could not reach or start its node; or the errc that it says itself
inline bootstrapped bootstrap(far_channel& far, const program_image& image, bootstrap_options& options,
                              const std::string& token);

// ---- implementation

namespace bootstrap_detail {

using clock = std::chrono::steady_clock;

inline std::string random_digits() {
  std::random_device random;
  wire::hash256 bytes{};
  for (std::byte& b : bytes) b = static_cast<std::byte>(random());
  return hex_text(bytes).substr(0, 32);
}

/// Text of a host, fit for a terminal.
inline std::string printable(std::string_view text) {
  std::string shown;
  for (std::size_t i = 0; i < text.size() && shown.size() < 2000; ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    const bool is_c1 = c >= 0x80 && c < 0xa0 && i > 0 && static_cast<unsigned char>(text[i - 1]) == 0xc2;
    shown += c < 0x20 || c == 0x7f || is_c1 ? ' ' : text[i];
  }
  while (!shown.empty() && shown.back() == ' ') shown.pop_back();
  return shown;
}

/// The next word, which is taken off.
inline std::string_view take_word(std::string_view& text) noexcept {
  const std::size_t end = std::min(text.find(' '), text.size());
  const std::string_view word = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return word;
}

struct far_line {
  std::string word;
  std::string rest;
};

/// The lines that begin with our marker, out of all that a host says.
class far_lines {
 public:
  far_lines(far_channel& far, const std::string& marker) : far_(far), begin_(marker + ' ') {}

  /// Waits for one. `awaited` goes on "the host did not ... within".
  far_line next(std::chrono::seconds longest, const std::string& awaited);
  /// One that has come, if any.
  std::optional<far_line> ready();
  /// Reads what has come; false if nothing has.
  bool read_ready();
  /// Bytes that follow the last line.
  std::string take(std::size_t size, std::chrono::seconds longest);
  std::vector<std::byte> rest() const {
    const auto bytes = std::as_bytes(std::span(text_));
    return {bytes.begin(), bytes.end()};
  }
  /// The end of what was none of our lines.
  const std::string& noise() const noexcept { return noise_; }

 private:
  void skip(std::size_t size);
  void read(clock::time_point deadline);

  far_channel& far_;
  const std::string begin_;
  std::string text_;  // not looked at, or of a line that is not whole
  std::string noise_;
  std::size_t skipped_ = 0;
};

inline void far_lines::skip(std::size_t size) {
  constexpr std::size_t kept = 400;
  noise_.append(text_, 0, size);
  if (noise_.size() > kept) noise_.erase(0, noise_.size() - kept);
  text_.erase(0, size);
  skipped_ += size;
  if (skipped_ > bootstrap_limits::noise_bytes) {
    fail(errc::connection_lost, "the host says over " + std::to_string(bootstrap_limits::noise_bytes) +
                                    " bytes that are not for this program; its shell's start-up files must print less");
  }
}

inline std::optional<far_line> far_lines::ready() {
  const std::size_t at = text_.find(begin_);
  if (at == text_.npos) {
    if (text_.size() >= begin_.size()) skip(text_.size() - begin_.size() + 1);
    return std::nullopt;
  }
  if (at > 0) skip(at);
  const std::size_t end = text_.find('\n');
  if (std::min(end, text_.size()) > bootstrap_limits::line_bytes)
    fail(errc::connection_lost, "the host says a line that is too long");
  if (end == text_.npos) return std::nullopt;
  std::string_view line = std::string_view(text_).substr(begin_.size(), end - begin_.size());
  if (line.ends_with('\r')) line.remove_suffix(1);  // of a terminal
  const std::string word(take_word(line));
  far_line found{word, std::string(line)};
  text_.erase(0, end + 1);
  return found;
}

inline void far_lines::read(clock::time_point deadline) {
  std::array<std::byte, 16384> block;
  const std::size_t n = far_.read(block, deadline);
  text_.append(reinterpret_cast<const char*>(block.data()), n);
}

inline bool far_lines::read_ready() {
  try {
    read(clock::now());
  } catch (const error& e) {
    if (e.kind() != errc::timed_out) throw;
    return false;
  }
  return true;
}

inline far_line far_lines::next(std::chrono::seconds longest, const std::string& awaited) {
  const auto deadline = clock::now() + longest;
  try {
    for (;;) {
      if (auto line = ready()) return *std::move(line);
      read(deadline);
    }
  } catch (const error& e) {
    const std::string said = printable(noise_ + text_);
    const std::string quoted = said.empty() ? "" : "; it said: " + said;
    if (e.kind() == errc::timed_out)
      fail(errc::timed_out, "the host did not " + awaited + " within " + std::to_string(longest.count()) + " s" + quoted);
    if (e.kind() == errc::connection_lost) fail(errc::connection_lost, e.what() + quoted);
    throw;
  }
}

inline std::string far_lines::take(std::size_t size, std::chrono::seconds longest) {
  const auto deadline = clock::now() + longest;
  while (text_.size() < size) read(deadline);
  std::string taken = text_.substr(0, size);
  text_.erase(0, size);
  return taken;
}

/// Whether the loader had the file of a library, and the machine could not give it what it needs.
inline bool is_short_of_something(std::string_view said) {
  return std::ranges::any_of(std::array{"failed to map segment", "Cannot allocate memory", "Too many open files", "Stale file handle", "Input/output error"},
                             [&](std::string_view text) { return said.find(text) != said.npos; });
}

/// Whether a program that ended so lacks what a whole image would bring.
inline bool lacks_libraries(unsigned code, std::string_view said) {
  const auto says = [&](std::string_view text) { return said.find(text) != said.npos; };
  if (is_short_of_something(said)) return false;
  return code == 127 || says("version `") || says("symbol lookup error") || says("error while loading shared libraries");
}

/// What is wrong where a program ended before it could say so; throws.
[[noreturn]] inline void fail_broken(const far_host& host, unsigned code, const std::string& said) {
  const auto says = [&](std::string_view text) { return said.find(text) != said.npos; };
  const auto between = [&](std::string_view before, char after) {
    const std::size_t at = said.find(before);
    if (at == said.npos) return std::string();
    const std::size_t begin = at + before.size();
    return said.substr(begin, said.find(after, begin) - begin);
  };
  const std::string cannot = "this program cannot run on " + host.name + ": ";
  const std::string quoted = said.empty() ? "" : " (it said: " + said + ")";
  if (const std::string version = between("version `", '\''); !version.empty()) {
    const bool is_cpp = version.starts_with("GLIBCXX") || version.starts_with("CXXABI");
    fail(errc::incompatible_host, cannot + "the system there is older than where it was built, and has no " + version + "; build it on an older system" +
                                      (is_cpp ? ", or link it with -static-libstdc++ -static-libgcc" : " or in a container of one") + quoted);
  }
  if (says("CPU ISA level") || code == 128 + 4) {
    fail(errc::incompatible_host, cannot + "the processor there lacks instructions that it uses; compile without -march=native, for example with "
                                           "-march=x86-64-v2" + quoted);
  }
  if (is_short_of_something(said)) {
    fail(errc::node_not_started, "this program could not be started on " + host.name + ", as its libraries could not be loaded" + quoted + "; look at that machine, and connect again");
  }
  if (const std::string library = between("error while loading shared libraries: ", ':'); !library.empty()) {
    fail(errc::incompatible_host, cannot + "the library " + library + " is not there, or is not one for it; install it there, or link it statically" + quoted);
  }
  if (says("symbol lookup error")) {
    fail(errc::incompatible_host, cannot + "a library there is of another version than where it was built; install the same, or link it statically" + quoted);
  }
  if (code == 126 && says("ermission denied")) {
    fail(errc::shipping_failed, "this program cannot run in " + printable(host.folder) + " on " + host.name +
                                    ", where programs may not run (noexec); set RUNHOUSE_REMOTE_FOLDER to a folder on that host where they may");
  }
  if (code == 126) fail(errc::incompatible_host, cannot + "the system there does not know its format" + quoted);
  if (code == 127) {
    fail(errc::incompatible_host, cannot + "its loader is not there: the system has no glibc of this architecture, as Alpine has none; link it with "
                                           "-static, or use another system" + quoted);
  }
  fail(errc::node_not_started, "this program ended on " + host.name + " before it had reached the node there, " +
                                   (code > 128 && code < 128 + 65 ? "by signal " + std::to_string(code - 128) : "with code " + std::to_string(code)) +
                                   quoted + "; its libraries' own start-up code may be the reason");
}

/// Why a script failed; throws.
[[noreturn]] inline void fail_shipping(const far_host& host, std::string_view what, const std::string& said) {
  if (what == "other-host") {
    fail(errc::node_elsewhere, "the host is " + said + " now, not the one whose node has this session; connect to that one by its own name");
  }
  if (what == "no-program") {
    fail(errc::node_lost, "this program is no longer on " + host.name + ", where " + said + " should be; connect anew");
  }
  const std::string cannot = "this program cannot be copied to " + host.name + ": ";
  if (what == "no-tool") fail(errc::shipping_failed, cannot + "there is no '" + said + "' in PATH there; install it");
  if (what == "no-space") {
    fail(errc::shipping_failed, cannot + said + "; make room there, or set RUNHOUSE_REMOTE_FOLDER to a folder on that host that has room");
  }
  if (what == "no-exec") {
    fail(errc::shipping_failed, cannot + "programs may not run there (" + said + "); set RUNHOUSE_REMOTE_FOLDER to a folder on that host where they may");
  }
  fail(errc::shipping_failed, cannot + said + "; set RUNHOUSE_REMOTE_FOLDER to a folder on that host where this user may write");
}

/// The enumerator of that name.
inline errc errc_named(std::string_view name) noexcept {
  for (int i = 1; i < 256; ++i) {
    if (name_of(static_cast<errc>(i)) == name && name != "unknown") return static_cast<errc>(i);
  }
  return errc::node_not_started;
}

/// One conversation.
class talk {
 public:
  talk(far_channel& far, const program_image& image, bootstrap_options& options, const std::string& token)
      : far_(far), image_(&image), options_(options), token_(token), marker_("runhouse-" + random_digits()), lines_(far, marker_) {}

  bootstrapped run();

 private:
  bool has_started();
  void send(std::string_view text);
  void ship(std::string_view ids);
  std::optional<host_program> ask_for_manifest(std::string_view id);
  /// False where the far side has made something else of it.
  bool carry_out(const shipping_plan& plan, const std::string& manifest);
  void send_literals(const shipping_plan& plan, std::uint64_t have);
  /// In the middle of an upload.
  void heed_ready_lines();
  void heed(const far_line& line);
  [[noreturn]] void fail_as_said(const far_line& line);
  [[noreturn]] void fail_not_allowed(const far_line& line);

  far_channel& far_;
  const program_image* image_;
  bootstrap_options& options_;
  const std::string& token_;
  const std::string marker_;
  far_lines lines_;
  bool is_whole_ = false;  // that was tried
  bootstrapped made_;
  clock::time_point got_on_;  // when an upload last did
};

inline void talk::fail_as_said(const far_line& line) {
  std::string_view rest = line.rest;
  const std::string_view what = take_word(rest);
  fail_shipping(made_.host, what, printable(rest));
}

inline void talk::fail_not_allowed(const far_line& line) {
  fail(errc::connection_lost, "the host says '" + printable(line.word) + "', which is not expected there");
}

/// What it says meanwhile is kept: it may say why it stops to read.
inline void talk::send(std::string_view text) {
  auto rest = std::as_bytes(std::span(text));
  auto deadline = clock::now() + bootstrap_limits::answer;
  while (!rest.empty()) {
    std::size_t n = 0;
    try {
      n = far_.write_some(rest);
    } catch (const error& e) {
      if (e.kind() != errc::connection_lost) throw;
      return;  // what it has said before is still to be read, and ends with the same
    }
    rest = rest.subspan(n);
    if (n > 0) {
      deadline = clock::now() + bootstrap_limits::answer;
      continue;
    }
    if (!far_.wait(true, true, deadline)) fail(errc::timed_out, "the host takes nothing");
    // Noise is bounded, by the lines; so this does not go on for ever.
    lines_.read_ready();
    if (const auto line = lines_.ready()) heed(*line);
  }
}

/// A line during an upload.
inline void talk::heed(const far_line& line) {
  if (line.word == "failed") fail_as_said(line);
  if (line.word != "got") fail_not_allowed(line);
  const auto bytes = number_from(line.rest, image_->size());
  if (!bytes) fail_not_allowed(line);
  if (*bytes > options_.state.uploaded) {
    options_.state.uploaded = *bytes;
    got_on_ = clock::now();
  }
}

inline void talk::heed_ready_lines() {
  while (lines_.read_ready()) {
  }
  while (const auto line = lines_.ready()) heed(*line);
}

inline void talk::send_literals(const shipping_plan& plan, std::uint64_t have) {
  constexpr std::size_t piece_bytes = 256 * 1024;
  constexpr std::uint64_t bytes_per_look = 1024 * 1024;
  std::uint64_t done = have;
  std::uint64_t skipped = have;
  std::uint64_t looked = done;
  got_on_ = clock::now();
  const auto report = [&] {
    if (options_.progress) options_.progress(done, plan.literal_bytes);
  };
  try {
    for (const shipping_plan::range& range : plan.literals) {
      const std::uint64_t skips = std::min(skipped, range.size);
      skipped -= skips;
      for (std::uint64_t at = range.offset + skips; at < range.offset + range.size;) {
        const auto most = static_cast<std::size_t>(std::min<std::uint64_t>(piece_bytes, range.offset + range.size - at));
        const std::size_t n = far_.write_some(image_->bytes(at, most));
        at += n;
        done += n;
        made_.shipped_bytes += n;
        if (n > 0) {
          got_on_ = clock::now();
          report();
        }
        if (n == 0 && !far_.wait(true, true, got_on_ + bootstrap_limits::answer))
          fail(errc::timed_out, "the host takes no more of the program");
        if (n == 0 || done - looked >= bytes_per_look) {
          looked = done;
          heed_ready_lines();
        }
      }
    }
  } catch (const error& e) {
    if (e.kind() != errc::connection_lost) throw;
    try {
      heed_ready_lines();  // it may have said why
    } catch (const error& why) {
      if (why.kind() != errc::connection_lost) throw;
    }
    while (const auto line = lines_.ready()) heed(*line);
    throw;
  }
}

inline bool talk::carry_out(const shipping_plan& plan, const std::string& manifest) {
  const std::string sent = plan.text + manifest;
  send("plan " + std::to_string(sent.size()) + ' ' + std::to_string(plan.literal_bytes) + ' ' + token_ + ' ' +
       std::to_string(plan.disk_bytes) + '\n' + sent);
  far_line line = lines_.next(bootstrap_limits::answer, "prepare for the program");
  if (line.word == "failed") fail_as_said(line);
  const auto have = number_from(line.rest, plan.literal_bytes);
  if (line.word != "have" || !have) fail_not_allowed(line);
  options_.state.uploaded = std::max(options_.state.uploaded, *have);
  send_literals(plan, *have);
  for (;;) {
    line = lines_.next(bootstrap_limits::answer, "put the program together");
    if (line.word == "shipped") return true;
    if (line.word == "mismatch") return false;
    heed(line);
    if (clock::now() > got_on_ + bootstrap_limits::assembly)
      fail(errc::timed_out, "the host did not put the program together in time");
  }
}

/// Nothing where it is none of a program that can be copied from.
inline std::optional<host_program> talk::ask_for_manifest(std::string_view id) {
  send("manifest " + std::string(id) + '\n');
  const far_line line = lines_.next(bootstrap_limits::answer, "send what another program is made of");
  if (line.word == "failed") fail_as_said(line);
  const auto size = number_from(line.rest, manifest_bytes);
  if (line.word != "manifest" || !size) fail_not_allowed(line);
  auto manifest = manifest_from(lines_.take(static_cast<std::size_t>(*size), bootstrap_limits::answer));
  if (!manifest) return std::nullopt;
  return host_program{std::string(id), *std::move(manifest)};
}

inline void talk::ship(std::string_view ids) {
  const content_manifest ours = manifest_of(*image_);
  const std::string manifest = text_of(ours);
  if (manifest.size() > manifest_bytes) {
    fail(errc::shipping_failed, "this program cannot be copied: it is larger than 14 GB; keep its data in files of their own");
  }
  std::vector<host_program> theirs;
  shipping_plan plan = plan_shipping(ours, {});
  std::uint64_t asked = 0;
  for (unsigned i = 0; i < 16 && !ids.empty(); ++i) {
    const std::string_view id = take_word(ids);
    if (!hash_from(id)) continue;
    if (plan.literal_bytes < bootstrap_limits::worth_sending || asked > plan.literal_bytes / bootstrap_limits::manifests_share) break;
    auto program = ask_for_manifest(id);
    if (!program) continue;
    asked += text_of(program->manifest).size();
    theirs.push_back(*std::move(program));
    plan = plan_shipping(ours, theirs);
  }
  if (carry_out(plan, manifest)) return;
  // What is there, or came before, is not what it should be; so all of it, from here.
  options_.state.uploaded = 0;
  if (carry_out(plan_shipping(ours, {}), manifest)) return;
  fail(errc::shipping_failed, "this program cannot be copied to " + made_.host.name + ": what arrives in " + printable(made_.host.folder) +
                                  " is not what was sent; look at the disk there, or set RUNHOUSE_REMOTE_FOLDER to a folder on another one");
}

inline bootstrapped talk::run() {
  options_.state.had_begun = false;
  script_options script;
  script.marker = marker_;
  script.id = image_->id();
  script.machine = image_->machine();
  script.folder = options_.folder;
  script.expected_host = options_.expected_host;
  script.is_to_be_there = options_.resumes;
  script.ends_node = options_.ends_node;
  script.said = hex_text(options_.said);
  send(bootstrap_script(script));

  const far_line line = lines_.next(options_.first_line, "run /bin/sh");
  if (line.word != "host") fail_not_allowed(line);
  options_.state.had_begun = true;
  std::string_view rest = line.rest;
  made_.host.machine = printable(take_word(rest));
  made_.host.name = printable(take_word(rest));
  made_.host.folder = printable(rest);
  if (!image_->machine().empty() && made_.host.machine != image_->machine()) {
    fail(errc::incompatible_host, "this program runs on " + image_->machine() + ", and " + made_.host.name + " is " + made_.host.machine +
                                      "; build it there, or with a compiler for it, and connect from that build");
  }
  if (!has_started()) {
    options_.state.uploaded = 0;
    send("use " + image_->id() + '\n');
    has_started();
  }
  made_.program_bytes = image_->size();
  made_.rest = lines_.rest();
  return std::move(made_);
}

/// False where the host needs the whole image, which is then the one to start.
inline bool talk::has_started() {
  const program_image* const plain = image_;
  std::string why_not_whole;
  const auto may_be_whole = [&] {
    try {
      if (!is_whole_) image_ = options_.whole();
    } catch (const std::exception& e) {
      image_ = nullptr;
      why_not_whole = std::string("; the libraries of this system cannot go along: ") + e.what();
    }
    is_whole_ = true;
    if (image_ == nullptr) image_ = plain;
    return image_ != plain;
  };
  far_line line = lines_.next(bootstrap_limits::answer, "look for the program");
  if (line.word == "whole") {
    if (may_be_whole()) return false;
    fail(errc::incompatible_host, "this program runs on " + made_.host.name + " only with the libraries of this system, as it did before" + why_not_whole);
  }
  if (line.word == "missing") {
    ship(line.rest);
    line = lines_.next(bootstrap_limits::answer, "start the program");
  }
  if (line.word == "failed") fail_as_said(line);
  if (line.word != "ready") fail_not_allowed(line);

  line = lines_.next(bootstrap_limits::start, "reach its node");
  if (line.word == (options_.ends_node ? "ended" : "bridged")) return true;
  std::string_view rest = line.rest;
  const std::string_view code = take_word(rest);
  if (line.word == "failed") {
    fail(errc_named(code), "the node of " + made_.host.name + " could not be reached: " + printable(rest));
  }
  if (line.word != "broken") fail_not_allowed(line);
  const auto number = static_cast<unsigned>(number_from(code, 255).value_or(0));
  if (lacks_libraries(number, rest) && may_be_whole()) return false;
  fail_broken(made_.host, number, printable(rest) + why_not_whole);
}

}  // namespace bootstrap_detail

inline std::string new_shipping_token() {
  return bootstrap_detail::random_digits();
}

inline bootstrapped bootstrap(far_channel& far, const program_image& image, bootstrap_options& options,
                              const std::string& token) {
  return bootstrap_detail::talk(far, image, options, token).run();
}

}  // namespace rh::detail
