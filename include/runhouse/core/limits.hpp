// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>

/// Every bound of the library, with its unit and its reason. Constants: what a user may change is an option elsewhere.
namespace rh::limits {

/// One value on the wire, and all arguments of one call together. A machine's memory is the practical bound; this one
/// only keeps a lying length from being believed.
inline constexpr std::uint64_t body_bytes = std::uint64_t{1} << 36;
/// Payload of one frame: so that a small reply waits for at most this much of a large one.
inline constexpr std::size_t chunk_bytes = 128 * 1024;
/// A message of at most this size is encoded at once, in one frame; a longer one is cut as it leaves.
inline constexpr std::size_t small_message_bytes = 8 * 1024;
/// Largest frame that we accept, as our hello says.
inline constexpr std::size_t frame_bytes = 1024 * 1024;
/// What a stream may have under way without the receiver's credit.
inline constexpr std::size_t stream_credit_bytes = 1024 * 1024;
/// Of a session, in each direction: what one side has sent and keeps until the other has said that it has it.
inline constexpr std::uint64_t session_window_bytes = 16 * 1024 * 1024;
/// What one that keeps nothing may hold of the memory for it.
inline constexpr std::size_t log_memory_bytes = 1024 * 1024;
/// After how many frames, or bytes, that is said.
inline constexpr std::uint64_t frames_per_ack = 32;
inline constexpr std::uint64_t bytes_per_ack = 256 * 1024;
/// Arguments that a program has sent to a node and whose calls have not ended: what is more waits in the program.
inline constexpr std::uint64_t session_ahead_bytes = 64 * 1024 * 1024;
/// Of one session: calls that have not ended, functions, needs, and messages that come in several frames at a time.
inline constexpr std::size_t session_calls = std::size_t{1} << 20;
inline constexpr std::size_t session_functions = 65536;
inline constexpr std::size_t long_messages = 32;
/// Names of functions that a node has heard of, all together.
inline constexpr std::size_t function_name_bytes = 64 * 1024 * 1024;
/// Parameters of one call, segments of one payload: bounds on tables that a peer announces.
inline constexpr std::size_t parameters = 256;
inline constexpr std::size_t segments = 4096;
/// Each text of an outcome that is no value: what() of an exception, and the name of its type.
inline constexpr std::size_t outcome_text_bytes = 64 * 1024;
/// What a ping may carry.
inline constexpr std::size_t ping_bytes = 64;
/// A contiguous raw array of at least this size travels outside the archive's stream, aligned.
inline constexpr std::size_t segment_bytes = 1024;
/// A value of at least this size is kept, and passed between the processes of one machine, as a memory file.
inline constexpr std::size_t memory_file_bytes = 1024 * 1024;
/// How many of those a process has at a time; what is more is passed through sockets. Each takes one of the process's
/// descriptors, often 1024, of which the user wants some.
inline constexpr std::size_t memory_files = 256;
/// And for those that came in the body of one message.
inline constexpr std::size_t memory_files_of_message = 32;
/// How long a result for which there is no room in the store keeps its worker waiting.
inline constexpr std::chrono::seconds store_wait{60};
/// Nesting of a serialized value: deep enough for real data, shallow enough for an 8 MiB stack under a sanitizer.
inline constexpr std::size_t archive_depth = 200;

/// From a lost connection to the first try after the one that was made at once, and the longest time between two.
inline constexpr std::chrono::milliseconds reconnect_first{20};
inline constexpr std::chrono::milliseconds reconnect_longest{5000};
/// How often a connection may break with nothing got through before the session is given up.
inline constexpr unsigned losses_in_vain = 8;
/// How long a session lives without a connection.
inline constexpr std::chrono::minutes resume_window{10};
/// A node that has said nothing for so long is asked; so often, and the connection is given up.
inline constexpr std::chrono::seconds silence{15};
inline constexpr unsigned silences = 3;
/// For a connection to be made, and for a node to answer to what begins a session.
inline constexpr std::chrono::seconds connect{10};
/// To a host that closes the connection at once, as one to which many connect does: the first pause, which doubles, and
/// so many tries.
inline constexpr std::chrono::milliseconds login_again{250};
inline constexpr unsigned logins = 6;
/// To what somebody is asked for: a password, or a number of a device.
inline constexpr std::chrono::seconds somebody_answers{300};
/// How long ssh has to end by itself when its session has ended.
inline constexpr std::chrono::seconds login_end{2};
/// The same when the program exits.
inline constexpr std::chrono::milliseconds login_exit{300};
/// From starting a node to its being there: it waits for nothing but the loader.
inline constexpr std::chrono::seconds node_start{30};
/// How long a node has to end when it is told to, before it is killed.
inline constexpr std::chrono::seconds node_end{5};
/// How long a connection to this machine's node may wait until it is accepted.
inline constexpr std::chrono::seconds accept{10};
/// How many connections a node greets at a time; what is more is closed.
inline constexpr std::size_t greetings = 256;
/// How often a node looks at what was not used for long.
inline constexpr std::chrono::minutes node_looks{1};
/// A node that holds nothing for so long ends by itself; and a name that is not used.
inline constexpr std::chrono::hours node_idle{24};
inline constexpr std::chrono::hours name_idle{24};

/// From starting a worker to its hello.
inline constexpr std::chrono::seconds worker_handshake{30};
/// From a worker that could not be started to the next try, where others do the work meanwhile.
inline constexpr std::chrono::milliseconds start_again{200};
/// For the answer of nvidia-smi: without its persistence mode it first wakes the driver, GPU by GPU.
inline constexpr std::chrono::seconds gpu_query{30};
/// How old that answer may be when a worker is given a GPU: its free memory changes.
inline constexpr std::chrono::seconds gpu_answer{2};
/// From finding that other programs have the GPUs to looking again.
inline constexpr std::chrono::milliseconds gpu_again{500};
/// Flushes that a runtime makes without looking at descriptors.
inline constexpr std::size_t flushes = 1000;

/// Workers that end while they take in a call, before it ends.
inline constexpr unsigned workers_lost = 5;

/// How long a worker keeps its share of the machine, at least, where calls of other needs wait for it.
inline constexpr std::chrono::milliseconds share{20};
/// A worker that has nothing to do for so long is ended: its memory may be wanted elsewhere.
inline constexpr std::chrono::minutes worker_idle{10};
/// How long a queued frame may wait for its task to suspend before the I/O thread sends it; up to 8 times that where
/// the calls before were all awaited at once.
inline constexpr std::chrono::microseconds flush_delay{200};
/// How long exit() waits for the I/O thread to end what it is in the middle of: it does not block, but handlers of the
/// user's that run there may.
inline constexpr std::chrono::seconds io_thread_exit{1};
/// For how long a worker gathers the outcomes of short calls before it sends them.
inline constexpr std::chrono::microseconds gather{20};
/// How long a thread spins for an answer before it blocks; see io/waiting.hpp.
inline constexpr std::chrono::microseconds spin{20};
/// The same where the last answer took longer: more than the wake-up of a peer that has blocked.
inline constexpr std::chrono::microseconds slow_spin{100};
/// For one that comes over SSH from this machine, or one that is near.
inline constexpr std::chrono::microseconds ssh_spin{150};
/// Work that is sent ahead to a busy worker, in time: enough to hide a round trip, little enough to take back.
inline constexpr std::chrono::microseconds prefetch{200};
/// And in calls: half of them is the batch in which short calls leave, and each batch may cost both sides a wake-up.
inline constexpr std::uint32_t prefetch_calls = 128;
/// The same for calls that take the results of those before them, which cannot run elsewhere anyway.
inline constexpr std::uint32_t following_calls = 1024;
/// How many calls of a map are made at a time, or more, so that all workers have enough.
inline constexpr std::size_t map_window = 1024;
/// The same to another machine, where each window costs a round trip; all their arguments are less than
/// session_ahead_bytes.
inline constexpr std::size_t far_map_window = 32 * 1024;
/// What a worker keeps of results for such calls; what it does not keep is sent once more by its node.
inline constexpr std::size_t kept_results = following_calls;
inline constexpr std::size_t kept_result_bytes = 1024 * 1024;
/// How far a generator may be ahead of its consumer: in bytes of items, whatever the last of them adds, and in items.
inline constexpr std::uint64_t items_ahead_bytes = 1024 * 1024;
inline constexpr std::uint32_t items_ahead = 1024;
/// From a cancel to SIGTERM, and to SIGKILL, for a worker that does not heed its stop_token.
inline constexpr std::chrono::seconds cancel_term{1};
inline constexpr std::chrono::seconds cancel_kill{2};
/// A worker that has closed its connection has this long to end by itself, so that its exit status tells why.
inline constexpr std::chrono::seconds worker_exit{1};
/// How much of a worker's last output is kept for the error that reports its death.
inline constexpr std::size_t last_output_bytes = 4096;
/// A line of output longer than this is shown in parts.
inline constexpr std::size_t output_line_bytes = 64 * 1024;

/// What is kept of what a call prints: its first part, and its last, in two files of which the older is dropped when the
/// newer is full: together at most 64 MiB, and at least 48 of more than that.
inline constexpr std::uint64_t log_head_bytes = 32 * 1024 * 1024;
inline constexpr std::uint64_t log_segment_bytes = 16 * 1024 * 1024;
/// All logs of a node, as the disk counts them, in blocks of 4 KiB; and for how long after a call has ended.
inline constexpr std::uint64_t logs_bytes = std::uint64_t{1} << 30;
inline constexpr std::chrono::hours logs_age{7 * 24};
/// Log files open at a time: each takes a descriptor, often of 1024, and to open one again takes microseconds.
inline constexpr std::size_t open_logs = 64;
/// From a log that could not be written, as on a full disk, to the next try.
inline constexpr std::chrono::seconds log_again{5};
/// Old log files that are looked at or removed at a time: milliseconds on a local disk.
inline constexpr std::size_t log_sweep_files = 256;

/// Of a known_hosts file: what is more is no such file.
inline constexpr std::size_t known_hosts_bytes = 64 * 1024 * 1024;

}  // namespace rh::limits
