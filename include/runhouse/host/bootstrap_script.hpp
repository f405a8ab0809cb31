// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <runhouse/core/error.hpp>
#include <runhouse/rpc/node_role.hpp>

#include <string>
#include <string_view>

namespace rh::detail {

/// What a script for one connection is about.
struct script_options {
  std::string marker;         ///< begins each line that it says; of letters, digits and '-', at least 2
  std::string id;             ///< of the program, 64 digits
  std::string machine;        ///< it runs on such ones only; empty: on any
  std::string folder;         ///< empty: .runhouse; below HOME unless it begins with '/'
  std::string expected_host;  ///< by `uname -n`; empty: any
  bool is_to_be_there = false;  ///< the program, from before
  bool ends_node = false;
  std::string said;  ///< for the bridge: the first bytes that the program says, in hex
};

/// The text that a plain /bin/sh on a host reads to start a program there, and to have it copied first where it is not
/// there. It runs in dash, bash and busybox, and uses nothing but what POSIX has, head -c, sha256sum and, where they are
/// there, find -mmin and sync FILE.
///
/// It is one compound command, which a shell reads to its end before it runs any of it, behind blank lines, for start-up
/// files that read some; what is sent after it must wait for its first line, since a shell may read ahead. For the same
/// reason, and because some `head` do so too, nothing may be sent behind raw bytes before the answer to them. Each line it
/// says is MARKER, a word and its arguments; the marker stands in the text in two parts, so that a shell that echoes it
/// does not say it.
///
///     host MACHINE NAME FOLDER       first; nothing more follows if MACHINE is not the program's
///     failed WHAT TEXT               the end: WHAT is other-host, no-program, no-tool, no-folder, read-only, no-space,
///                                    no-exec or no-write
///     ready                          the program is there and is started as a bridge; what follows is the bridge's
///     broken CODE TEXT               it was not a bridge, but ended with that code, and said that; now it takes a command
///     whole                          the program is there, and it is known that it runs here only with all of its
///                                    libraries; now it takes a command
///     missing ID ...                 the program is not there, but these are, the newest first; now it takes commands:
///
///     use ID                         from now on it is about that program, which is the same with all of its libraries
///     manifest ID                    answer: `manifest SIZE` and so many bytes, raw
///     plan SIZE LITERALS TOKEN DISK  and SIZE bytes, raw: the plan and the manifest (host/shipping_plan.hpp). Of that
///                                    many bytes to be sent it says `have N`, as it has N from before, takes the rest,
///                                    says `got N` every 5 s while it works, gives up where none came for 10 minutes,
///                                    and in the end says `shipped`, and then is `ready`; or `mismatch NAME`, for the
///                                    hash of that file, and takes commands again
///
/// In the folder, made for this user only:
///
///     programs/ID/{program,lib/*,manifest,used}   a program, put there by one rename; `used` is as old as its last start
///     programs/ID/whole                           another one, which is the same with all of its libraries, has run instead
///     programs/ID/system/*                        libraries of the system that it came from, and their loader, `loader`, whose
///                                                 path is put into the last bytes of `program`
///     programs/ID/program-HASH                    the same with another path, as where the folder was moved
///     incoming/ID-TOKEN/{plan,data,owner,writer,new/}   what has come of one; who owns it and writes to it
///
/// Programs not used for 30 days, and what has not been written to for a day, is removed when another one is shipped.
inline std::string bootstrap_script(const script_options& options);

/// A text as one word of sh.
inline std::string quoted_for_sh(std::string_view text);

// ---- implementation

inline std::string quoted_for_sh(std::string_view text) {
  std::string quoted = "'";
  for (const char c : text) {
    if (c == '\'')
      quoted += "'\\''";
    else
      quoted += c;
  }
  return quoted + "'";
}

namespace script_detail {

// Its names begin with rh_, as none of the user's does. Paths have no '*' to expand: set -f.
inline constexpr std::string_view body = R"sh(
set -f
rh_ticker= rh_bridged= rh_part= rh_plain=
rh_old_umask=$(umask)
rh_had_locale=${LC_ALL+yes} rh_locale=${LC_ALL-}
umask 077
LC_ALL=C
export LC_ALL

rh_say() { printf '%s\n' "$rh_marker $*"; }
rh_flat() { rh_words=$1; set -- $rh_words; rh_words=$*; }
rh_quiet() {
  if [ -n "$rh_ticker" ]; then { kill "$rh_ticker" && wait "$rh_ticker"; } 2>/dev/null; fi
  rh_ticker=
}
rh_end() { rh_quiet; exit 1; }
# Takes what is still sent, so that nobody waits for that instead of reading this.
rh_fail() {
  rh_quiet
  if [ -n "$rh_part" ] && [ ! -s "$rh_part/data" ]; then rm -rf "$rh_part" "$rh_part.plan" 2>/dev/null; fi
  rh_say failed "$@"
  cat >/dev/null 2>&1
  exit 1
}
rh_size_of() { rh_size=$(wc -c 2>/dev/null <"$1"); rh_size=$((${rh_size:-0})); } 2>/dev/null
rh_sum_of() { set -- $(sha256sum 2>/dev/null <"$1"); rh_sum=${1:-none}; } 2>/dev/null
rh_free_kib() { set -- $(df -Pk "$rh_folder" 2>/dev/null | tail -n 1); rh_free=${4:-}; case $rh_free in ''|*[!0-9]*) rh_free= ;; esac; }

# PATH, which could not be written to, and what was said about it, which some tools do without the reason
rh_write_failed() {
  rh_flat "$2"
  rh_free_kib
  if [ -n "$rh_free" ] && [ "$rh_free" -lt 16 ]; then rh_words="No space left, $rh_words"; fi
  case $rh_words in
    *'isk quota'*) rh_fail no-space "$1: this user's quota is used up, and $((rh_needed / 1024 + 1)) KiB are needed" ;;
    *'No space'*)
      rh_fail no-space "$1: the disk is full, ${rh_free:-?} KiB are free, and $((rh_needed / 1024 + 1)) are needed" ;;
    *'ead-only'*) rh_fail read-only "$1: $rh_words" ;;
    *) rh_fail no-write "$1: $rh_words" ;;
  esac
}
rh_needed=0

# PATH: makes it a folder of this user's alone
rh_private_folder() {
  if [ -L "$1" ]; then rh_fail no-folder "$1 is a symbolic link"; fi
  if [ ! -d "$1" ]; then
    # Another one may make it between two looks at it.
    if [ -e "$1" ] && [ ! -d "$1" ]; then rh_fail no-folder "$1 is no folder"; fi
    rh_said=$(mkdir -p "$1" 2>&1) || rh_write_failed "$1" "$rh_said"
  fi
  if [ ! -O "$1" ]; then rh_fail no-folder "$1 belongs to another user"; fi
  rh_path=$1
  set -- $(ls -ld "$rh_path" 2>/dev/null)
  case ${1:-} in
    d????w*|d???????w*) rh_fail no-folder "others may write in $rh_path; chmod 700 it" ;;
    d???------*) ;;
    *) chmod 700 "$rh_path" 2>/dev/null ;;
  esac
}

# Who this shell, or subshell, is: host, boot, process, and when that began.
rh_identify() {
  rh_self=
  { read -r rh_stat </proc/self/stat; } 2>/dev/null || return 0
  rh_pid=${rh_stat%% *}
  set -- ${rh_stat##*) }
  rh_self="$rh_name $rh_boot $rh_pid ${20}"
}
# HOST BOOT PID START: whether that process lives; as far as can be said from here
rh_is_alive() {
  [ "$1 $2" = "$rh_name $rh_boot" ] || return 1
  rh_began=$4
  { read -r rh_stat <"/proc/$3/stat"; } 2>/dev/null || return 1
  set -- ${rh_stat##*) }
  [ "${20:-}" = "$rh_began" ] && [ "$1" != Z ] && [ "$1" != X ]
}
# FOLDER of something incoming: ends what still writes to it, as what an earlier connection of the same token left
rh_end_writers() {
  rh_identify
  for rh_one in owner writer; do
    rh_line=
    { read -r rh_line <"$1/$rh_one"; } 2>/dev/null
    if [ -z "$rh_line" ] || [ "$rh_line" = "$rh_self" ]; then continue; fi
    set -- "$1" $rh_line
    rh_tries=0
    while rh_is_alive "$2" "$3" "$4" "$5"; do
      kill -9 "$4" 2>/dev/null
      rh_tries=$((rh_tries + 1))
      if [ $rh_tries -gt 50 ]; then sleep 1; fi
      if [ $rh_tries -gt 60 ]; then break; fi
    done
  done
}
# FOLDER of something incoming: whether nobody writes to it
rh_is_left() {
  for rh_one in owner writer; do
    rh_line=
    { read -r rh_line <"$1/$rh_one"; } 2>/dev/null
    set -- "$1" $rh_line
    if [ $# -ne 5 ]; then
      if [ "$rh_one" = writer ] && [ ! -e "$1/writer" ]; then continue; fi
    elif [ "$2" = "$rh_name" ]; then
      if rh_is_alive "$2" "$3" "$4" "$5"; then return 1; fi
      continue
    fi
    # Of another host, or unknown.
    command -v find >/dev/null 2>&1 || return 1
    rh_new=$(find "$1" -mmin -2 2>/dev/null) || return 1
    [ -z "$rh_new" ] || return 1
  done
}

rh_sweep() {
  command -v find >/dev/null 2>&1 || return 0
  for rh_x in $(find "$rh_folder/programs" -name used -mtime +29 2>/dev/null); do
    rh_x=${rh_x%/used}
    rh_x=${rh_x##*/}
    if [ ${#rh_x} -ne 64 ] || [ "$rh_x" = "$rh_id" ]; then continue; fi
    mv "$rh_folder/programs/$rh_x" "$rh_folder/incoming/$rh_x.old.$rh_token" 2>/dev/null && rm -rf "$rh_folder/incoming/$rh_x.old.$rh_token"
  done
  for rh_x in $(ls "$rh_folder/incoming" 2>/dev/null); do
    rh_new=$(find "$rh_folder/incoming/$rh_x" -mtime -1 2>/dev/null) || continue
    if [ -z "$rh_new" ]; then rm -rf "$rh_folder/incoming/$rh_x"; fi
  done
}

# Starts it, not by exec: this shell says what became of it.
rh_start() {
  { printf 'used\n' >"$rh_program/used"; } 2>/dev/null
  rh_find_program
  rh_say ready
  # By SIGUSR1 to its parent it may say that from now on nothing but its own lines belongs in this stream.
  trap 'rh_bridged=yes' USR1
  umask "$rh_old_umask"
  if [ -n "$rh_had_locale" ]; then LC_ALL=$rh_locale; else unset LC_ALL; fi
  rh_libraries=
  if [ -d "$rh_program/lib" ]; then rh_libraries=$rh_program/lib; fi
  if [ -d "$rh_program/system" ]; then rh_libraries=${rh_libraries:+$rh_libraries:}$rh_program/system; fi
  if [ -n "$rh_libraries" ]; then
    rh_paths=$rh_libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    LD_LIBRARY_PATH=$rh_paths RUNHOUSE_SAID=$rh_said_first RUNHOUSE_SCRIPT=$$ RUNHOUSE_BRIDGE=$rh_role$rh_marker "$rh_run"
    rh_code=$?
  else
    RUNHOUSE_SAID=$rh_said_first RUNHOUSE_SCRIPT=$$ RUNHOUSE_BRIDGE=$rh_role$rh_marker "$rh_run"
    rh_code=$?
  fi
  if [ $rh_code -eq 0 ] || [ -n "$rh_bridged" ]; then
    if [ -d "$rh_plain" ]; then { printf 'whole\n' >"$rh_plain/whole"; } 2>/dev/null; fi
    exit $rh_code
  fi
  LC_ALL=C
  export LC_ALL
  # Nothing else is to see them.
  if [ -n "$rh_libraries" ]; then
    rh_said=$({ LD_LIBRARY_PATH=$rh_paths RUNHOUSE_BRIDGE=probe "$rh_run"; } </dev/null 2>&1 | head -c 2000)
  else
    rh_said=$({ RUNHOUSE_BRIDGE=probe "$rh_run"; } </dev/null 2>&1 | head -c 2000)
  fi
  umask 077
  trap '' USR1
  rh_flat "$rh_said"
  rh_say broken $rh_code "$rh_words"
}

# ID: its manifest
rh_send_manifest() {
  rh_size=0
  case $1 in
    *[!0-9a-f]*) ;;
    *) rh_size_of "$rh_folder/programs/$1/manifest" ;;
  esac
  if [ $rh_size -gt 16777216 ]; then rh_size=0; fi
  rh_say manifest $rh_size
  if [ $rh_size -gt 0 ]; then head -c $rh_size "$rh_folder/programs/$1/manifest"; fi
}

# ID NAME OFFSET SIZE: that file from there on, as it was when it came.
rh_read() {
  rh_x=$rh_folder/programs/$1/$2
  rh_size_of "$rh_x"
  if [ "$2" != program ] || [ ! -f "$rh_folder/programs/$1/system/loader" ] || [ $(($3 + $4)) -le $((rh_size - rh_loader_bytes)) ]; then
    tail -c +$(($3 + 1)) "$rh_x"
    return
  fi
  { head -c $((rh_size - rh_loader_bytes)) "$rh_x" && head -c $rh_loader_bytes /dev/zero; } | tail -c +$(($3 + 1))
}
# FROM TO: puts the path that its loader has, or will have, into a program, where the kernel looks for that.
rh_name_loader() {
  rh_private_folder "$rh_folder/incoming"
  rh_path=$rh_program/system/loader
  if [ ${#rh_path} -ge $rh_loader_bytes ]; then rh_fail no-folder "$rh_path is too long"; fi
  rh_size_of "$1"
  if [ $rh_needed -eq 0 ]; then rh_needed=$rh_size; fi
  rh_x=$rh_folder/incoming/loader.$rh_name.$$
  rh_said=$({
    head -c $((rh_size - rh_loader_bytes)) "$1" >"$rh_x" && printf '%s' "$rh_path" >>"$rh_x" &&
      head -c $((rh_loader_bytes - ${#rh_path})) /dev/zero >>"$rh_x" && chmod 700 "$rh_x" && { sync "$rh_x" 2>/dev/null || true; } && mv -f "$rh_x" "$2"
  } 2>&1) || { rm -f "$rh_x"; rh_write_failed "$rh_folder" "$rh_said"; }
}
# Leaves in rh_run what to start. The folder may have been moved, or be mounted elsewhere on another machine, where the program
# that names the other path may be running.
rh_find_program() {
  rh_run=$rh_program/program
  if [ ! -f "$rh_program/system/loader" ]; then return 0; fi
  rh_path=$rh_program/system/loader
  rh_x=
  { rh_x=$(tail -c $rh_loader_bytes "$rh_run" | head -c ${#rh_path}); } 2>/dev/null
  if [ "$rh_x" = "$rh_path" ]; then return 0; fi
  set -- $(printf '%s' "$rh_path" | sha256sum)
  rh_run=$rh_program/program-$1
  if [ ! -f "$rh_run" ]; then rh_name_loader "$rh_program/program" "$rh_run"; fi
}
# Puts the files together as the plan says.
rh_assemble() {
  rh_at=1
  rh_out=
  while read -r rh_word rh_1 rh_2 rh_3 rh_4; do
    case $rh_word in
      file) rh_out=$rh_part/new/$rh_1
        rh_said=$({ true >"$rh_out"; } 2>&1) || rh_write_failed "$rh_folder" "$rh_said" ;;
      literal) rh_said=$({ tail -c +$rh_at "$rh_part/data" | head -c "$rh_1" >>"$rh_out"; } 2>&1) || rh_write_failed "$rh_folder" "$rh_said"
        rh_at=$((rh_at + rh_1)) ;;
      copy) rh_said=$({ rh_read "$rh_1" "$rh_2" "$rh_3" "$rh_4" | head -c "$rh_4" >>"$rh_out"; } 2>&1) || rh_write_failed "$rh_folder" "$rh_said" ;;
      all) rm -f "$rh_out"
        if ! ln "$rh_part/data" "$rh_out" 2>/dev/null; then
          rh_said=$({ cat "$rh_part/data" >"$rh_out"; } 2>&1) || rh_write_failed "$rh_folder" "$rh_said"
        fi ;;
      end) rh_said=$({ cat >"$rh_part/new/manifest"; } 2>&1) || rh_write_failed "$rh_folder" "$rh_said"
        return 0 ;;
    esac
  done
}
# Leaves the name of a file that is not what it should be, in rh_wrong.
rh_verify() {
  rh_wrong=
  while read -r rh_word rh_1 rh_2 rh_3; do
    case $rh_word in
      file) rh_sum_of "$rh_part/new/$rh_1"
        if [ "$rh_sum" != "$rh_3" ]; then rh_wrong=$rh_1; return 0; fi
        case $rh_1 in program | system/loader) chmod 700 "$rh_part/new/$rh_1" ;; *) chmod 600 "$rh_part/new/$rh_1" ;; esac
        sync "$rh_part/new/$rh_1" 2>/dev/null ;;
      end) return 0 ;;
    esac
  done
}

# SIZE LITERALS TOKEN DISK
rh_ship() {
  rh_literals=$2
  rh_token=$3
  rh_needed=$4
  rh_part=$rh_folder/incoming/$rh_id-$3
  rh_end_writers "$rh_part"
  rh_said=$({ head -c "$1" >"$rh_part.plan"; } 2>&1) || rh_write_failed "$rh_folder" "$rh_said"
  rh_size_of "$rh_part.plan"
  if [ $rh_size -ne "$1" ]; then rh_end; fi

  # What has come already: by this token, or for somebody who is gone.
  rh_sum_of "$rh_part.plan"
  rh_plan=$rh_sum
  if [ -d "$rh_part" ]; then
    rh_sum_of "$rh_part/plan"
    if [ "$rh_sum" != "$rh_plan" ] || ! rh_is_left "$rh_part"; then rm -rf "$rh_part"; fi
  fi
  if [ ! -d "$rh_part" ]; then
    for rh_x in $(ls "$rh_folder/incoming" 2>/dev/null); do
      case $rh_x in
        "$rh_id"-*.plan) continue ;;
        "$rh_id"-*) ;;
        *) continue ;;
      esac
      rh_x=$rh_folder/incoming/$rh_x
      rh_sum_of "$rh_x/plan"
      if [ "$rh_sum" = "$rh_plan" ] && rh_is_left "$rh_x" && mv "$rh_x" "$rh_part" 2>/dev/null; then break; fi
    done
  fi
  rh_said=$(mkdir -p "$rh_part" 2>&1) || rh_write_failed "$rh_folder" "$rh_said"
  rh_identify
  rh_said=$({ printf '%s\n' "$rh_self" >"$rh_part/owner" && mv -f "$rh_part.plan" "$rh_part/plan"; } 2>&1) || rh_write_failed "$rh_folder" "$rh_said"
  rm -f "$rh_part/writer"
  rh_size_of "$rh_part/data"
  rh_have=$rh_size
  if [ $rh_have -gt "$rh_literals" ]; then rm -f "$rh_part/data"; rh_have=0; fi
  rh_sweep

  rh_said=$({ printf '#!/bin/sh\nexit 0\n' >"$rh_part/try" && chmod 700 "$rh_part/try"; } 2>&1) || rh_write_failed "$rh_folder" "$rh_said"
  rh_said=$({ "$rh_part/try"; } 2>&1) || { rh_flat "$rh_said"; rh_fail no-exec "$rh_folder: $rh_words"; }
  rm -f "$rh_part/try"
  rh_free_kib
  if [ -n "$rh_free" ] && [ $((rh_free * 1024 + rh_have)) -lt "$rh_needed" ]; then
    rh_fail no-space "$rh_folder: $rh_free KiB are free, and $(((rh_needed - rh_have) / 1024 + 1)) are needed"
  fi

  (
    rh_was=-1 rh_still=0 rh_sleep=
    trap 'kill "$rh_sleep" 2>/dev/null; exit 0' TERM
    while :; do
      sleep 5 </dev/null >/dev/null 2>&1 &
      rh_sleep=$!
      wait $rh_sleep || exit 0
      if [ -n "$rh_self" ]; then rh_is_alive $rh_self || exit 0; else kill -0 $$ 2>/dev/null || exit 0; fi
      rh_size_of "$rh_part/data"
      rh_say got $rh_size
      # Who sends has gone without a word, for 10 minutes: nobody else would end this.
      if [ $rh_size -eq $rh_was ] && [ ! -d "$rh_part/new" ]; then rh_still=$((rh_still + 1)); else rh_still=0; fi
      rh_was=$rh_size
      if [ $rh_still -gt 120 ]; then kill $$; exit 0; fi
    done
  ) &
  rh_ticker=$!
  rh_say have $rh_have
  if [ $rh_have -lt "$rh_literals" ]; then
    rh_said=$({
      rh_identify
      printf '%s\n' "$rh_self" >"$rh_part/writer"
      exec head -c $((rh_literals - rh_have)) >>"$rh_part/data"
    } 2>&1) || rh_write_failed "$rh_folder" "$rh_said"
    rh_size_of "$rh_part/data"
    if [ $rh_size -lt "$rh_literals" ]; then rh_end; fi
    rm -f "$rh_part/writer"
  fi

  rm -rf "$rh_part/new"
  rh_said=$(mkdir -p "$rh_part/new/lib" "$rh_part/new/system" 2>&1) || rh_write_failed "$rh_folder" "$rh_said"
  rh_assemble <"$rh_part/plan"
  rmdir "$rh_part/new/lib" "$rh_part/new/system" 2>/dev/null
  rh_verify <"$rh_part/plan"
  if [ -n "$rh_wrong" ]; then
    rm -rf "$rh_part"
    rh_quiet
    rh_say mismatch "$rh_wrong"
    return 1
  fi
  if [ -f "$rh_part/new/system/loader" ]; then rh_name_loader "$rh_part/new/program" "$rh_part/new/program"; fi
  rh_said=$({ printf 'used\n' >"$rh_part/new/used"; } 2>&1) || rh_write_failed "$rh_folder" "$rh_said"
  # Who is there first has put there the same; then this one lands in it.
  if [ ! -e "$rh_program" ]; then rh_said=$(mv "$rh_part/new" "$rh_program" 2>&1); fi
  if [ -e "$rh_program/new" ]; then rm -rf "$rh_program/new"; fi
  if [ ! -f "$rh_program/program" ]; then rh_write_failed "$rh_folder" "$rh_said"; fi
  rm -rf "$rh_part"
  for rh_x in $(ls "$rh_folder/incoming" 2>/dev/null); do
    case $rh_x in "$rh_id"-*) if rh_is_left "$rh_folder/incoming/$rh_x"; then rm -rf "$rh_folder/incoming/$rh_x"; fi ;; esac
  done
  rh_quiet
  rh_say shipped
}

rh_name=$(uname -n)
rh_kind=$(uname -m)
case ${HOME:-} in
  /*) rh_home=${HOME%/} ;;
  *) rh_home= ;;
esac
case $rh_asked in
  /*) rh_folder=$rh_asked ;;
  '~/'*) rh_folder=$rh_home/${rh_asked#??} ;;
  '') rh_folder=$rh_home/.runhouse ;;
  *) rh_folder=$rh_home/$rh_asked ;;
esac
rh_say host "${rh_kind:-unknown}" "${rh_name:-unknown}" "$rh_folder"
if [ -n "$rh_machine" ] && [ "$rh_kind" != "$rh_machine" ]; then exit 1; fi
if [ -n "$rh_expected" ] && [ "$rh_name" != "$rh_expected" ]; then rh_fail other-host "$rh_name"; fi
case $rh_asked in
  /*) ;;
  *) case ${HOME:-} in /*) ;; *) rh_fail no-folder "HOME is not set there" ;; esac ;;
esac
for rh_x in uname head tail cat mkdir rmdir mv rm ls ln chmod df wc sha256sum sleep; do
  command -v $rh_x >/dev/null 2>&1 || rh_fail no-tool "$rh_x"
done
rh_boot=none
{ read -r rh_boot </proc/sys/kernel/random/boot_id; } 2>/dev/null
rh_loader_bytes=4096
# ID: starts that program, or says what is missing
rh_look_for() {
  rh_id=$1
  rh_program=$rh_folder/programs/$rh_id
  if [ -n "$rh_resumes" ] && [ ! -f "$rh_program/program" ]; then rh_fail no-program "$rh_program"; fi
  rh_private_folder "$rh_folder"
  if [ -f "$rh_program/whole" ]; then
    { printf 'used\n' >"$rh_program/used"; } 2>/dev/null
    rh_say whole
    return
  fi
  if [ -f "$rh_program/program" ]; then
    rh_start
    return
  fi
  rh_private_folder "$rh_folder/programs"
  rh_private_folder "$rh_folder/incoming"
  # Somebody has removed a part of it; a whole one comes by one rename.
  if [ -e "$rh_program" ] && [ ! -f "$rh_program/program" ]; then rm -rf "$rh_program"; fi

  rh_bases= rh_count=0
  for rh_x in $(ls -t "$rh_folder/programs" 2>/dev/null); do
    case $rh_x in *[!0-9a-f]*) continue ;; esac
    if [ ${#rh_x} -ne 64 ] || [ ! -f "$rh_folder/programs/$rh_x/manifest" ] || [ $rh_count -ge 16 ]; then continue; fi
    rh_bases="$rh_bases $rh_x"
    rh_count=$((rh_count + 1))
  done
  rh_say missing $rh_bases
}
rh_look_for "$rh_id"
while read -r rh_word rh_1 rh_2 rh_3 rh_4; do
  case $rh_word in
    manifest) rh_send_manifest "$rh_1" ;;
    plan) if rh_ship "$rh_1" "$rh_2" "$rh_3" "$rh_4"; then rh_start; fi ;;
    use) case $rh_1 in
        '' | *[!0-9a-f]*) exit 1 ;;
      esac
      rh_plain=$rh_program
      rh_look_for "$rh_1" ;;
    *) exit 1 ;;
  esac
done
exit 1
}
)sh";

}  // namespace script_detail

inline std::string bootstrap_script(const script_options& options) {
  const auto set = [](std::string_view name, std::string_view value) {
    return std::string(name) + '=' + quoted_for_sh(value) + '\n';
  };
  if (options.folder.find_first_of(std::string_view("\n\r\0", 3)) != std::string::npos) {
    fail(errc::shipping_failed, "the folder for programs on the host is a name of several lines; set RUNHOUSE_REMOTE_FOLDER otherwise");
  }
  const std::size_t half = options.marker.size() / 2;
  std::string text(16, '\n');
  text += "{\n";
  text += "rh_marker=" + quoted_for_sh(options.marker.substr(0, half)) + quoted_for_sh(options.marker.substr(half)) + '\n';
  text += set("rh_id", options.id);
  text += set("rh_machine", options.machine);
  text += set("rh_asked", options.folder);
  text += set("rh_expected", options.expected_host);
  text += set("rh_resumes", options.is_to_be_there ? "yes" : "");
  text += set("rh_role", options.ends_node ? "end " : "");
  text += set("rh_said_first", options.said);
  text += script_detail::body;
  return text;
}

}  // namespace rh::detail
