// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fcntl.h>
#include <stdexcept>
#include <string>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/// What a program under faults, its workers and the driver write into two files that all of them have mapped, so that
/// it survives whatever ends one of them: `journal`, what the functions did, and `history`, what their caller saw. Both
/// have a slot for each call, at the place of its token. journal.py has the same layout.
namespace rh::test::faults {

/// What kinds of calls there are; the checker prints these names.
enum class kind : std::uint8_t {
  none,  ///< no call has this token
  plain,
  nap,
  chain,
  failed_chain,
  map,
  map_as_completed,
  starmap,
  enqueue,
  generator,
  cancel,
  timeout,
  retry,
  repeat,
  throws,
  throws_odd,
  coroutine,
  detached,
  big,
  put,
};

/// What its caller saw of a call.
enum class seen : std::uint8_t {
  nothing,  ///< not yet
  right,  ///< the value that it had to give, or that what was made of it was right
  wrong,  ///< another value
  error,  ///< an rh::error that is none of the function's
  thrown,  ///< the exception that it had to throw, or that one before it in its chain had to
  thrown_wrong,  ///< another exception
  unobserved,  ///< nobody takes what it gives
};

/// What a call is, besides its kind.
namespace flag {
inline constexpr std::uint8_t given_up = 1;  ///< its caller cancelled it, or let a time run out
inline constexpr std::uint8_t survives = 2;  ///< it is to run to its end although nobody takes what it gives
}  // namespace flag

/// What the driver asks of the next function that begins: that it ends its worker from inside.
enum class order : std::uint64_t { none, exit, quick_exit, abort, segfault, kill, close_descriptors };

/// How far the program is.
enum class phase : std::uint64_t { starting, calling, draining, done };

/// The first page of the journal.
struct journal_head {
  static constexpr std::uint64_t magic_value = 0x314c4e524a544c46;  // "FLTJRNL1"

  std::uint64_t magic;
  std::uint64_t slots;
  std::uint64_t seed;
  std::atomic<std::uint64_t> sequence;  ///< of everything that functions did, from 1
  std::atomic<rh::test::faults::order> order;
  std::atomic<std::uint64_t> is_stopping;  ///< the driver's: no more calls
  std::atomic<std::uint64_t> made;  ///< calls, and so the next token
  std::atomic<std::uint64_t> ended;  ///< outcomes that were written
  std::atomic<rh::test::faults::phase> phase;
  // Of the program when all its workers are there and idle, before and after all calls.
  std::uint64_t descriptors[2];
  std::uint64_t memory_bytes[2];  ///< anonymous and resident
  std::uint64_t worker_descriptors[2];  ///< of the worker with most
  // cluster.usage() at the end.
  std::uint64_t unfinished_calls;
  std::uint64_t values;
  std::uint64_t value_bytes;
  std::uint64_t drain_milliseconds;  ///< how long it took to become that
};
static_assert(sizeof(journal_head) <= 4096);

struct journal_slot {
  std::atomic<std::uint32_t> begun;
  std::atomic<std::uint32_t> ended;
  std::atomic<std::uint64_t> began_at;  ///< the sequence number of the last time
  std::atomic<std::uint64_t> ended_at;
  std::atomic<std::uint64_t> pid;  ///< of the last time
};
static_assert(sizeof(journal_slot) == 32);

struct history_slot {
  /// From the low byte: kind, seen, stage + 1, errc, how many outcomes, most times that it may begin, times that it has
  /// begun and ended where its value is right, flags. One word, so that it is never half there.
  std::atomic<std::uint64_t> entry;
  std::uint32_t queue;  ///< from 1; 0: not enqueued
  std::uint32_t operation;  ///< what the call is part of, from 0 for each program
};
static_assert(sizeof(history_slot) == 16);

/// A whole file, mapped for as long as the process lives. Errors: std::runtime_error.
inline std::byte* map_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  struct stat about {};
  if (fd < 0 || ::fstat(fd, &about) != 0) throw std::runtime_error("cannot open " + path);
  void* const at = ::mmap(nullptr, static_cast<std::size_t>(about.st_size), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  if (at == MAP_FAILED) throw std::runtime_error("cannot map " + path);
  return static_cast<std::byte*>(at);
}

/// The journal, mapped.
class journal {
 public:
  explicit journal(const std::string& path) : at_(map_file(path)) {
    if (head().magic != journal_head::magic_value) throw std::runtime_error(path + " is no journal");
  }
  journal_head& head() const noexcept { return *reinterpret_cast<journal_head*>(at_); }
  journal_slot& slot(std::uint64_t token) const {
    if (token >= head().slots) throw std::runtime_error("no slot for call " + std::to_string(token));
    return reinterpret_cast<journal_slot*>(at_ + 4096)[token];
  }

  /// That which the variable FAULT_JOURNAL names.
  static journal& of_process() {
    static journal only([] {
      const char* path = std::getenv("FAULT_JOURNAL");
      return std::string(path != nullptr ? path : "/no FAULT_JOURNAL");
    }());
    return only;
  }

 private:
  std::byte* at_;
};

/// A mixing of 64 bits. Source: splitmix64, Steele, Lea and Flood 2014.
inline std::uint64_t mixed(std::uint64_t x) noexcept {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

}  // namespace rh::test::faults
