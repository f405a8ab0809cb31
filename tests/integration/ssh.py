# SPDX-License-Identifier: Apache-2.0
"""Programs on machines that they reach by ssh: what networks, accounts, shells, disks and configurations do to that.

Usage: ssh.py PROGRAM OTHER_BUILD [--quick] [--only WORD] [--skip WORD] [--jobs N] [--list]

Each scenario has machines, and a time limit, of its own; after each, nothing runs on either side that should not, and no
file is left where none should be. --quick runs those that together take half a minute.
"""
import argparse
import collections
import concurrent.futures
import dataclasses
import fcntl
import os
import pathlib
import queue
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support"))
import sshd
from byte_proxy import Fault

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("program")
parser.add_argument("other_build")
parser.add_argument("--quick", action="store_true")
parser.add_argument("--only", default="", help="scenarios with this in their name")
parser.add_argument("--skip", default="", help="scenarios with this in their name are not run")
parser.add_argument("--jobs", type=int, default=4, help="scenarios at a time: most of them wait most of the time")
parser.add_argument("--seed", type=int, default=1, help="of what happens at random")
parser.add_argument("--by", choices=("libssh2", "program"), default="libssh2", help="program: by the ssh program, also where libssh2 would do")
parser.add_argument("--older", help="a folder that has, or gets, the tree of an older system (Debian 11, by debootstrap, as root)")
parser.add_argument("--list", action="store_true")
arguments = parser.parse_args()
program, other_build = os.path.abspath(arguments.program), os.path.abspath(arguments.other_build)

by = {"RUNHOUSE_SSH": "program"} if arguments.by == "program" else {}
FOR_EVER = 1e6  # seconds
printing = threading.Lock()


def say(text):
    with printing:
        print(text, flush=True)


def within(seconds, holds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.01)
    return bool(holds())


def command_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:120]
    except OSError:
        return "(ended)"


def lines_of(path):
    try:
        return path.read_text().split("\n")[:-1]
    except OSError:
        return []


class Line(sshd.Line):
    """One that remembers what went through it, also of connections that are over. `following`: faults of those that come
    next, one each."""

    def __init__(self, server):
        self.of_all, self.following = [], []
        super().__init__([server.port])

    def _accept(self):
        before = self.accepted
        super()._accept()
        if self.accepted > before:
            self.of_all.append(self._connections[-1])
            if self.following:
                self._arm(self._connections[-1], self.following.pop(0))

    def up_bytes(self, begin=0):
        return sum(c.up.passed_bytes for c in self.of_all[begin:])


# ---- programs on this side

class Program:
    """One that is told what to do, line by line. What it says about its connection is kept apart."""

    def __init__(self, command, environment, stderr=None):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr or subprocess.PIPE, text=True,
                                        errors="replace", bufsize=1, env=environment)
        self._lines, self.connection, self.stderr = queue.Queue(), [], ""
        self._readers = [threading.Thread(target=self._read, daemon=True)]
        if stderr is None:
            self._readers.append(threading.Thread(target=self._read_stderr, daemon=True))
        for each in self._readers:
            each.start()

    def _read(self):
        for line in self.process.stdout:
            line = line.rstrip("\n")
            if line.startswith("connection "):
                self.connection.append(line)
            else:
                self._lines.put(line)
        self._lines.put(None)

    def _read_stderr(self):
        for line in self.process.stderr:
            self.stderr += line

    def tell(self, *words):
        try:
            self.process.stdin.write(" ".join(map(str, words)) + "\n")
        except OSError:
            pass

    def line(self, seconds=20):
        """Empty if none comes in time, or ever."""
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            return ""
        if line is None:
            self._lines.put(None)
            return ""
        return line

    def ask(self, *words, seconds=20):
        self.tell(*words)
        return self.line(seconds)

    def end(self, seconds=10):
        """What else it printed. None if it does not end in time."""
        try:
            self.process.stdin.close()
        except OSError:
            pass
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return None
        for each in self._readers:
            each.join(5)
        rest = []
        while (line := self.line(0)) != "":
            rest.append(line)
        return rest

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        self.process.wait()

    def shipped(self):
        """Bytes that were copied, of how many: in its stderr, with RUNHOUSE_VERBOSE=1, after it has connected."""
        within(2, lambda: "copied" in self.stderr)
        found = re.findall(r"copied (\d+) bytes of this program's (\d+)", self.stderr)
        return [(int(a), int(b)) for a, b in found]


# ---- scenarios

@dataclasses.dataclass
class Scenario:
    name: str
    run: object
    seconds: float
    is_quick: bool


scenarios = []


def scenario(name, seconds=40, quick=False):
    def add(f):
        scenarios.append(Scenario(name, f, seconds, quick))
        return f
    return add


class Test:
    """What one scenario has, and how it fares."""

    def __init__(self, name):
        self.name, self.passed, self.failed, self.skipped = name, 0, [], []
        self.machines, self.programs, self._closes = [], [], []
        self.is_over = False

    def check(self, what, holds, seen=""):
        if self.is_over:
            return False
        if holds:
            self.passed += 1
        else:
            self.failed.append(what)
            say(f"FAILED: {self.name}: {what} {str(seen)[:1500]}")
        return bool(holds)

    def skip(self, what):
        self.skipped.append(what)
        say(f"skipped: {self.name}: {what}")

    def machine(self, **options):
        made = sshd.Machine(**options)
        self.machines.append(made)
        return made

    def line(self, server):
        made = Line(server)
        self._closes.append(made.close)
        return made

    def start(self, machine, which=None, host=None, command=None, stderr=None, words=(), **variables):
        one = Program([*(command or []), which or program, host or machine.host, *map(str, words)], machine.environment(RUNHOUSE_VERBOSE="1", **by, **variables), stderr)
        self.programs.append(one)
        return one

    def connected(self, machine, what="it connects", seconds=30, **options):
        one = self.start(machine, **options)
        line = one.line(seconds)
        self.check(what, line == "connected", (line, one.connection, one.stderr))
        return one

    def refused(self, what, one, kind, *says, seconds=15):
        """It ends with an error of that kind, or of one of those, whose text has each of `says`, or one of several, within so long."""
        begun = time.monotonic()
        line = one.line(seconds + 5)
        took = time.monotonic() - begun
        kinds = (kind,) if isinstance(kind, str) else kind
        text = line[line.find(":") + 1:].lower()
        self.check(what, line.split(",")[0] in kinds and all(any(s.lower() in text for s in ((one,) if isinstance(one, str) else one)) for one in says), (line, one.stderr))
        self.check(f"{what}: in time", took < seconds, took)
        self.check(f"{what}: and the program ends", one.end() is not None)
        return line

    def works(self, one, what="calls work"):
        self.check(what, (line := one.ask("add", 2, 3)) == "5", (line, one.connection, one.stderr))

    def once(self, what, path, tags):
        """A journal has each of these lines, and no other."""
        ran, wanted = collections.Counter(lines_of(path)), set(tags)
        wrong = {k: ran[k] for k in ran.keys() | wanted if ran[k] != 1 or k not in wanted}
        self.check(what, not wrong, dict(list(wrong.items())[:10]))

    def ended(self, one, what="the program ends"):
        rest = one.end()
        self.check(what, rest is not None and rest == [], rest)

    def tidy(self, machine, runtime=None, stray=(), left=(), uploads=False):
        """Nothing runs but the node, which ends when it is told to; and only what should be is on the disk. `left`: what
        else may run there; `uploads`: ones that were not finished may be there."""
        for one in self.programs:
            self.check("a program ends when it is told nothing more", one.end() is not None)
        self.check("nothing runs on this side", within(5, lambda: not machine.near_processes()), [command_of(p) for p in machine.near_processes()])
        folders = [runtime] if runtime else [machine.account.runtime / "runhouse"]
        nodes = [n for n in (node_in(f) for f in folders) if n]

        def others():
            return {p for p in machine.processes() - sshd.below(*nodes) if not any(w in command_of(p) for w in left)}
        self.check("nothing but the node runs there", within(5, lambda: not others()), [command_of(p) for p in others()])
        for node in nodes:
            sshd.kill([node], signal.SIGTERM)

        def rest():
            return {p for p in machine.processes() if not any(w in command_of(p) for w in left)}
        self.check("a node ends when it is told to, with all that it has", within(7, lambda: not rest()), [command_of(p) for p in rest()])
        strays = [s for s in machine.account.stray_files() if not any(re.fullmatch(p, s) for p in stray)]
        self.check("no file is left elsewhere", not strays, strays)
        if not uploads:
            self.whole_programs(machine.account.home / ".runhouse")

    def whole_programs(self, folder):
        """A folder of programs has nothing but whole ones."""
        coming = sorted(p.name for p in (folder / "incoming").glob("*"))
        self.check("nothing is left of uploads", not coming, coming)
        for each in (folder / "programs").glob("*"):
            names = {p.name for p in each.iterdir()}
            self.check("what is there is a whole program", {"program", "manifest", "used"} <= names <= {"program", "manifest", "used", "lib", "system", "whole"}, names)

    def close(self):
        self.is_over = True
        for one in self.programs:
            if one.process.poll() is None:
                one.process.kill()
        for each in reversed(self._closes):
            each()
        for machine in reversed(self.machines):
            machine.close()

    def abort(self):
        """Its time is over: whatever it waits for ends."""
        for one in self.programs:
            if one.process.poll() is None:
                one.process.kill()
        for machine in self.machines:
            sshd.kill(machine.near_processes())


def stop(server):
    """It listens no more, and what is connected breaks. Its own stop() would wait for what holds its stderr."""
    connected = server.connections()
    server.process.terminate()
    server.process.wait()
    sshd.kill(connected)


def node_in(folder):
    try:
        pid = int((folder / "node.lock").read_text())
        return pid if sshd.start_of(pid) is not None else None
    except (OSError, ValueError):
        return None


def node_of(machine):
    return node_in(machine.account.runtime / "runhouse")


# ---- all of it, where nothing goes wrong

@scenario("plain", quick=True)
def plain(t):
    m = t.machine()
    one = t.connected(m, COLOUR="red")
    size = one.shipped()[0][1] if one.shipped() else 0
    t.check("the first time all of it is copied, without its symbols", size and one.shipped() == [(size, size)] and size < os.stat(program).st_size, one.stderr)
    t.works(one)
    t.check(f"by {arguments.by}", f"] by {'libssh2: nothing' if arguments.by == 'libssh2' else 'the ssh program: '}" in one.stderr, one.stderr)
    t.check("it is this build that runs there", one.ask("build") == "1" and one.ask("padding", 12345) == "same")
    t.check("as that user, at home", one.ask("folder") == str(m.account.home), one.ask("folder"))
    t.check("with that machine's environment", one.ask("variable", "HOME") == str(m.account.home) and one.ask("variable", "COLOUR") == "(unset)")
    t.check("large values", one.ask("big", 5_000_000) == "same" and one.ask("put", 5_000_000) == "same")
    held = one.ask("held", 64_000_000).split()
    t.check("large results are whole", held[0] == "whole", held)
    if b"__asan_init" not in pathlib.Path(program).read_bytes():  # which keeps what was freed
        t.check("a large result is held once", all(0.9 < float(size) < 1.5 for size in held[1:4]), held)
        t.check("a large argument that is given away is not held twice", float(held[4]) < 0.5, held)
    t.check("results that stay", one.ask("refs", 100) == str(sum(i * i for i in range(100))))
    t.check("output comes before the outcome", one.ask("say", 2) == "[say] line 0" and one.line() == "[say] line 1" and one.line() == "2")
    t.check("exceptions", (line := one.ask("error", "so_it_is")) == "invalid_argument: so_it_is", line)
    one.tell("crash")
    lines = [one.line() for _ in range(4)]
    t.check("a worker that dies", any(line.startswith("worker_died, may have run") for line in lines) and "the last words" in lines, lines)
    path = m.account.home / "journal"
    t.check("many calls", one.ask("many", 300, path, "a") == "300 ended" and one.ask("queue", 50, path, "b") == "50 ended")
    t.once("each once", path, [f"a {i}" for i in range(300)] + [f"b {i}" for i in range(50)])
    t.check("a name", one.ask("keep", "numbers", 1000) == "kept")
    t.check("nothing is left", within(3, lambda: one.ask("usage") == "0 calls 0 values"), one.ask("usage"))
    t.check("no connection broke", one.connection == [], one.connection)
    t.ended(one)
    two = t.connected(m, which=other_build)
    t.check("another build is mostly there already", two.shipped() and 0 < two.shipped()[0][0] < size * 0.15, (two.shipped(), size))
    t.check("and is itself", two.ask("build") == "2" and two.ask("padding", 99) == "same")
    t.check("with what was kept", two.ask("get", "numbers") == str(sum(range(1, 1001))) and two.ask("forget", "numbers") == "1")
    one = t.connected(m)
    t.check("the second time nothing is copied", one.shipped() == [(0, size)], one.stderr)
    t.works(one)
    t.works(two, "two programs at a time")
    t.tidy(m)


@scenario("the program's own shared objects travel with it", quick=True)
def own_objects(t):
    m = t.machine()
    own = m.folder / "own"
    own.mkdir()
    copy = m.folder / "copy"
    # As if it had been linked with a library of its own that is called so.
    t.check("a name was changed", renamed(program, copy, b"libstdc++.so.6", b"libstdc++.so.9") == 1)
    shutil.copy(library_of(program, "libstdc++.so.6"), own / "libstdc++.so.9")
    command = ["env", f"LD_LIBRARY_PATH={own}"]
    one = t.connected(m, which=str(copy), command=command)
    t.works(one)
    t.check("exceptions too", one.ask("error", "through_it") == "invalid_argument: through_it")
    t.check("it is there", [p.name for p in (m.account.home / ".runhouse" / "programs").glob("*/lib/*")] == ["libstdc++.so.9"])
    m.server.drop()
    t.works(one, "also when the connection was away")
    with open(own / "libstdc++.so.9", "r+b") as file:
        data = file.read()
        at = data.index(b"\0basic_string::_M_create\0")
        file.seek(at + 1)
        file.write(b"Basic_string")
    two = t.connected(m, which=str(copy), command=command)
    t.check("with another library it is another program, mostly there", two.shipped() and 0 < two.shipped()[0][0] < 500_000, two.shipped())
    t.works(two)
    t.works(one, "beside the first")
    t.tidy(m)


def older_root():
    """Made once: it takes a minute or two, and the network."""
    if not arguments.older:
        raise sshd.Unavailable("an older system needs --older")
    if not sshd.makes_accounts or not shutil.which("debootstrap"):
        raise sshd.Unavailable("an older system needs root and debootstrap")
    root = pathlib.Path(arguments.older)
    root.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{root}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            new = pathlib.Path(f"{root}.new")
            shutil.rmtree(new, ignore_errors=True)
            done = subprocess.run(["debootstrap", "--variant=minbase", "--include=openssh-server", "bullseye", new, "http://deb.debian.org/debian"],
                                  capture_output=True, text=True)
            if done.returncode != 0:
                raise sshd.Unavailable(f"debootstrap: {(done.stdout + done.stderr)[-300:]}")
            new.rename(root)
    return root


@scenario("an older system", seconds=600)
def older_system(t):
    m = t.machine(root=str(older_root()))
    t.check("it is older", "2.31" in m.ssh("getconf GNU_LIBC_VERSION").stdout)
    one = t.connected(m, seconds=60)
    t.works(one)
    t.check("large values", one.ask("big", 5_000_000) == "same")
    t.check("exceptions", one.ask("error", "through_it") == "invalid_argument: through_it")
    t.check("what it starts does not see its libraries", one.ask("variable", "LD_LIBRARY_PATH") == "(unset)")
    programs = m.account.home / ".runhouse" / "programs"
    t.check("its libraries and loader are there", len(list(programs.glob("*/system/loader"))) == 1 and list(programs.glob("*/system/libc.so.6")))
    m.server.drop()
    t.works(one, "also when the connection was away")
    two = t.connected(m, "once more")
    t.check("then nothing is copied", two.shipped() and two.shipped()[0][0] == 0, two.shipped())
    t.works(two)
    three = t.connected(m, "another build", seconds=60, which=other_build)
    t.check("of which little is copied", three.shipped() and three.shipped()[0][0] < three.shipped()[0][1] / 2, three.shipped())
    t.works(three)
    # With a library of its own beside those of the system.
    own = m.folder / "own"
    own.mkdir()
    copy = m.folder / "copy"
    renamed(program, copy, b"libstdc++.so.6", b"libstdc++.so.9")
    shutil.copy(library_of(program, "libstdc++.so.6"), own / "libstdc++.so.9")
    four = t.connected(m, "with a shared object of its own", seconds=60, which=str(copy), command=["env", f"LD_LIBRARY_PATH={own}"])
    t.works(four)
    t.check("exceptions through it", four.ask("error", "through_it") == "invalid_argument: through_it")
    t.tidy(m)


@scenario("a program that is linked anew while it runs")
def relinked(t):
    m = t.machine()
    copy = m.folder / "copy"
    shutil.copy(program, copy)
    one = t.connected(m, which=str(copy))
    shutil.copy(other_build, m.folder / "new")
    os.rename(m.folder / "new", copy)
    m.server.drop()
    t.check("it goes on as what it is", one.ask("add", 1, 2) == "3" and one.ask("build") == "1", one.connection)
    t.check("also after a restart", one.ask("restart") == "restarted" and one.ask("connect") == "connected" and one.ask("build") == "1", one.stderr)
    two = t.connected(m, which=str(copy))
    t.check("and the next one is the new one", two.ask("build") == "2")
    m.add_host("again", m.server.port)
    t.check("one program on two names", one.ask("connect", "again") == "connected" and one.ask("build") == "1", one.stderr)
    t.tidy(m)


@scenario("many programs at once on a host that has nothing", seconds=60)
def many_programs(t):
    m = t.machine()  # which, as all, refuses some of more than 10 logins at a time
    programs = [t.start(m, which=other_build if i % 4 == 3 else program) for i in range(14)]
    got = [p.line(40) for p in programs]
    t.check("all connect", got == ["connected"] * 14, (got, [p.stderr for p in programs]))
    t.check("each runs its own build", [p.ask("build") for p in programs] == ["2" if i % 4 == 3 else "1" for i in range(14)])
    t.check("by one node", len([p for p in m.processes() if "runhouse-node" in command_of(p)]) == 1)
    path = m.account.home / "journal"
    for i, each in enumerate(programs):
        each.tell("many", 50, path, f"p{i}")
    t.check("all work", [p.line(30) for p in programs] == ["50 ended"] * 14)
    t.once("once", path, [f"p{i} {k}" for i in range(14) for k in range(50)])
    m.server.drop()
    t.check("and all come back at once", [p.ask("add", i, 1, seconds=30) for i, p in enumerate(programs)] == [str(i + 1) for i in range(14)], [p.connection for p in programs])
    t.tidy(m)


@scenario("what was not used for long is removed")
def swept(t):
    m = t.machine()
    first = t.connected(m)
    t.ended(first)
    folder = m.account.home / ".runhouse"
    (old,) = (folder / "programs").iterdir()
    kept = folder / "programs" / ("ab" * 32)
    shutil.copytree(old, kept)
    day = 24 * 3600
    for path, days in ((old / "used", 31), (kept / "used", 29)):
        os.utime(path, (time.time() - days * day,) * 2)
    for name, days in (("cd" * 32 + "-" + "1" * 32, 2), ("ef" * 32 + "-" + "2" * 32, 0.5)):
        (folder / "incoming" / name).mkdir()
        (folder / "incoming" / name / "data").write_bytes(b"x")
        for each in (folder / "incoming" / name / "data", folder / "incoming" / name):
            os.utime(each, (time.time() - days * day,) * 2)
    for each in folder.rglob("*"):
        os.chown(each, m.account.uid, m.account.gid)
    two = t.connected(m, which=other_build)
    t.works(two)
    left = {p.name for p in (folder / "programs").iterdir()}
    t.check("a program of a month ago is", old.name not in left, left)
    t.check("one of last month is not", kept.name in left, left)
    coming = [p.name[:2] for p in (folder / "incoming").iterdir()]
    t.check("nor an upload of today", coming == ["ef"], coming)
    t.tidy(m, uploads=True)


@scenario("a progress line on a terminal")
def progress_line(t):
    m = t.machine(through_proxy=True)
    m.proxy.each = [Fault("rate", "up", amount=4e6, seconds=FOR_EVER)]
    ours, theirs = os.openpty()
    one = t.connected(m, stderr=theirs)
    os.close(theirs)
    t.works(one)
    t.ended(one)
    said = b""
    try:
        while piece := os.read(ours, 65536):
            said += piece
    except OSError:
        pass
    os.close(ours)
    t.check("it says how far the copy has come", b"\r[far] copying this program: " in said and b" MB" in said, said[-300:])
    t.tidy(m)


@scenario("restart", quick=True)
def restart(t):
    m = t.machine()
    one = t.connected(m)
    two = t.connected(m)
    before = node_of(m)
    t.check("a value", one.ask("keep", "gone", 10) == "kept")
    t.check("the node is ended", (line := one.ask("restart")) == "restarted" and sshd.start_of(before) is None, line)
    t.check("the next connect starts another", one.ask("connect") == "connected" and node_of(m) not in (None, before))
    t.check("which has nothing of what it had", (line := one.ask("get", "gone")).startswith("unknown_name"), line)
    t.check("other programs are told", (line := two.ask("add", 1, 1)).startswith("node_lost") and two.connection, (line, two.connection))
    t.check("and may connect again", two.ask("connect") == "connected" and two.ask("add", 1, 1) == "2")
    t.check("it was no crash", "crashed" not in one.stderr + two.stderr, (one.stderr, two.stderr))
    t.check("restart where no node runs", node_of(m) is not None and two.ask("restart") == "restarted" and two.ask("restart") == "restarted" and two.ask("connect") == "connected")
    t.tidy(m)


@scenario("programs that end as soon as they can", quick=True)
def short_programs(t):
    m = t.machine()
    ended = collections.Counter()
    for _ in range(40):
        done = subprocess.run([program, m.host], input="add 1 2\n", env=m.environment(**by), capture_output=True, text=True, timeout=30)
        ended[(done.returncode, done.stdout)] += 1
    t.check("each ends well", ended == {(0, "connected\n3\n"): 40}, ended)
    t.tidy(m)


@scenario("a program that is killed", quick=True)
def killed_program(t):
    m = t.machine()
    one = t.connected(m)
    path = m.account.home / "journal"
    one.tell("stay", 1, path, 2000)
    t.check("a call began", within(5, lambda: lines_of(path) == ["began 0"]))
    one.kill()
    t.check("its ssh ends", within(3, lambda: not m.near_processes()), [command_of(p) for p in m.near_processes()])
    t.check("what it ran goes on for the time in which it could come back", within(5, lambda: lines_of(path) == ["began 0", "ended 0"]), lines_of(path))
    t.works(t.connected(m), "the next one")
    t.tidy(m)


@scenario("interrupted while it connects")
def interrupted(t):
    m = t.machine()
    slow = t.line(m.server)
    slow.each = [Fault("rate", "up", amount=100e3, seconds=FOR_EVER)]
    m.add_host("slow", slow.port, server=m.server)
    for host in ("silent", "slow"):
        one = t.start(m, host=host)
        if host == "slow":
            t.check("an upload is under way", within(10, lambda: any(data.stat().st_size > 65536
                                                                               for data in (m.account.home / ".runhouse" / "incoming").glob("*/data"))))
        else:
            within(5, lambda: m.near_processes() - {one.process.pid})
        one.process.send_signal(signal.SIGINT)
        begun = time.monotonic()
        one.end()
        t.check(f"Ctrl-C ends a program that connects to {host}", time.monotonic() - begun < 3, time.monotonic() - begun)
        t.check("and its ssh", within(3, lambda: not m.near_processes()), [command_of(p) for p in m.near_processes()])
    t.check("nothing goes on there", within(5, lambda: not m.processes()), [command_of(p) for p in m.processes()])
    one = t.connected(m)
    t.check("the next one goes on with what has come", one.shipped() and one.shipped()[0][0] < one.shipped()[0][1], one.shipped())
    t.works(one)
    t.tidy(m)


# ---- what networks do: point 3

FOLDER_VARIABLE = "RUNHOUSE_REMOTE_FOLDER"
LOGIN_BYTES = 64 * 1024       # what a login, and the script that it runs, take at most
UNDER_WAY_BYTES = 2304 * 1024  # in ssh, sshd and the pipe behind it, which end with the connection: a channel's window is 2 MiB


def upload_cut_at(t, m, line, host, offset, size):
    """Ships the program anew, through a line that breaks once, behind so many bytes."""
    folder = m.account.home / f"up-{offset}"
    begin = len(line.of_all)
    line.following = [Fault("cut", "both" if offset % 3 else "up", bytes=offset)]
    one = t.start(m, host=host, **{FOLDER_VARIABLE: folder.name})
    connected = one.line(30)
    t.check(f"cut at {offset}: it connects", connected == "connected", (connected, one.stderr))
    t.check(f"cut at {offset}: and works", one.ask("padding", offset) == "same" and one.ask("add", 1, 2) == "3", one.stderr)
    t.ended(one)
    connections = len(line.of_all) - begin
    t.check(f"cut at {offset}: and was cut once", connections == 2, connections)
    up = line.up_bytes(begin)
    t.check(f"cut at {offset}: nothing was sent twice but what was under way", up < size + LOGIN_BYTES * connections + UNDER_WAY_BYTES, (up, size))
    t.whole_programs(folder)
    shutil.rmtree(folder)
    t.programs.remove(one)


def cut_uploads(t, every):
    m = t.machine()
    # A node outlives them all, so that they do not each start one.
    first = t.connected(m)
    size = first.shipped()[0][1]
    # What sshd holds is lost with the connection; it holds little where the network is slower than the disk.
    on_lines(t, m, [Fault("rate", "up", amount=20e6, seconds=FOR_EVER)], range(1, size + LOGIN_BYTES // 2, every),
             lambda line, host, offset: upload_cut_at(t, m, line, host, offset, size))
    t.works(first)
    t.tidy(m)


def on_lines(t, m, faults, items, f):
    """f(line, host, item) for each, some at a time."""
    items, failures = list(items), []

    def take_share(line, host, share):
        try:
            for item in share:
                if not t.is_over:
                    f(line, host, item)
        except BaseException:
            failures.append(traceback.format_exc())
    threads = []
    for i in range(3):
        line = t.line(m.server)
        line.each = list(faults)
        m.add_host(f"line{i}", line.port, server=m.server)
        threads.append(threading.Thread(target=take_share, args=(line, f"line{i}", items[i::3])))
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    t.check("all of it runs to its end", not failures, failures)


def login_cut_at(t, m, line, host, place):
    """Connects through a line that breaks once within the login, and comes back through one that does."""
    direction, offset = place
    what = f"cut {direction} at {offset}"
    path = m.account.home / f"journal-{direction}-{offset}"
    begin = len(line.of_all)
    line.following = [Fault("cut", direction, bytes=offset)]
    one = t.start(m, host=host)
    if not t.check(f"{what}: it connects", (got := one.line(30)) == "connected", (got, one.stderr)):
        return
    line.following = [Fault("cut", direction, bytes=offset)]
    one.tell("many", 50, path, "a")
    line.arm(Fault("cut", "both"))
    t.check(f"{what}: it comes back", (got := one.line(30)) == "50 ended", (got, one.connection))
    t.once(f"{what}: and runs once", path, [f"a {k}" for k in range(50)])
    t.check(f"{what}: it was cut", len(line.of_all) - begin >= 2)
    t.ended(one)
    t.programs.remove(one)


@scenario("a login is cut, at many places", seconds=100)
def cut_logins(t):
    m = t.machine()
    first = t.connected(m)
    on_lines(t, m, [], [("up", n) for n in range(1, 28_000, 1250)] + [("down", n) for n in range(1, 5000, 250)],
             lambda line, host, place: login_cut_at(t, m, line, host, place))
    t.works(first)
    t.tidy(m)


@scenario("an upload is cut, at some places", quick=True, seconds=40)
def some_cut_uploads(t):
    cut_uploads(t, 640 * 1024)


@scenario("an upload is cut, at every 64 KiB", seconds=150)
def all_cut_uploads(t):
    cut_uploads(t, 64 * 1024)


@scenario("an upload is cut again and again", seconds=60)
def often_cut_upload(t):
    m = t.machine()
    line = t.line(m.server)
    m.add_host("often", line.port, server=m.server)
    line.each = [Fault("cut", "up", bytes=512 * 1024)]
    begun = time.monotonic()
    one = t.start(m, host="often")
    got = one.line(50)
    took = time.monotonic() - begun
    t.check("it gets through", got == "connected", (got, one.stderr))
    line.each = []
    connections = len(line.of_all)
    t.check("by many connections", connections > 8, connections)
    size = one.shipped()[0][1] if one.shipped() else 0
    most = size + connections * (LOGIN_BYTES + UNDER_WAY_BYTES)
    t.check("nothing was sent twice but what was under way", size <= line.up_bytes() < most, (line.up_bytes(), size, connections))
    t.check("without pauses as long as for a host that is away", took < connections * 1.5, (took, connections))
    t.works(one)
    t.tidy(m)


@scenario("an upload that was left is gone on with by another program", quick=True)
def left_upload(t):
    m = t.machine()
    line = t.line(m.server)
    m.add_host("slow", line.port, server=m.server)
    for changes in (False, True):
        line.each = [Fault("stall", "up", bytes=2_500_000, seconds=FOR_EVER)]
        one = t.start(m, host="slow")
        coming = m.account.home / ".runhouse" / "incoming"
        t.check("an upload is under way", within(10, lambda: any(p.stat().st_size > 2_000_000 for p in coming.glob("*/data"))), list(coming.glob("*/*")))
        line.each = []
        one.kill()
        line.arm(Fault("reset", "both"))  # its ssh could not say that it ends
        t.check("its end ends what runs there", within(6, lambda: not m.processes()), [command_of(p) for p in m.processes()])
        if changes:
            for data in coming.glob("*/data"):
                with open(data, "r+b") as file:
                    file.seek(1_000_000)
                    file.write(b"not what it was")
        two = t.connected(m)
        sent, size = two.shipped()[0] if two.shipped() else (0, 0)
        if changes:
            t.check("what was changed meanwhile is copied again", sent > size, (sent, size))
        else:
            t.check("what was there is not copied again", 0 < sent < size - 1_900_000, (sent, size))
        t.check("it works", two.ask("padding", 7) == "same" and two.ask("padding", 300_000) == "same")
        t.check("restart", two.ask("restart") == "restarted")
        t.ended(two)
        t.whole_programs(m.account.home / ".runhouse")
        if not changes:
            shutil.rmtree(m.account.home / ".runhouse")
    t.tidy(m)


@scenario("a connection breaks while calls run", quick=True, seconds=60)
def broken_connections(t):
    m = t.machine(through_proxy=True)
    one = t.connected(m)
    path = m.account.home / "journal"
    faults = [Fault("cut", "both"), Fault("cut", "up", bytes=3000), Fault("cut", "down", bytes=3000), Fault("reset", "both"),
              Fault("reset", "up", bytes=9000), Fault("half_close", "up"), Fault("half_close", "down"), Fault("half_close", "up", bytes=5000),
              Fault("stall", "both", seconds=1.5), Fault("flip", "up", bytes=4000), Fault("flip", "down", bytes=4000)]
    tags = []
    for i, fault in enumerate(faults):
        told = len(one.connection)
        one.tell("many", 400, path, f"f{i}")
        tags += [f"f{i} {k}" for k in range(400)]
        if fault.is_now:
            within(5, lambda: len(lines_of(path)) > len(tags) - 390)
        m.proxy.arm(fault)
        line = one.line(30)
        t.check(f"{fault.kind} {fault.direction} {fault.bytes}: all end", line == "400 ended", (line, one.connection[told:]))
        m.proxy.calm()
        t.works(one, f"{fault.kind} {fault.direction} {fault.bytes}: and it goes on")
    t.once("each ran once", path, tags)
    lost, resumed = (sum(c.startswith(f"connection {w}") for c in one.connection) for w in ("lost", "resumed"))
    t.check("each loss is told, and each return", lost == resumed and 5 <= lost <= len(faults), one.connection)
    told = len(one.connection)
    one.tell("big", 20_000_000)
    m.proxy.arm(Fault("cut", "up", bytes=8_000_000))
    t.check("a large argument survives", one.line(30) == "same" and len(one.connection) > told, one.connection[told:])
    told = len(one.connection)
    one.tell("big", 20_000_000)
    m.proxy.arm(Fault("cut", "down", bytes=8_000_000))
    t.check("a large result survives", one.line(30) == "same" and len(one.connection) > told, one.connection[told:])
    t.tidy(m)


@scenario("sshd's process for the connection is killed", quick=True)
def killed_servers(t):
    m = t.machine()
    one = t.connected(m)
    path = m.account.home / "journal"
    tags = []
    for i in range(4):
        one.tell("many", 300, path, f"k{i}")
        tags += [f"k{i} {k}" for k in range(300)]
        within(5, lambda: len(lines_of(path)) > len(tags) - 290)
        m.server.drop()
        t.check("all calls end", (line := one.line(20)) == "300 ended", (line, one.connection, one.stderr))
    t.once("each ran once", path, tags)
    slow = m.account.home / "slow"
    one.tell("stay", 4, slow, 400)
    within(5, lambda: len(lines_of(slow)) >= 1)
    m.server.drop()
    t.check("slow ones too", one.line(20) == "4 ended")
    t.once("once", slow, [f"{w} {k}" for w in ("began", "ended") for k in range(4)])
    t.check("a call while there is no connection", (m.server.drop(), one.ask("add", 1, 2))[1] == "3")
    t.check("it was told of all", sum(c.startswith("connection resumed") for c in one.connection) == 6, one.connection)
    for each in sorted(m.near_processes() - {one.process.pid}):
        sshd.kill([each])
    t.check("the same where this side's ssh is killed", one.ask("add", 3, 4) == "7", one.connection)
    t.tidy(m)


@scenario("connections break at random", seconds=90)
def random_breaks(t):
    m = t.machine(through_proxy=True)
    path = m.account.home / "journal"
    programs = [t.connected(m) for _ in range(3)]
    tags, end, failures = [[], [], []], time.monotonic() + 25, []

    def work(i):
        chance, one, round_ = random.Random(arguments.seed * 10 + i), programs[i], 0
        while time.monotonic() < end:
            round_ += 1
            what = chance.choice(["many", "many", "queue", "big", "put", "refs", "say"])
            if what in ("many", "queue"):
                count, tag = chance.randrange(1, 400), f"p{i}r{round_}"
                tags[i] += [f"{tag} {k}" for k in range(count)]
                expected = f"{count} ended"
                got = one.ask(what, count, path, tag, seconds=40)
            elif what in ("big", "put"):
                expected = "same"
                got = one.ask(what, chance.randrange(1000, 8_000_000), seconds=40)
            elif what == "refs":
                count = chance.randrange(1, 200)
                expected = str(sum(k * k for k in range(count)))
                got = one.ask("refs", count, seconds=40)
            else:
                count = chance.randrange(1, 50)
                expected = str(count)
                one.tell("say", count)
                lines = [one.line(40)]
                while lines[-1] and lines[-1] != expected:
                    lines.append(one.line(40))
                got = lines.pop()
                if lines != [f"[say] line {k}" for k in range(count)]:
                    failures.append((i, "say", lines, one.connection[-2:]))
            if got != expected:
                failures.append((i, what, got, expected, one.connection[-3:]))
                return
    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for each in threads:
        each.start()
    chance, done = random.Random(arguments.seed), collections.Counter()
    while any(each.is_alive() for each in threads) and not t.is_over:
        time.sleep(chance.uniform(0.05, 1.0))
        what = chance.choice(["cut", "cut", "cut", "reset", "half_close", "flip", "stall", "drop", "ssh"])
        done[what] += 1
        if time.monotonic() > end - 2:
            m.proxy.calm()
        elif what == "drop":
            m.server.drop()
        elif what == "ssh":
            sshd.kill(list(m.near_processes() - {p.process.pid for p in programs})[:1])
        else:
            place = None if chance.random() < 0.3 else int(10 ** chance.uniform(0, 6.5))
            m.proxy.arm(Fault(what, chance.choice(["up", "down", "both"]), bytes=place, seconds=chance.uniform(0.1, 1)))
    for each in threads:
        each.join()
    t.check("all calls end as they should", not failures, failures)
    t.once("each ran once", path, [tag for each in tags for tag in each])
    t.check("nothing is left", all(within(5, lambda p=p: p.ask("usage") == "0 calls 0 values") for p in programs), [p.ask("usage") for p in programs])
    lost = sum(sum(c.startswith("connection lost") for c in p.connection) for p in programs)
    t.check("connections broke", lost > 20, (lost, done))
    say(f"at random: {sum(map(len, tags))} calls, {lost} connections lost, seed {arguments.seed}")
    t.tidy(m)


@scenario("a black hole", seconds=100)
def black_hole(t):
    m = t.machine(through_proxy=True)
    one = t.connected(m)
    path = m.account.home / "journal"
    one.tell("stay", 2, path, 1000)
    within(5, lambda: len(lines_of(path)) >= 1)
    m.proxy.arm(Fault("stall", "both", seconds=FOR_EVER))
    begun = time.monotonic()
    line = one.line(90)
    took = time.monotonic() - begun
    t.check("it is noticed, and the calls end", line == "2 ended", (line, one.connection))
    t.check("within a minute, by 3 questions without an answer", 30 < took < 65, took)
    t.once("they ran once", path, [f"{w} {k}" for w in ("began", "ended") for k in range(2)])
    t.check("the connection is another", m.proxy.accepted == 2 and len(one.connection) == 2, one.connection)
    t.works(one)
    # The old connection's far end does not know yet that it is over.
    t.check("only one of them serves", one.ask("big", 3_000_000) == "same")
    m.proxy.arm(Fault("cut", "both"))
    t.check("when it ends nothing changes", within(5, lambda: m.proxy.connection_count() == 1) and one.ask("add", 4, 4) == "8", one.connection)
    t.tidy(m)


@scenario("a black hole while the program is copied", seconds=110)
def black_hole_upload(t):
    m = t.machine(through_proxy=True)
    m.proxy.arm(Fault("stall", "both", bytes=2_000_000, seconds=FOR_EVER))
    begun = time.monotonic()
    one = t.start(m)
    line = one.line(100)
    took = time.monotonic() - begun
    t.check("it is noticed, and gone on with", line == "connected" and 20 < took < 75, (line, took, one.stderr))
    sent, size = one.shipped()[0] if one.shipped() else (0, 0)
    t.check("with what had not come", 0 < sent < size - 1_500_000, (sent, size))
    t.works(one)
    m.proxy.arm(Fault("cut", "both"))
    t.works(one, "also when the old connection is gone")
    t.tidy(m)


@scenario("a network that is far away, or narrow", seconds=80)
def slow_network(t):
    m = t.machine(through_proxy=True)
    m.proxy.each = [Fault("delay", "both", amount=0.25, seconds=FOR_EVER)]
    begun = time.monotonic()
    one = t.connected(m, "250 ms each way")
    took = time.monotonic() - begun
    t.check("the first use takes a dozen round trips", took < 12, took)
    begun = time.monotonic()
    t.works(one)
    t.check("a call takes one", 0.4 < time.monotonic() - begun < 0.9, time.monotonic() - begun)
    path = m.account.home / "journal"
    begun = time.monotonic()
    t.check("many take little more", one.ask("many", 200, path, "a") == "200 ended" and time.monotonic() - begun < 2.5, time.monotonic() - begun)
    begun = time.monotonic()
    t.check("as does a call of results that stay", one.ask("refs", 50) == str(sum(i * i for i in range(50))) and time.monotonic() - begun < 1.5, time.monotonic() - begun)
    m.proxy.arm(Fault("cut", "both"))
    t.check("it survives a cut", one.ask("many", 200, path, "b") == "200 ended")
    t.once("each once", path, [f"{w} {k}" for w in "ab" for k in range(200)])
    t.ended(one)
    m.proxy.each = [Fault("rate", "both", amount=125e3, seconds=FOR_EVER)]
    begun = time.monotonic()
    one = t.connected(m, "1 Mbit/s")
    t.check("what is there is not copied", time.monotonic() - begun < 6, time.monotonic() - begun)
    t.check("a value that takes seconds", one.ask("big", 300_000) == "same")
    one.tell("big", 600_000)
    t.check("and goes on", one.line(30) == "same")
    two = t.start(m, which=other_build)
    t.check("a small upload at that rate", (line := two.line(30)) == "connected", (line, two.stderr))
    m.proxy.calm()
    t.works(two)
    t.tidy(m)


@scenario("MaxSessions and MaxStartups")
def few_sessions(t):
    m = t.machine(server=["MaxSessions 1", "MaxStartups 1:100:1", "LoginGraceTime 60"])
    one = t.connected(m, "MaxSessions 1")
    two = t.connected(m, "for two programs")
    t.works(one)
    t.works(two)
    # One that does not log in takes the only place.
    held = socket.create_connection(("127.0.0.1", m.server.port))
    held.recv(100)
    three = t.start(m)
    time.sleep(0.8)
    held.close()
    t.check("MaxStartups: it waits for its turn", (line := three.line(15)) == "connected", (line, three.stderr))
    t.works(three)
    held = socket.create_connection(("127.0.0.1", m.server.port))
    held.recv(100)
    path = m.account.home / "journal"
    one.tell("stay", 1, path, 300)
    within(5, lambda: len(lines_of(path)) >= 1)
    for pid in [p for p in m.near_processes() if "ssh -F" in command_of(p) or command_of(p).startswith("/usr/bin/ssh")]:
        sshd.kill([pid])
    time.sleep(1.2)
    held.close()
    t.check("also to come back", one.line(20) == "1 ended", one.connection)
    t.once("and runs once", path, ["began 0", "ended 0"])
    t.works(two)
    t.works(three)
    held = socket.create_connection(("127.0.0.1", m.server.port))
    held.recv(100)
    t.refused("one that never gets in", t.start(m), "host_unreachable", seconds=25)
    held.close()
    t.tidy(m)


# ---- what people have: point 4

NOISE = "echo Welcome; printf '\\033[31m\\000\\001\\377\\n  #!RH \\r'; echo on stderr >&2; printf 'no newline'\n"


@scenario("start-up files", quick=True)
def start_up_files(t):
    m = t.machine(files={".bashrc": NOISE})
    t.works(t.connected(m, "one that prints, also no text"))
    m.account.write({".bashrc": "head -c 300000 /dev/urandom\n"})
    t.works(t.connected(m, "one that prints much"))
    m.account.write({".bashrc": "sleep 3\n"})
    begun = time.monotonic()
    t.works(t.connected(m, "one that takes 3 s"))
    t.check("costs 3 s", time.monotonic() - begun < 4.5, time.monotonic() - begun)
    m.account.write({".bashrc": "read x\n"})
    t.works(t.connected(m, "one that reads a line"))
    m.account.write({".bashrc": "exit 0\n"})
    t.refused("one that exits", t.start(m), "node_not_started", "exit", "start-up files", seconds=5)
    m.account.write({".bashrc": "echo nothing for you >&2; exit 7\n"})
    t.refused("one that exits with an error", t.start(m), "node_not_started", "7", "nothing for you", seconds=5)
    m.account.write({".bashrc": "umask 000; set -eu; cd /; exec 3</dev/null; export LC_ALL=nowhere CDPATH=/ GREP_OPTIONS=-v ENV=/nowhere; alias head=false; unset PATH\nPATH=/usr/bin:/bin\n"})
    t.works(t.connected(m, "one that changes much"))
    m.account.write({".bashrc": "sleep 30 &\n"})
    one = t.connected(m, "one that leaves a process behind")
    t.works(one)
    begun = time.monotonic()
    t.ended(one)
    t.check("which is not waited for", time.monotonic() - begun < 2, time.monotonic() - begun)
    t.tidy(m, left=["sleep 30"])


@scenario("start-up files that hang", seconds=100)
def hanging_files(t):
    m = t.machine(files={".bashrc": "cat >/dev/null\n"})
    other = t.machine(files={".bashrc": "sleep 1000\n"})
    one, two = t.start(m), t.start(other)
    t.refused("one that reads all", one, ("node_not_started", "host_unreachable", "timed_out"), seconds=75)
    t.refused("one that takes for ever", two, ("node_not_started", "host_unreachable", "timed_out"), seconds=75)
    t.check("nothing is left here", within(3, lambda: not m.near_processes() | other.near_processes()),
            [command_of(p) for p in m.near_processes() | other.near_processes()])
    t.check("nor there, of the one that reads", within(5, lambda: not m.processes()), [command_of(p) for p in m.processes()])
    # The other does not look at its input, so it does not see that nobody is there any more.


SHELLS = {
    "/bin/bash": {".bashrc": NOISE},
    "/bin/dash": {".profile": NOISE},
    "/usr/bin/zsh": {".zshenv": NOISE},
    "/usr/bin/fish": {".config/fish/config.fish": "echo Welcome; echo on stderr >&2; printf 'no newline'\n"},
    "/bin/csh": {".cshrc": "echo Welcome; echo -n 'no newline'\n"},
    "/usr/bin/tcsh": {".tcshrc": "echo Welcome; echo -n 'no newline'\n"},
}


@scenario("what a login sets")
def login_environment(t):
    m = t.machine(files={".profile": "echo from the profile; export FROM_PROFILE=yes; PATH=$PATH:/from/profile\n"})
    one = t.connected(m)
    t.check("functions have it", one.ask("variable", "FROM_PROFILE") == "yes" and one.ask("variable", "PATH").endswith("/from/profile"))
    t.check("and nothing of ours", one.ask("variable", "RUNHOUSE_BRIDGE") == "(unset)" and one.ask("variable", "SSH_CONNECTION") != "")
    t.check("restart", one.ask("restart") == "restarted")
    m.account.write({".profile": "exec sleep 1000\n"})
    begun = time.monotonic()
    t.check("one that hangs is given up", one.ask("connect", seconds=25) == "connected" and 5 < time.monotonic() - begun < 15, time.monotonic() - begun)
    t.works(one)
    t.tidy(m)


@scenario("login shells")
def login_shells(t):
    if not sshd.is_root:
        return t.skip("another login shell needs root")
    for shell, files in SHELLS.items():
        if not os.path.exists(shell):
            t.check(f"{shell} is installed", False)
            continue
        m = t.machine(shell=shell, files=files)
        one = t.connected(m, shell)
        t.works(one, shell)
        t.check(f"{shell}: large values", one.ask("big", 1_000_000) == "same")
        t.tidy(m)
    for shell in ("/usr/sbin/nologin", "/bin/false"):
        m = t.machine(shell=shell)
        t.refused(shell, t.start(m), "node_not_started", "login shell", seconds=5)


@scenario("homes", seconds=60)
def homes(t):
    if not sshd.is_root:
        return t.skip("a file system of its own needs root")
    for what, home, says in (("on another file system", sshd.Tmpfs(), None),
                             ("read-only", sshd.Tmpfs(read_only=True), ["read-only"]),
                             ("full", sshd.Tmpfs(size="1m", full=True), ["room"]),
                             ("too small", sshd.Tmpfs(size="3m"), ["needed", "room"]),
                             ("without inodes", sshd.Tmpfs(inodes=2), ["room"]),
                             ("noexec", sshd.Tmpfs(options="noexec"), ["may not run"])):
        m = t.machine(home=home)
        if says is None:
            t.works(t.connected(m, what))
            t.tidy(m)
            continue
        t.refused(f"a home that is {what}", t.start(m), "shipping_failed", FOLDER_VARIABLE, str(m.account.home), *says, seconds=5)
        t.check(f"{what}: before anything runs", node_of(m) is None)
        t.check(f"{what}: and nothing goes on", within(5, lambda: not m.processes()), [command_of(p) for p in m.processes()])
        if what == "noexec":
            t.check("and before it is copied", not list((m.account.home / ".runhouse" / "programs").glob("*")))
        if what == "too small":
            left = sum(f.stat().st_size for f in m.account.home.rglob("*") if f.is_file())
            t.check("and before it is copied", left < 200_000, left)
        elsewhere = m.account.own_folder(m.account.folder / "elsewhere")
        one = t.connected(m, f"{what}: another folder", **{FOLDER_VARIABLE: str(elsewhere / "programs of this user")})
        t.works(one, f"{what}: works")
        t.check(f"{what}: also to come back", (m.server.drop(), one.ask("add", 1, 1))[1] == "2", one.connection)
        t.whole_programs(elsewhere / "programs of this user")
        t.tidy(m, uploads=True)


@scenario("a disk that fills up while the program is copied")
def filling_disk(t):
    if not sshd.is_root:
        return t.skip("a file system of its own needs root")
    m = t.machine(home=sshd.Tmpfs(size="16m"), through_proxy=True)
    m.proxy.each = [Fault("stall", "up", bytes=1_500_000, seconds=1.5)]
    one = t.start(m)
    t.check("an upload is under way", within(10, lambda: list((m.account.home / ".runhouse" / "incoming").glob("*/data"))))
    m.account.fill()
    t.refused("it is said", one, "shipping_failed", FOLDER_VARIABLE, "room", seconds=10)
    t.check("nothing goes on there", within(6, lambda: not m.processes()), [command_of(p) for p in m.processes()])
    (m.account.home / "full").unlink()
    m.proxy.each = []
    t.works(t.connected(m, "with room again it goes on"))
    t.tidy(m)


@scenario("folders that are not as they should be")
def odd_folders(t):
    m = t.machine()
    home = m.account.home
    (home / ".runhouse").symlink_to(home)
    os.lchown(home / ".runhouse", m.account.uid, m.account.gid)
    t.refused("a symbolic link", t.start(m), "shipping_failed", "symbolic link", seconds=5)
    (home / ".runhouse").unlink()
    m.account.own_folder(home / ".runhouse", 0o777)
    (home / ".runhouse").chmod(0o777)
    t.refused("one in which others may write", t.start(m), "shipping_failed", "chmod", seconds=5)
    (home / ".runhouse").chmod(0o700)
    t.works(t.connected(m, "as it should be"))
    (program_folder,) = (home / ".runhouse" / "programs").iterdir()
    (program_folder / "program").unlink()
    (program_folder / "program").write_bytes(b"")
    one = t.start(m)
    line = one.line(10)
    t.check("a program there that is damaged is copied again, or said to be", line == "connected" or "_" in line.split(",")[0], (line, one.stderr))
    one.end()
    shutil.rmtree(home / ".runhouse")
    one = t.connected(m, "a folder that was removed while the node runs")
    t.works(one)
    shutil.rmtree(home / ".runhouse")
    line = (m.server.drop(), one.ask("add", 1, 1))[1]
    t.check("and while a connection is away: it comes back or is lost, and that is said", line == "2" or line.startswith("node_lost"), line)
    t.tidy(m)
    if sshd.is_root:
        m = t.machine()
        theirs = m.account.home / ".runhouse"
        theirs.mkdir(mode=0o755)
        t.refused("a folder of another user's", t.start(m), "shipping_failed", "another user", seconds=5)


@scenario("a small /tmp")
def small_tmp(t):
    if not sshd.is_root:
        return t.skip("another /tmp needs root")
    m = t.machine(tmp=sshd.Tmpfs(size="256k", full=True))
    one = t.connected(m, "a full /tmp, and a run folder elsewhere")
    t.check("works", one.ask("add", 1, 2) == "3" and one.ask("big", 3_000_000) == "same")
    t.tidy(m)
    m = t.machine(tmp=sshd.Tmpfs(size="256k"), environment={"XDG_RUNTIME_DIR": None})
    one = t.connected(m, "a small /tmp with the run folder in it")
    t.check("is enough", one.ask("add", 1, 2) == "3" and one.ask("big", 3_000_000) == "same")
    t.ended(one)
    t.check("the node is the only one left", within(5, lambda: all("runhouse" in command_of(p) or p in sshd.below(*m.processes()) for p in m.processes())))
    m.account.end_processes()
    m = t.machine(tmp=sshd.Tmpfs(size="64k", full=True), environment={"XDG_RUNTIME_DIR": None})
    t.refused("a full /tmp with the run folder in it", t.start(m), ("run_folder", "node_not_started"), "/tmp/runhouse-", seconds=15)
    t.check("nothing is left there", within(5, lambda: not m.processes()), [command_of(p) for p in m.processes()])


@scenario("no XDG_RUNTIME_DIR", quick=True)
def no_runtime(t):
    if not sshd.is_root:
        return t.skip("this user's own node would be in the way")
    m = t.machine(environment={"XDG_RUNTIME_DIR": None})
    one = t.connected(m)
    t.works(one)
    folder = pathlib.Path(f"/tmp/runhouse-{m.account.uid}")
    t.check("the node's folder is in /tmp", node_in(folder) is not None)
    m.server.drop()
    t.works(one, "and is found again")
    t.tidy(m, runtime=folder, stray=[str(folder)])


@scenario("a name that is two hosts in turn", seconds=60)
def two_hosts(t):
    if not sshd.is_root:
        return t.skip("another host name needs root")
    m = t.machine(hostname="node-a")
    runtime = m.account.own_folder(m.account.folder / "run-b")
    other = m.add_server("two", hostname="node-b", environment={"XDG_RUNTIME_DIR": str(runtime)})
    line = m.add_line([m.server, other])
    m.add_host("either", line.port)
    m.add_host("the same", line.port, server=other)  # so that the keys of both are known
    one = t.connected(m, host="either")
    two = t.connected(m, host="either")
    names = {one.ask("host"), two.ask("host")}
    t.check("one is on each, with one folder of programs", names == {"node-a", "node-b"} and two.shipped()[0][0] == 0, (names, two.shipped()))
    path = m.account.home / "journal"
    came_back = 0
    for i, each in enumerate((one, two) * 2):
        if any(c.startswith("connection ended") for c in each.connection):
            continue
        each.tell("stay", 2, path, 300)
        within(5, lambda: len(lines_of(path)) > 0)
        for server in (m.server, other):
            server.drop()
        got = each.line(30)
        if got == "2 ended":
            came_back += 1
        else:
            t.check("a session that lands on the other host ends so", "node_elsewhere" in got, (got, each.connection))
        ran = collections.Counter(lines_of(path))
        t.check("nothing runs twice", all(n == 1 for n in ran.values()), ran)
        within(5, lambda: sorted(lines_of(path))[:2] == ["began 0", "began 1"] and len(lines_of(path)) == 4)
        path.unlink(missing_ok=True)
    say(f"two hosts in turn: {came_back} of 4 losses were survived")
    three = t.connected(m, "the next one connects", host="either")
    t.works(three)
    for each in (one, two, three):
        each.end()
    for folder in (runtime, m.account.runtime):
        if node := node_in(folder / "runhouse"):
            sshd.kill([node], signal.SIGTERM)
    t.check("both nodes end", within(7, lambda: not m.processes()), [command_of(p) for p in m.processes()])


@scenario("what runs is killed at logout", quick=True)
def logout(t):
    m = t.machine()
    one = t.connected(m)
    first = node_of(m)
    t.ended(one)
    m.account.end_processes()
    two = t.connected(m, "where a node was killed the next one starts another")
    t.works(two)
    t.check("and says so", "killed or crashed" in two.stderr and str(first) in two.stderr, two.stderr)
    path = m.account.home / "journal"
    two.tell("stay", 3, path, 30000)
    t.check("a call began", within(5, lambda: len(lines_of(path)) >= 1))
    begun = time.monotonic()
    m.account.end_processes()
    line = two.line(20)
    took = time.monotonic() - begun
    t.check("a node that is killed while calls run", line.startswith("0 ended") and "node_lost/may have run" in line, (line, two.connection))
    t.check("is known to be at once", took < 5, took)
    t.check("and told", two.connection[-1:] and two.connection[-1].startswith("connection ended"), two.connection)
    t.check("calls after that say so", (line := two.ask("add", 1, 1)).startswith("node_lost, not started"), line)
    t.check("until the next connect", two.ask("connect") == "connected" and two.ask("add", 1, 1) == "2")
    began = [w for w in lines_of(path) if w.startswith("began")]
    t.check("nothing ran twice", len(began) == len(set(began)), began)
    t.tidy(m)


@scenario("two laptops on one account", quick=True)
def two_laptops(t):
    m = t.machine()
    lines = []
    for i in range(5):
        line = t.line(m.server)
        line.each = [Fault("rate", "up", amount=6e6, seconds=FOR_EVER)]
        m.add_host(f"from{i}", line.port, server=m.server)
        lines.append(line)
    homes = [m.folder / f"laptop{i}" for i in range(5)]
    for each in homes:
        each.mkdir(mode=0o700)
    # Two with the same program, and two with another build, all at the same time.
    programs = [t.start(m, which=(program, program, other_build, other_build)[i], host=f"from{i}", HOME=str(homes[i])) for i in range(4)]
    t.check("all connect", [p.line(30) for p in programs] == ["connected"] * 4, [p.stderr for p in programs])
    t.check("each runs its own build", [p.ask("build") for p in programs] == ["1", "1", "2", "2"])
    t.check("whole", [p.ask("padding", 400_000) for p in programs] == ["same"] * 4)
    t.check("on one node", len({p.ask("host") for p in programs}) == 1 and len([p for p in m.processes() if "runhouse-node" in command_of(p)]) == 1)
    path = m.account.home / "journal"
    for i, each in enumerate(programs):
        each.tell("queue", 40, path, f"p{i}")
    t.check("a queue is one for all", [p.line() for p in programs] == ["40 ended"] * 4)
    t.once("each call of which runs once", path, [f"p{i} {k}" for i in range(4) for k in range(40)])
    shipped = [p.shipped()[0][0] if p.shipped() else None for p in programs]
    say(f"two laptops: copied {shipped} bytes of {programs[0].shipped()}")
    t.tidy(m)


@scenario("ControlMaster", quick=True)
def control_master(t):
    m = t.machine(server=["MaxSessions 2"])
    m.add_host("shared", m.server.port, ["ControlMaster auto", f"ControlPath {m.folder}/master-%C", "ControlPersist 60"])
    t.check("a master is there", m.ssh("true", host="shared").returncode == 0 and m.masters(), m.masters())
    (master,) = m.masters()
    one = t.connected(m, "through a shared connection", host="shared")
    t.works(one)
    t.check("large values", one.ask("big", 5_000_000) == "same")
    two = t.connected(m, "twice", host="shared")
    three = t.connected(m, "and once more than MaxSessions allows", host="shared")
    for each in (one, two, three):
        t.works(each)
    path = m.account.home / "journal"
    one.tell("stay", 2, path, 500)
    within(5, lambda: len(lines_of(path)) >= 1)
    sshd.kill([master])
    t.check("when the master is killed", (line := one.line(20)) == "2 ended", (line, one.connection))
    t.once("each call runs once", path, [f"{w} {k}" for w in ("began", "ended") for k in range(2)])
    for each in (one, two, three):
        t.works(each, "it goes on")
    begun = time.monotonic()
    for each in (one, two, three):
        t.ended(each)
    t.check("the programs end, and their masters stay", time.monotonic() - begun < 3, time.monotonic() - begun)
    m.ssh(host="shared", options=["-O", "exit"])
    sshd.end(m.masters)
    m.add_host("first", m.server.port, ["ControlMaster auto", f"ControlPath {m.folder}/first-%C", "ControlPersist 60"])
    begun = time.monotonic()
    one = t.connected(m, "where there is no master", host="first")
    t.works(one)
    t.check("it does not become one, which others would lose with it", not list(m.folder.glob("first-*")), list(m.folder.iterdir()))
    t.ended(one)
    t.check("and ends at once", time.monotonic() - begun < 3, time.monotonic() - begun)
    t.tidy(m)


@scenario("hosts as values", quick=True)
def hosts_as_values(t):
    m = t.machine(server=["PasswordAuthentication yes"] if sshd.makes_accounts else [])
    jump = m.add_server("jump")
    m.add_host("gate", jump.port, server=jump)
    m.add_host("only-by-program", jump.port, ["ProxyCommand false"], server=jump)
    # A configuration of this host alone: all that is needed is said by the program.
    with open(m.folder / "config", "a") as config:
        config.write(f"Host bare\n  HostName 127.0.0.1\n  UserKnownHostsFile {m.folder}/bare_known_hosts\n  IdentityFile {m.folder}/none\n  IdentitiesOnly yes\n")
    whole = [f"user={m.account.name}", f"port={m.server.port}", f"key={m.user_key}"]
    t.refused("a host that is new", t.start(m, host="bare", words=whole), "host_key_refused", "bare", seconds=5)
    one = t.connected(m, "one that may be new", host="bare", words=[*whole, "accept=new"])
    t.works(one)
    t.check(f"by {arguments.by}", (line := one.ask("by")).startswith("libssh2: " if arguments.by == "libssh2" else "the ssh program: "), line)
    t.check("and is known from then on", "ssh-ed25519" in (m.folder / "bare_known_hosts").read_text())
    t.works(t.connected(m, "once it is known", host="bare", words=whole))
    t.refused("another key than is known", t.start(m, host="changed-key", words=["accept=new"]), "host_key_refused", seconds=5)
    t.refused("a key that is not there", t.start(m, host="bare", words=[*whole[:2], f"key={m.folder}/no-such-key"]), "authentication_failed", "no-such-key", seconds=5)
    t.refused("a user who is none", t.start(m, host="bare", words=["user=nobody-here", *whole[1:]]), "authentication_failed", seconds=8)
    t.refused("a user whose name is an option", t.start(m, host="bare", words=["user=-oProxyCommand=id", *whole[1:]]), "unknown_cluster", seconds=5)
    t.refused("a jump host that is a command", t.start(m, host="bare", words=[*whole, "jump=$(id)"]), "unknown_cluster", seconds=5)
    one = t.connected(m, "through another", host="bare", words=[*whole, "jump=gate"])
    t.works(one)
    before = len(jump.connections())
    t.check("it is", before >= 1, before)
    if arguments.by == "libssh2":
        t.refused("through one that needs the program", t.start(m, host="bare", words=[*whole, "jump=only-by-program"], RUNHOUSE_SSH="libssh2"), "unknown_cluster", "only-by-program", "ProxyCommand", seconds=5)
    if sshd.makes_accounts and arguments.by == "libssh2":
        subprocess.run(["chpasswd"], input=f"{m.account.name}:what it is", text=True, check=True)
        t.works(t.connected(m, "by a password", host="bare", words=[*whole[:2], "password=what it is"]))
        t.refused("by a wrong one", t.start(m, host="bare", words=[*whole[:2], "password=another"]), "authentication_failed", "a password", seconds=15)
    t.tidy(m)


@scenario("names with every bad character", seconds=60)
def hostile_names(t):
    m = t.machine()
    home = m.account.home
    bad = ["$(touch pwned)", "`touch pwned`", ";touch pwned", "&& touch pwned", "|touch pwned", "-rf", "--", "it's", '"', "a b", "a\tb", "*", "?", "[a]", "a\\b", "\\", "!1", "#", "%s%n", "{a,b}",
           "$HOME", "\u00fc\u4e2d", "\x7f", "\x1b[31m", "=", "~a", "a;"]
    for name in bad:
        one = t.start(m, **{FOLDER_VARIABLE: name})
        line = one.line(20)
        t.check(f"a folder called {name!r}", line == "connected" and one.ask("add", 1, 2) == "3", (line, one.stderr))
        t.check(f"{name!r} is where it is", (home / name / "programs").is_dir())
        t.ended(one)
        shutil.rmtree(home / name, ignore_errors=True)
    t.refused("a folder of several lines", t.start(m, **{FOLDER_VARIABLE: "a\nb"}), "shipping_failed", "several lines", FOLDER_VARIABLE, seconds=5)
    t.refused("one whose name is too long", t.start(m, **{FOLDER_VARIABLE: "x" * 300}), "shipping_failed", "too long", FOLDER_VARIABLE, seconds=5)
    one = t.connected(m)
    for value in [*(b.encode() for b in bad), b"", b"a\nb", b"\n", b"\r", b"\xff\xfe", bytes(range(1, 256))]:
        t.check(f"a variable of {value!r}", one.ask("carried", value.hex() or "-", 1 if value else 0) == "same", one.stderr)
    t.check("one that is long", one.ask("carried", "78", 128 * 1024 - 2 - len("RH_TEST_CARRIED")) == "same", one.stderr)
    t.check("one that is longer than Linux takes", "impossible_needs" in (line := one.ask("carried", "78", 200_000)), line)
    t.works(one, "and the next call works")
    pwned = [*home.rglob("pwned"), *pathlib.Path.cwd().glob("pwned")]
    t.check("nothing of it was run", not pwned, pwned)
    t.tidy(m)


@scenario("ProxyJump", quick=True)
def proxy_jump(t):
    m = t.machine()
    jump = m.add_server("jump")
    m.add_host("jump", jump.port, server=jump)
    m.add_host("behind", m.server.port, ["ProxyJump jump"])
    m.add_host("lost-jump", m.server.port, ["ProxyJump refused-port"])
    one = t.connected(m, "through another host", host="behind")
    t.works(one)
    t.check("large values", one.ask("big", 3_000_000) == "same")
    path = m.account.home / "journal"
    for server in (jump, m.server):
        path.unlink(missing_ok=True)
        one.tell("stay", 2, path, 300)
        within(5, lambda: len(lines_of(path)) >= 1)
        server.drop()
        t.check("which may go", (line := one.line(20)) == "2 ended", (line, one.connection, one.stderr))
        t.once("each call runs once", path, [f"{w} {k}" for w in ("began", "ended") for k in range(2)])
    t.refused("one that is not there", t.start(m, host="lost-jump"), "host_unreachable", "Connection refused", seconds=5 + 8)
    t.tidy(m)


@scenario("configurations", quick=True)
def configurations(t):
    m = t.machine()
    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]
    for i, lines in enumerate((["RemoteCommand echo hello"], ["SessionType none"], ["StdinNull yes"], ["RequestTTY force"],
                               ["ForkAfterAuthentication yes"], ["LogLevel QUIET"], ["LogLevel DEBUG3"], ["Compression yes"],
                               [f"LocalForward {port} 127.0.0.1:1", "ExitOnForwardFailure yes"], ["PermitLocalCommand yes", "LocalCommand echo here"],
                               ["SendEnv *", "SetEnv A=b"], ["EscapeChar ~"])):
        m.add_host(f"c{i}", m.server.port, lines)
        one = t.connected(m, lines[0], seconds=15, host=f"c{i}")
        t.works(one, lines[0])
        t.check(f"{lines[0]}: large values", one.ask("big", 1_000_000) == "same")
        t.ended(one, f"{lines[0]}: it ends")
        t.check(f"{lines[0]}: nothing stays", within(3, lambda: not m.near_processes()), [command_of(p) for p in m.near_processes()])
    one = t.connected(m, "user@host", host=f"{m.account.name}@far")
    t.works(one)
    one = t.connected(m, "ssh://user@host", host=f"ssh://{m.account.name}@far")
    t.works(one)
    taken.close()
    t.tidy(m)


@scenario("keys that need a passphrase", quick=True)
def questions(t):
    m = t.machine()
    path = m.folder / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-C", "locked", "-f", path], check=True)
    with open(m.folder / "authorized_keys", "a") as keys:
        keys.write((m.folder / "locked.pub").read_text())
    m.add_host("locked", m.server.port, [f"IdentityFile {path}"])
    t.refused("where nobody can be asked", t.start(m, host="locked"), "authentication_failed", "locked true", seconds=5)
    ask = m.folder / "ask"
    ask.write_text("#!/bin/sh\necho secret\n")
    ask.chmod(0o755)
    one = t.connected(m, "by the user's askpass", host="locked", SSH_ASKPASS=str(ask), SSH_ASKPASS_REQUIRE="force")
    t.works(one)
    m.server.drop()
    t.works(one, "also to come back")
    # In a terminal, where the user allows it.
    ours, theirs = os.openpty()
    process = subprocess.Popen(["setsid", "--ctty", "--wait", program, "locked"], stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                               env=m.environment(RUNHOUSE_SSH_PROMPT="1"))
    os.close(theirs)
    shown = b""
    try:
        os.set_blocking(ours, False)

        def is_asked():
            nonlocal shown
            try:
                shown += os.read(ours, 4096)
            except OSError:
                pass
            return b"passphrase" in shown
        t.check("by the terminal", within(5, is_asked), shown)
        os.write(ours, b"secret\n")
        t.check("it connects", process.stdout.readline() == "connected\n", shown)
        os.write(ours, b"add 1 2\n")
        t.check("and works", process.stdout.readline() == "3\n")
        os.write(ours, b"\x04")  # end of file
        t.check("and ends", process.wait(5) == 0)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    t.tidy(m)


@scenario("a node that is stopped", seconds=60)
def stopped_node(t):
    m = t.machine()
    one = t.connected(m)
    node = node_of(m)
    os.kill(node, signal.SIGSTOP)
    begun = time.monotonic()
    two = t.start(m)
    line = two.line(30)
    took = time.monotonic() - begun
    t.check("who connects is told in time", line.split(",")[0] in ("connection_lost", "node_not_started", "timed_out") and took < 20, (line, took))
    t.check("and ends", two.end() is not None)
    one.tell("add", 1, 2)
    os.kill(node, signal.SIGCONT)
    t.check("when it goes on, so do calls", one.line(20) == "3", one.connection)
    t.works(t.connected(m, "and connects"))
    t.tidy(m)


# ---- hosts that cannot be reached

@scenario("hosts that cannot be reached", quick=True)
def bad_hosts(t):
    m = t.machine()
    silent = t.start(m, host="silent")
    t.refused("an unknown key", t.start(m, host="unknown-key"), "host_key_refused", "unknown-key", "ssh unknown-key", seconds=3)
    t.refused("another key", t.start(m, host="changed-key"), "host_key_refused", "changed", "known_hosts", seconds=3)
    t.refused("the wrong key of the user", t.start(m, host="wrong-user-key"), "authentication_failed", ("Permission denied", "did not let"), seconds=3)
    t.refused("a port on which nobody listens", t.start(m, host="refused-port"), "host_unreachable", "Connection refused", seconds=3)
    t.refused("a name that is none", t.start(m, host="no-such-name"), "host_unreachable", ("Could not resolve", "has no address"), seconds=3)
    m.add_host("quiet-key", m.server.port, [f"UserKnownHostsFile {m.folder}/no_known_hosts", "LogLevel QUIET"])
    t.refused("an unknown key, said to nobody", t.start(m, host="quiet-key"), ("host_key_refused", "host_unreachable"), "ssh quiet-key", seconds=3)
    for name in ("-oProxyCommand=true", "a b", "a;b", "u@-x", "$(id)", "a\tb", "x" * 300):
        one = t.start(m, host=name)
        t.refused(f"'{name[:20]}'", one, "unknown_cluster", seconds=3)
    one = t.start(m, PATH="/nowhere")
    t.refused("no ssh", one, "host_unreachable", ("openssh-client", "there is no program 'ssh'"), seconds=3)
    t.refused("one that says nothing", silent, "host_unreachable", seconds=15)
    t.check("nothing was started", not m.processes() and not m.near_processes())
    stop(m.server)
    t.refused("one that is down", t.start(m), "host_unreachable", seconds=3)
    m.server.start()
    one = t.connected(m, "and up again")
    stop(m.server)
    told = within(5, lambda: one.connection)
    one.tell("add", 5, 6)
    t.check("while it is away, calls wait", one.line(1.5) == "" and told, one.connection)
    m.server.start()
    t.check("until it is back", one.line(12) == "11", one.connection)
    t.tidy(m)


@scenario("a machine that starts anew", seconds=60)
def another_machine(t):
    """The far side comes back without the node: as after a reboot."""
    m = t.machine()
    one = t.connected(m)
    path = m.account.home / "journal"
    one.tell("stay", 2, path, 20000)
    within(5, lambda: len(lines_of(path)) >= 1)
    stop(m.server)
    m.account.end_processes()
    within(5, lambda: one.connection)
    m.server.start()
    t.check("what ran there is lost", "node_lost/may have run" in (line := one.line(20)), (line, one.connection))
    began = [w for w in lines_of(path) if w.startswith("began")]
    t.check("and did not run again", len(began) == len(set(began)), began)
    t.check("the next connect works", one.ask("connect") == "connected" and one.ask("add", 1, 1) == "2", one.stderr)
    t.tidy(m)


# ---- machines that are of another kind: point 5

def elf_hash(name):
    h = 0
    for c in name:
        h = (h << 4) + c
        g = h & 0xF0000000
        h = (h ^ (g >> 24)) & ~g & 0xFFFFFFFF
    return h


def renamed(source, target, old, new, is_version=False):
    """A copy of an ELF file in which one of its names, of a library or of a version, is another one of the same length."""
    assert len(old) == len(new)
    data = bytearray(pathlib.Path(source).read_bytes())
    count = data.count(b"\0" + old + b"\0")
    data = data.replace(b"\0" + old + b"\0", b"\0" + new + b"\0")
    if is_version:
        data = data.replace(struct.pack("<I", elf_hash(old)), struct.pack("<I", elf_hash(new)))
    pathlib.Path(target).write_bytes(data)
    pathlib.Path(target).chmod(0o755)
    return count


def library_of(path, name):
    for line in subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout.splitlines():
        if line.split()[0] == name:
            return os.path.realpath(line.split()[2])
    raise sshd.Unavailable(f"{path} does not use {name}")


@scenario("machines that this program is not for", quick=True)
def wrong_machines(t):
    m = t.machine(files={".bashrc": "PATH=$HOME/bin:$PATH\n", "bin/uname": "#!/bin/sh\nif [ \"$*\" = -m ]; then echo aarch64; else exec /usr/bin/uname \"$@\"; fi\n"})
    t.refused("another architecture", t.start(m), "incompatible_host", "aarch64", "x86_64", seconds=3)
    t.check("before anything is copied", not (m.account.home / ".runhouse").exists())
    m = t.machine(environment={"SSH_PROGRAM_UNKNOWN_INSTRUCTION": "yes"})
    t.refused("instructions that it has not", t.start(m), "incompatible_host", "processor", "-march", seconds=5)
    t.check("nothing runs there", within(3, lambda: not m.processes()), [command_of(p) for p in m.processes()])
    if not sshd.is_root:
        return t.skip("libraries that only this side has need root")
    # In a name space of its own this side has one more folder of the system's.
    m = t.machine()
    own = m.folder / "system"
    own.mkdir()
    in_own = ["unshare", "--mount", "sh", "-c", f'mount --bind {own} /usr/libexec && LD_LIBRARY_PATH=/usr/libexec exec "$@"', "sh"]
    library = library_of(program, "libstdc++.so.6")
    shutil.copy(library, own / "libstdc++.so.9")
    lacking = m.folder / "lacking"
    t.check("a name was changed", renamed(program, lacking, b"libstdc++.so.6", b"libstdc++.so.9") == 1)
    one = t.connected(m, "a library of the system that is not there travels", which=str(lacking), command=in_own)
    t.works(one)
    t.ended(one)
    newer = m.folder / "newer"
    versions = sorted(set(re.findall(rb"\0(GLIBCXX_3\.4\.[0-9]+)\0", pathlib.Path(program).read_bytes())), key=len)
    version = versions[-1]
    t.check("a version was changed", renamed(program, newer, version, version.replace(b"3.4", b"3.9"), True) >= 1)
    renamed(library, own / "libstdc++.so.6", version, version.replace(b"3.4", b"3.9"), True)
    one = t.connected(m, "one that is too old there as well", which=str(newer), command=in_own)
    t.works(one)
    t.ended(one)
    m = t.machine(files={".bashrc": "PATH=$HOME/bin:$PATH\n", "bin/sha256sum": "#!/bin/sh\ncat >/dev/null; echo 0000  -\n"})
    t.refused("one that makes another thing of it", t.start(m), "shipping_failed", "not what was sent", seconds=10)
    m = t.machine(files={".bashrc": "mkdir -p bin; ln -sf /bin/sh /usr/bin/uname /bin/cat bin/ 2>/dev/null; PATH=$HOME/bin\n"})
    t.refused("one without the tools", t.start(m), "shipping_failed", "there is no", seconds=5)


# ---- running them

def run(each):
    """Gives the Test."""
    t = Test(each.name)
    running.append(t)
    begun = time.monotonic()

    def too_late():
        where = "".join(traceback.format_stack(sys._current_frames()[thread])[-3:])
        programs = [(p.process.args[-1], p.process.poll(), p.connection[-3:], p.stderr[-300:]) for p in t.programs]
        t.check(f"it ends within {each.seconds} s", False, f"{where}{programs} {[command_of(p) for m in t.machines for p in m.near_processes()]}")
        t.is_over = True
        t.abort()
    thread = threading.get_ident()
    timer = threading.Timer(each.seconds, too_late)
    timer.daemon = True
    timer.start()
    try:
        each.run(t)
    except sshd.Unavailable as e:
        if sshd.is_root and not arguments.quick:
            t.check("it can be tried here", False, e)
        else:
            t.skip(str(e))
    except BaseException:
        t.check("it runs to its end", False, traceback.format_exc())
    timer.cancel()
    t.is_over = True
    try:
        t.close()
    except BaseException:
        t.failed.append("its machines are removed")
        say(f"FAILED: {t.name}: its machines are removed: {traceback.format_exc()}")
    say(f"{time.monotonic() - begun:6.1f} s  {t.passed:4} passed{f', {len(t.failed)} failed' if t.failed else ''}  {t.name}")
    return t


running = []  # Tests


def end_all(*_):
    for machine in [m for t in running for m in t.machines]:
        try:
            machine.close()
        except Exception:
            pass  # its scenario goes on meanwhile; the next machine sweeps
    os._exit(143)


def main():
    chosen = [s for s in scenarios if arguments.only in s.name and (s.is_quick or not arguments.quick)
              and not (arguments.skip and arguments.skip in s.name)]
    if arguments.list:
        print("\n".join(s.name for s in chosen))
        return 0
    if not chosen:
        print("no such scenario")
        return 2
    begun = time.monotonic()
    signal.signal(signal.SIGTERM, end_all)
    signal.signal(signal.SIGINT, end_all)
    # The long ones first.
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        tests = list(pool.map(run, sorted(chosen, key=lambda s: -s.seconds)))
    failed, skipped = sum(len(t.failed) for t in tests), sum(len(t.skipped) for t in tests)
    print(f"{len(tests)} scenarios in {time.monotonic() - begun:.0f} s: {sum(t.passed for t in tests)} passed, {failed} failed, {skipped} skipped")
    for t in tests:
        for what in t.failed:
            print(f"  {t.name}: {what}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
