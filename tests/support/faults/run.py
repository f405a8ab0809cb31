# SPDX-License-Identifier: Apache-2.0
"""Runs many calls of all kinds under a seeded plan of faults, and checks afterwards what docs/faults.md promises.

Usage: run.py PROGRAM [--cluster NAME] [--seed N] [--for 60s | --calls N] [--round N] [--every N] [--only NAME,NAME]
              [--lanes N] [--round-calls N] [--keep]

PROGRAM is fault_load. The run is made of rounds, each a program of its own with up to 50,000 calls, a third of which
is ended by a fault. Prints one line, and of a failure what was wrong, the seed, and the command that replays that round.
  --every N   a fault for about so many calls
  --only      draw from these faults alone; "none" for no fault
  --keep      keep the folder of each round, with the program's output and both files
Ends only what it has started itself: processes that have its mark in their environment.
"""
import argparse
import collections
import ctypes
import heapq
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid

import check
import journal as j
import plan
from byte_proxy import ByteProxy

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
os.environ["RUNHOUSE_TEST_OWN_ACCOUNT"] = "1"  # functions there write to the journal here
import sshd

LONGEST_OPERATION = 128      # calls, as fault_load has it
SILENCE_SECONDS = 60         # without an outcome, from which on it is a hang
GONE_SECONDS = 5             # from the end of the program to that of all its processes
MEMORY_BYTES = 16 << 20      # what a program may have more of after its calls than before; and for each lane
SSH_MEMORY_BYTES = 16 << 20  # and over ssh, where what is on its way is more, and longer; the same after 50,000 and 200,000 calls
LANE_MEMORY_BYTES = 64 << 10
PR_SET_PDEATHSIG = 1
WORKER = b"runhouse-worker\0"
# What a sanitizer prints of a worker, whose end would else look like a fault. Not of what functions are ordered to do.
SANITIZER_WORDS = ("WARNING: ThreadSanitizer", "use-after-", "-buffer-overflow", "double-free", "alloc-dealloc-mismatch")


def seconds_of(text):
    units = {"s": 1, "m": 60, "h": 3600}
    return float(text[:-1]) * units[text[-1]] if text[-1:] in units else float(text)


def options_of(arguments):
    parser = argparse.ArgumentParser(prog="./dev faults", allow_abbrev=False)
    parser.add_argument("program")
    parser.add_argument("--cluster", default="local", choices=plan.ALL)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--for", dest="seconds", type=seconds_of)
    parser.add_argument("--calls", type=int)
    parser.add_argument("--round", type=int)
    parser.add_argument("--round-calls", type=int, default=50_000)
    parser.add_argument("--every", type=int, default=500)
    parser.add_argument("--only", default="")
    parser.add_argument("--lanes", type=int, default=64)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args(arguments)
    options.only = tuple(filter(None, options.only.split(",")))
    for name in options.only:
        if name not in plan.BY_NAME and name != "none":
            parser.error(f"there is no fault '{name}'; there are: {', '.join(plan.BY_NAME)}")
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(1 << 32)
    if options.seconds is None and options.calls is None and options.round is None:
        options.seconds = 60.0
    return options


# ---- processes of a run

def marked_processes(mark):
    """Pids of the processes that have this in their environment. A zombie has none."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/environ", "rb") as environment:
                    if mark in environment.read().split(b"\0"):
                        found.append(int(name))
            except OSError:
                pass
    return found


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def has_mark(pid, mark):
    return mark in read(f"/proc/{pid}/environ").split(b"\0")


def describe(pid):
    status = read(f"/proc/{pid}/status").decode(errors="replace")
    state = next((line for line in status.splitlines() if line.startswith("State:")), "State: gone")
    command = read(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode(errors="replace")[:80]
    return f"{pid} {state[7:]}: {command}"


def stacks(pid):
    """Where the threads of a process are, if gdb is there to say so."""
    if shutil.which("gdb") is None:
        return ""
    try:
        return subprocess.run(["gdb", "-p", str(pid), "-batch", "-ex", "thread apply all bt 25"], capture_output=True,
                              text=True, timeout=60, errors="replace").stdout
    except subprocess.TimeoutExpired:
        return "gdb took too long"


class Round:
    """One program under faults. What a fault may touch is public."""

    def __init__(self, options, number, calls, until):
        self.options, self.number, self.calls, self._until = options, number, calls, until
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="runhouse-faults-"))
        for name in ("tmp", "run", "home"):
            (self.folder / name).mkdir(mode=0o700)
        self.mark = f"FAULT_RUN={uuid.uuid4().hex}".encode()
        slots = calls + LONGEST_OPERATION * options.lanes
        self.journal = j.Journal(self.folder / "journal", self.folder / "history", slots, hash_of(options.seed, number))
        self.plan = plan.Plan(options.cluster, options.seed, number, calls, options.every, options.only)
        self.cluster = options.cluster
        self.proxy = self.machine = None
        self.program = 0
        self.happened = collections.Counter()
        self.errors = set()
        self.is_ended = self.is_spoiled = self.was_killed = False
        self.wrong = []
        self.verdict = check.Verdict()
        self._later = []
        self._stopped = set()
        self._starters = []

    # ---- for faults

    def workers(self):
        return sorted(pid for pid in marked_processes(self.mark) if read(f"/proc/{pid}/cmdline").startswith(WORKER))

    def node(self):
        """0 where there is none."""
        words = read(self.folder / "run" / "runhouse" / "node.lock").split()
        return int(words[0]) if words and words[0].isdigit() else 0

    def ssh(self):
        """0 where there is none now."""
        for pid in marked_processes(self.mark):
            stat = read(f"/proc/{pid}/stat").rpartition(b")")
            if stat[0].endswith(b"(ssh") and int(stat[2].split()[1]) == self.program:
                return pid
        return 0

    def start_node(self):
        """By a program of no calls, which does not go through the proxy. It has a journal of its own."""
        folder = self.folder / f"starter{len(self._starters)}"
        folder.mkdir()
        j.Journal(folder / "journal", folder / "history", LONGEST_OPERATION, 0).close()
        environment = self.environment() | {"FAULT_JOURNAL": str(folder / "journal")}
        with open(folder / "output", "wb") as output:
            self._starters.append(self.start(0, environment, folder / "history", output, "direct"))

    def signal(self, pid, number):
        """Whether it was sent. The mark is read again while the process cannot become another."""
        try:
            descriptor = os.pidfd_open(pid)
        except OSError:
            return False
        try:
            if not has_mark(pid, self.mark):
                return False
            signal.pidfd_send_signal(descriptor, number)
            return True
        except OSError:
            return False
        finally:
            os.close(descriptor)

    def later(self, seconds, action):
        heapq.heappush(self._later, (time.monotonic() + seconds, len(self._later), action))

    def continue_later(self, seconds, pid):
        """SIGCONT, also if the round ends before: what was stopped behind the end of its node sees nothing else."""
        self._stopped.add(pid)
        self.later(seconds, lambda: self.signal(pid, signal.SIGCONT))

    # ---- implementation

    def environment(self):
        own = {name: value for name, value in os.environ.items() if not name.startswith("RUNHOUSE_NODE")}
        own["FAULT_RUN"] = self.mark.decode().split("=")[1]
        own["FAULT_JOURNAL"] = str(self.folder / "journal")
        own["TMPDIR"], own["XDG_RUNTIME_DIR"], own["HOME"] = (str(self.folder / n) for n in ("tmp", "run", "home"))
        own.setdefault("RUNHOUSE_WORKERS", "3")
        own["RUNHOUSE_SSH"] = "libssh2" if self.cluster == plan.LIBSSH2 else "program"
        return self.machine.environment(**{**own, "PATH": f"{self.machine.folder}/bin:{own['PATH']}"}) if self.machine else own

    def start(self, calls, environment, history, output, host="far"):
        libc = ctypes.CDLL(None)
        command = [self.options.program, "--cluster", host if self.machine else self.cluster, "--history", str(history), "--calls", str(calls),
                   "--lanes", str(self.options.lanes)]
        return subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                start_new_session=True, preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL))

    def run(self):
        """The sentences about what was wrong."""
        environment = self.environment()
        if self.cluster in plan.FAR:
            # There everything is as here, but that another HOME has nothing of the program yet.
            there = {name: environment[name] for name in environment if name.startswith(("FAULT_", "TMPDIR", "XDG_RUNTIME", "RUNHOUSE_WORKERS", "ASAN", "TSAN", "UBSAN"))}
            self.machine = sshd.Machine(environment={**there, "HOME": str(self.folder / "home")}, through_proxy=True)
            self.machine.add_host("direct", self.machine.server.port)
            self.proxy = self.machine.proxy
            environment = self.environment()
        with open(self.folder / "output", "w+b") as output:
            try:
                if self.cluster in plan.NODES:
                    self.start_node()
                    self._starters[0].wait(60)
                if self.cluster == plan.HERE:
                    environment["RUNHOUSE_NODE_SOCKET"] = str(self.folder / "near.sock")
                    self.proxy = ByteProxy(environment["RUNHOUSE_NODE_SOCKET"],
                                           str(self.folder / "run" / "runhouse" / "node.sock"))
                program = self.start(self.calls, environment, self.folder / "history", output)
                self.program = program.pid
                self._attend(program)
                self._finish(program)
            finally:
                self._end_all()
        self._check()
        return self.wrong

    def _attend(self, program):
        """Applies the plan until the program has ended, or hangs."""
        coming = self.plan.next()
        last_ended, last_time = 0, time.monotonic()
        while program.poll() is None:
            now = time.monotonic()
            while self._later and self._later[0][0] <= now:
                heapq.heappop(self._later)[2]()
            ended, phase = self.journal.ended, self.journal.phase
            if ended != last_ended or self._later:
                last_ended, last_time = ended, now
            if now - last_time > SILENCE_SECONDS:
                self._report_hang(program.pid)
                return
            if self._until is not None and now >= self._until:
                self.journal.is_stopping = 1
            if phase == j.CALLING and coming is not None and ended >= coming[0] and not self.is_ended:
                for fault in coming[1]:
                    self.happened[fault.name] += 1
                    self.errors |= fault.errors
                    self.is_ended |= fault.ends_program
                    self.is_spoiled |= fault.spoils
                    fault.happen(self, self.plan.chance)
                coming = self.plan.next()
            time.sleep(0.001)

    def _report_hang(self, pid):
        self.wrong.append(f"nothing came for {SILENCE_SECONDS} s, after {self.journal.ended} outcomes of {self.journal.made} calls, "
                          f"in phase {self.journal.phase}")
        self.wrong.append("processes:\n  " + "\n  ".join(map(describe, marked_processes(self.mark))))
        self.wrong.append(f"the program's threads:\n{stacks(pid)[:20_000]}")
        shown = 0
        for token, (entry, counts) in enumerate(zip(self.journal.entries(), self.journal.counts())):
            if entry >> 8 & 0xFF == j.NOTHING and shown < check.MOST_SHOWN:
                shown += 1
                self.wrong.append(f"call {token} ({j.KINDS[entry & 0xFF]}) has no outcome; it began {counts & 0xFFFFFFFF} and ended "
                                  f"{counts >> 32} times, in {self.journal.pids()[token]}")
        self.is_ended = True

    def _finish(self, program):
        """What must be true of processes and files when the program has ended."""
        if program.poll() is None:  # it hangs
            self.signal(program.pid, signal.SIGKILL)
        code = program.wait()
        self.was_killed = code < 0
        for pid in self._stopped:
            self.signal(pid, signal.SIGCONT)
        for starter in self._starters:
            try:
                starter.wait(60)
            except subprocess.TimeoutExpired:
                self.wrong.append(f"the program that started a node hangs:\n{stacks(starter.pid)[:20_000]}")
                self.wrong.append(f"and the node is at:\n{stacks(self.node())[:20_000]}")
                self.wrong.append("processes:\n  " + "\n  ".join(map(describe, marked_processes(self.mark))))
                self.signal(starter.pid, signal.SIGKILL)
        expected = {0, 1, -signal.SIGKILL, -signal.SIGINT} if self.is_ended else {0}
        if code not in expected:
            self.wrong.append(f"the program ended with {code}")
        elif code == 0 and self.journal.phase != j.DONE:
            self.wrong.append("the program ended in its middle, with 0")
        if self.cluster in plan.NODES:
            self._end_node()
        deadline = time.monotonic() + GONE_SECONDS
        left = marked_processes(self.mark)
        while left and time.monotonic() < deadline:
            time.sleep(0.01)
            left = marked_processes(self.mark)
        if left:
            self.wrong.append(f"{len(left)} processes are left {GONE_SECONDS} s later:\n  " + "\n  ".join(map(describe, left)))
            self.wrong += [f"{pid} is at:\n{stacks(pid)[:20_000]}" for pid in left[:check.MOST_SHOWN]]
        # A node that was killed leaves its socket and lock, and so does one that ends; nobody leaves anything in tmp.
        allowed = {"run/runhouse"} if self.cluster in plan.NODES else set()
        for folder in ("tmp", "run"):
            files = [str(f.relative_to(self.folder)) for f in (self.folder / folder).rglob("*") if not f.is_dir()]
            files = [f for f in files if str(pathlib.Path(f).parent) not in allowed]
            if files:
                self.wrong.append(f"files are left: {', '.join(files[:check.MOST_SHOWN])}")

    def _end_node(self):
        for number in (signal.SIGTERM, signal.SIGCONT):
            self.signal(self.node(), number)

    def _end_all(self):
        """Whatever is left of this round, so that nothing outlives it."""
        for number in (signal.SIGCONT, signal.SIGKILL):
            for pid in marked_processes(self.mark):
                self.signal(pid, number)
        if self.machine is not None:
            self.machine.close()
        elif self.proxy is not None:
            self.proxy.close()

    def _check(self):
        journal = self.journal
        output = read(self.folder / "output").decode(errors="replace")
        for word in SANITIZER_WORDS:
            if word in output:
                self.wrong.append(f"a sanitizer says {word}:\n{output[max(0, output.index(word) - 200):][:4000]}")
        if self.is_spoiled:
            self.verdict.calls = journal.made
        else:
            self.verdict = check.check(journal, was_ended=self.was_killed, allowed=self.errors, was_disturbed=bool(self.happened))
            self.wrong += self.verdict.wrong
        if journal.phase != j.DONE:
            return
        if journal.unfinished_calls or journal.values or journal.value_bytes:
            self.wrong.append(f"20 s after the last call {journal.unfinished_calls} calls, {journal.values} values and "
                              f"{journal.value_bytes} bytes are left on the cluster")
        for what in ("descriptors", "worker_descriptors"):
            before, after = getattr(journal, f"{what}_before"), getattr(journal, f"{what}_after")
            if after > before:
                self.wrong.append(f"{what}: {before} before all calls, {after} after them")
        grown = journal.memory_after - journal.memory_before
        if grown > MEMORY_BYTES + (SSH_MEMORY_BYTES if self.cluster in plan.FAR else 0) + LANE_MEMORY_BYTES * self.options.lanes and not is_sanitized(self.options.program):
            self.wrong.append(f"the program has {grown >> 20} MiB more after its calls than before")

    def close(self):
        self.journal.close()
        if not self.options.keep:
            shutil.rmtree(self.folder)


def hash_of(seed, number):
    return random.Random(f"values {seed} {number}").getrandbits(64)


def is_sanitized(program):
    content = read(program)
    return b"__asan_init" in content or b"__tsan_init" in content


def replay(options, number):
    workers = os.environ.get("RUNHOUSE_WORKERS")
    words = [f"RUNHOUSE_WORKERS={workers}"] if workers else []
    words += ["./dev", "faults", "--cluster", options.cluster, "--seed", str(options.seed), "--round", str(number)]
    for name in ("every", "lanes", "round_calls"):
        words += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    if options.only:
        words += ["--only", ",".join(options.only)]
    return " ".join(words)


def main():
    options = options_of(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a round is ended as it should be
    begin = time.monotonic()
    until = begin + options.seconds if options.seconds is not None else None
    calls, rounds, wrong = 0, 0, 0
    faults, outcomes, kinds = collections.Counter(), collections.Counter(), collections.Counter()
    number = options.round or 0
    while True:
        left = options.calls - calls if options.calls is not None else options.round_calls
        one = Round(options, number, min(left, options.round_calls), until)
        try:
            sentences = one.run()
        except BaseException:
            one.close()
            raise
        calls, rounds = calls + one.verdict.calls, rounds + 1
        faults += one.happened
        outcomes += one.verdict.outcomes
        kinds += one.verdict.kinds
        if sentences:
            wrong += 1
            print(f"FAILED: round {number}, with {json.dumps(one.happened)}")
            for sentence in sentences[:check.MOST_SHOWN]:
                print(f"  {sentence}")
            if len(sentences) > check.MOST_SHOWN:
                print(f"  and {len(sentences) - check.MOST_SHOWN} more")
            print("the end of what the program printed:")
            print("  " + "\n  ".join((one.folder / "output").read_text(errors="replace").splitlines()[-20:]))
            print(f"replay: {replay(options, number)}", flush=True)
        if options.keep:
            print(f"round {number} is in {one.folder}")
        one.close()
        number += 1
        is_late = until is not None and time.monotonic() >= until
        if options.round is not None or is_late or (options.calls is not None and calls >= options.calls) or wrong >= 3:
            break
    took = time.monotonic() - begin
    for what, counted in (("kinds", kinds), ("outcomes", outcomes), ("faults", faults)):
        print(f"{what}: " + ", ".join(f"{n} {name}" for name, n in counted.most_common()))
    print(f"faults on {options.cluster}: seed {options.seed}, {rounds} rounds, {calls} calls in {took:.1f} s "
          f"({calls / took:.0f}/s), {sum(faults.values())} faults: {'FAILED in ' + str(wrong) if wrong else 'all as promised'}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
