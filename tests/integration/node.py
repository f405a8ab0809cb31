# SPDX-License-Identifier: Apache-2.0
"""A node from outside: found, started once, shared by programs and builds, lost, killed, stopped and started again.

Usage: node.py PROGRAM OTHER_BUILD
"""
import atexit
import os
import pathlib
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "support" / "faults"))
import byte_proxy

program, other_build = sys.argv[1:3]
folder = pathlib.Path(tempfile.mkdtemp(prefix="runhouse-node-"))
passed = failed = 0


@atexit.register
def end_all():
    """Whatever happened, no node of this test is left."""
    for lock in folder.glob("*/runhouse/node.lock"):
        try:
            pid = int(lock.read_text())
            if f"XDG_RUNTIME_DIR={lock.parent.parent}" in pathlib.Path(f"/proc/{pid}/environ").read_text().split("\0"):
                os.kill(pid, signal.SIGKILL)
        except (OSError, ValueError):
            pass
    shutil.rmtree(folder, ignore_errors=True)


def check(what, holds, seen=""):
    global passed, failed
    passed, failed = passed + bool(holds), failed + (not holds)
    if not holds:
        print(f"FAILED: {what} {seen}", flush=True)


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as text:
            return text.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def within(seconds, holds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.005)
    return holds()


class Place:
    """A run folder of its own, and the programs that use it."""

    def __init__(self, name, **variables):
        self.runtime = folder / name
        self.runtime.mkdir(mode=0o700)
        self.run = self.runtime / "runhouse"
        self.environment = {**os.environ, "XDG_RUNTIME_DIR": str(self.runtime), "HOME": str(self.runtime), "RUNHOUSE_WORKERS": "2", **variables}

    def start(self, which=program, **variables):
        return Program(which, {**self.environment, **variables})

    def node(self):
        try:
            pid = int((self.run / "node.lock").read_text())
            return pid if is_running(pid) else None
        except (FileNotFoundError, ValueError):
            return None

    def workers(self):
        node, found = self.node(), []
        for task in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                parts = task.read_text().rsplit(")", 1)[1].split()
                if node is not None and int(parts[1]) == node and parts[0] not in "ZX":
                    found.append(int(task.parent.name))
            except (OSError, ProcessLookupError):
                pass
        return found


class Program:
    """One that is told what to do, line by line."""

    def __init__(self, path, environment):
        self.process = subprocess.Popen([path, "here"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1, env=environment)

    def tell(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")

    def line(self, seconds=20):
        timer = threading.Timer(seconds, self.process.kill)
        timer.start()
        text = self.process.stdout.readline().rstrip("\n")
        timer.cancel()
        return text

    def answer(self):
        """The next line that is not about the connection."""
        while (line := self.line()).startswith("connection "):
            pass
        return line

    def ask(self, *words):
        self.tell(*words)
        return self.answer()

    def end(self):
        """What else it printed, and its stderr."""
        try:
            return self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            check("a program ends when it is told nothing more", False)
            return self.process.communicate()


def connected(place, which=program, **variables):
    one = place.start(which, **variables)
    line = one.line()
    check("it connects", line == "connected", line)
    return one


def read(path):
    return path.read_text().split("\n")[:-1] if path.exists() else []


# ---- started once, shared, and left behind

here = Place("first", STATIC_MARKS=str(folder))
one = connected(here)
node = here.node()
check("a node runs", node is not None)
check("its folder is this user's alone", stat.S_IMODE(here.run.stat().st_mode) == 0o700)
check("and so is its socket", stat.S_IMODE((here.run / "node.sock").stat().st_mode) & 0o077 == 0)
check("a call", one.ask("add", 2, 3) == "5")
worker = int(one.ask("worker"))
check("its worker is the node's", worker in here.workers(), (worker, here.workers()))
marks = {int(p.name) for p in folder.iterdir() if p.name.isdigit()}
check("static objects are made in program and worker", {one.process.pid, worker} <= marks, marks)
check("and not in the node", node not in marks, marks)
two = connected(here, other_build)
check("another build is served by the same node", two.ask("add", 4, 5) == "9" and here.node() == node)
check("by workers of its own", int(two.ask("worker")) != worker)
check("workers have the program's environment", connected(here, COLOUR="red").ask("variable", "COLOUR") == "red")
check("and not the library's variables", one.ask("variable", "RUNHOUSE_WORKERS") == "(unset)")
out, err = one.end()
check("nothing more is said", (out, err) == ("", ""), (out, err))
check("the node outlives the program", here.node() == node)
started = [connected(Place("many")) for _ in range(1)]
many = Place("race")
racing = [many.start() for _ in range(8)]
check("of many programs that start at once all connect", all(p.line() == "connected" for p in racing))
check("to one node", all(p.ask("add", 1, 1) == "2" for p in racing) and many.node() is not None)
for p in racing + started + [two]:
    p.end()

# ---- big values

one = connected(here)
check("a large value goes there and comes back", one.ask("big", 3_000_000) == "1.5e+06 1.5e+06 3000000")
check("what a call prints is shown before its outcome", one.ask("say", 2) == "[say] line 0" and one.line() == "[say] line 1" and one.line() == "2")

logs = list((here.runtime / ".runhouse" / "logs").glob("*/*-say-*.log"))
text = logs[0].read_text() if len(logs) == 1 else ""
check("and kept in a log", "out line 0\n" in text and "out line 1\n" in text and " log call " in text, (logs, text))

# ---- programs that end

path = folder / "stays"
two = connected(here)
two.tell("stay", path, 30000)
check("a call began", within(5, lambda: len(read(path)) == 1))
worker = int(read(path)[0].split()[1])
two.process.kill()
two.process.wait()
check("the call of a program that was killed is cancelled at once", within(4, lambda: not is_running(worker)))
for how in ("detached", "detached_map"):
    path = folder / how
    two = connected(here)
    # It takes longer than a call has that is cancelled and does not look.
    check("a detached call", two.ask(how, path, 3500) == "2")
    two.process.kill()
    two.process.wait()
    check("goes on without its program", within(15, lambda: len(read(path)) == 2), (how, read(path)))

# ---- connections that break

socket_path = str(folder / "proxy.sock")
with byte_proxy.ByteProxy(socket_path, str(here.run / "node.sock")) as proxy:
    two = connected(here, RUNHOUSE_NODE_SOCKET=socket_path)
    check("through a proxy", two.ask("add", 1, 2) == "3")
    path = folder / "cut"
    two.tell("stay", path, 700)
    check("a call began", within(5, lambda: len(read(path)) == 1))
    proxy.arm(byte_proxy.Fault("cut", "both"))
    check("its loss is told", two.line().startswith("connection lost"))
    check("and its return", two.line().startswith("connection resumed"))
    check("the caller sees only time", two.line() == "700")
    check("it ran once", len(read(path)) == 2, read(path))
    for direction in ("up", "down"):
        for frames in (1, 2, 3, 7):
            for inside in (0, 5, 17):
                path = folder / f"cut-{direction}-{frames}-{inside}"
                proxy.arm(byte_proxy.Fault("cut", direction, frames=frames, inside=inside))
                two.tell("chain", path, 50)
                lines = []
                while not (lines and lines[-1].isdigit()) and (line := two.line()):
                    lines.append(line)
                check(f"cut {direction} behind {frames} frames and {inside} bytes: all 50 end", lines and lines[-1] == "50", lines)
                check("each ran once", sorted(read(path), key=int) == [str(i) for i in range(50)], read(path))
    two.end()

# ---- logs that cannot be written

full = Place("full")
limited = subprocess.Popen(["bash", "-c", 'ulimit -f 64; exec "$0" here', program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=full.environment)
out, err = limited.communicate("say 5000\nadd 1 2\n", timeout=60)
lines = out.splitlines()
check("a log that cannot be written costs the call nothing, nor its output", lines[-2:] == ["5000", "3"] and len(lines) == 5003, (lines[-3:], len(lines), err))

# ---- names

check("a value gets a name", one.ask("keep", "vector", "numbers", 1000) == "kept")
line = one.ask("keep", "vector", "numbers", 10)
check("which is taken then", line.startswith("name_taken"), line)
two = connected(here, other_build)
check("another build finds it", two.ask("get", "vector", "numbers") == "1500")
check("and replaces it", two.ask("keep", "vector", "numbers", 10, "replace") == "kept" and one.ask("get", "vector", "numbers") == "15")
line = one.ask("get", "plain", "numbers")
check("as another type it is refused", line.startswith("type_changed") and "plain" in line and "double" in line, line)
line = one.ask("get", "plain", "nothing")
check("what is not there is said, and what is", line.startswith("unknown_name") and "numbers" in line, line)
check("a class of the program's own", one.ask("keep", "plain", "mine", 7) == "kept" and one.ask("get", "plain", "mine") == "7")
line = two.ask("get", "plain", "mine")
check("is not read by another build", line.startswith("type_changed") and "CEREAL_CLASS_VERSION" in line, line)
check("unless it says its version", one.ask("keep", "versioned", "old", 8) == "kept" and two.ask("get", "versioned", "old") == "8 -1")
check("which may be newer", two.ask("keep", "versioned", "new", 9) == "kept" and two.ask("get", "versioned", "new") == "9 9")
line = one.ask("get", "versioned", "new")
check("but not older", line.startswith("type_changed"), line)
two.end()
check("names outlive their programs", one.ask("get", "vector", "numbers") == "15")
one.tell("names")
names = []
while not (names and names[-1].endswith(" names")):
    names.append(one.line())
check("they are listed", names[-1] == "4 names" and any(n.startswith("numbers std::vector<double> ") for n in names), names)
check("and forgotten", one.ask("forget", "numbers") == "1" and one.ask("forget", "numbers") == "0")

# ---- queues

path = folder / "queue"
programs = [connected(here, which) for which in (program, other_build, program)]
for i, p in enumerate(programs):
    p.tell("queue", path, f"p{i}", 40)
check("a queue is shared by programs and builds", all(p.line() == "queued" for p in programs))
ran = read(path)
check("each runs once", len(ran) == 120 and len(set(ran)) == 120)
for i in range(3):
    own = [int(r.split()[1]) for r in ran if r.startswith(f"p{i} ")]
    check("in the order of its program", own == list(range(40)), own)
line = programs[0].ask("place", folder / "places")
check("a call knows its place, and what is cancelled gives way", line == "1 2 3 then 2", line)
for p in programs:
    p.end()

# ---- a node that is killed

two = connected(here)
path = folder / "killed"
two.tell("twice", path, 30000)
check("a call began", within(5, lambda: len(read(path)) == 1))
worker = int(read(path)[0].split()[1])
begun = time.monotonic()
os.kill(here.node(), signal.SIGKILL)
lines = [two.line() for _ in range(2)]
check("the connection is lost, and the node is", lines[0].startswith("connection lost") and lines[1].startswith("connection ended"), lines)
line = two.line()
took = time.monotonic() - begun
check("the call that ran may have", line.startswith("node_lost, may have run"), line)
check("its end is known within a second", took < 1, took)
check("the worker is gone", within(2, lambda: not is_running(worker)))
line = two.line()
check("all others are lost too", line.startswith("node_lost"), line)
line = two.ask("add", 1, 1)
check("as are calls on that cluster from then on", line.startswith("node_lost, not started"), line)
check("the next connect starts another", two.ask("connect") == "connected" and two.ask("add", 1, 1) == "2")
out, err = two.end()
check("and says so", "killed or crashed" in err and str(node) in err, err)
line = one.line()
check("every other program is told", line.startswith("connection lost") and one.line().startswith("connection ended"), line)
one.end()
two = connected(here)
check("which is said once", two.end() == ("", ""))

# ---- one that is stopped

two = connected(here)
stopped = here.node()
os.kill(stopped, signal.SIGSTOP)
threading.Timer(1, lambda: os.kill(stopped, signal.SIGCONT)).start()
begun = time.monotonic()
check("a node that was stopped answers when it goes on", two.ask("add", 20, 3) == "23" and time.monotonic() - begun > 0.5)

# ---- restart

check("a value", two.ask("keep", "vector", "gone", 10) == "kept")
before = here.node()
check("restart ends the node", two.ask("restart") == "restarted" and not is_running(before))
check("the next connect starts another", two.ask("connect") == "connected" and here.node() not in (None, before))
line = two.ask("get", "vector", "gone")
check("which has nothing of what it had", line.startswith("unknown_name"), line)
out, err = two.end()
check("which is no crash", "crashed" not in err, err)

# ---- peers of other versions, and of none


def frame(kind, payload, stream=0, flags=0):
    return struct.pack("<2sBBIQ", b"RH", kind, flags, len(payload), stream) + payload


def hello(major=1, pid=None):
    host = b"test"
    return frame(1, struct.pack("<HHIIIQ32sI", major, 0, 1, 1 << 20, pid or os.getpid(), 0, b"\1" * 32, len(host)) + host)


def said_to(place, *frames, fds=()):
    """What the node answers until it closes, or nothing more comes for a while."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(3)
        s.connect(str(place.run / "node.sock"))
        socket.send_fds(s, [b"".join(frames)], list(fds))
        answer = b""
        try:
            while piece := s.recv(65536):
                answer += piece
        except (TimeoutError, ConnectionResetError):
            pass
        return answer


live = connected(here)
answer = said_to(here, hello(major=9))
check("a program of another version is told so", answer[2:3] == b"\2" and b"version 1" in answer and b"programs" in answer, answer)
for what, bytes_sent in (("nonsense", b"GET / HTTP/1.1\r\n\r\n"), ("a call first", frame(0x10, b"\0" * 64)), ("a short hello", frame(1, b"\1\0")),
                         ("two hellos", hello() + hello()), ("an open that is cut", hello() + frame(0x30, b"\0" * 10)),
                         ("a huge frame", struct.pack("<2sBBIQ", b"RH", 1, 0, 1 << 31, 0)),
                         ("a session without an executable", hello() + frame(0x30, b"\2" * 16 + struct.pack("<QIII", 0, 0, 0, 0))),
                         ("one to resume that is not there", hello() + frame(0x30, b"\2" * 16 + struct.pack("<QIII", 0, 1, 0, 0)))):
    answer = said_to(here, bytes_sent)
    check(f"{what} is refused", answer[2:3] == b"\2", answer)
silent = [socket.socket(socket.AF_UNIX) for _ in range(300)]
for s in silent:
    s.connect(str(here.run / "node.sock"))
check("connections that say nothing hold nobody up", live.ask("add", 1, 2) == "3")
for s in silent:
    s.close()
check("and leave room when they go", within(5, lambda: said_to(here, hello(major=9)) != b""))
live.end()

fake = Place("fake")
fake.run.mkdir(mode=0o700)
with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(str(fake.run / "node.sock"))
    listener.listen()

    answer = b""

    def serve():
        while True:
            try:
                s, _ = listener.accept()
                s.recv(65536)
                s.sendall(answer)
                time.sleep(0.1)
                s.close()
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    answer = hello(major=2)
    line = fake.start().line()
    check("a node of another version is refused, and restart offered", line.startswith("node_incompatible") and "restart" in line, line)
    answer = frame(2, struct.pack("<II", 0, 4) + b"no!!")
    line = fake.start().line()
    check("what a node says is passed on", line.startswith("node_not_started") and "no!!" in line, line)
    good = hello() + frame(0x31, struct.pack("<QQII", 0, 1 << 30, 2, 0))
    for what, bad in (("an outcome of no call", frame(0x11, b"\0" * 64, stream=99)), ("a call", frame(0x10, b"\0" * 64)), ("no frame", b"x" * 4096),
                      ("an acknowledgment of what was not sent", frame(0x32, struct.pack("<Q", 1 << 40))),
                      ("data of no message", frame(0x12, b"z" * 100, stream=1)), ("an empty line of output", frame(0x39, b"")),
                      ("a frame that is too large", struct.pack("<2sBBIQ", b"RH", 0x11, 0, 1 << 30, 1))):
        answer = good + bad
        one = fake.start()
        # What follows may be found bad before the program says that it is connected.
        check("a node that opens a session", one.answer() == "connected")
        line = one.ask("add", 1, 2)
        check(f"and sends {what} is a lost one", line.startswith("node_lost"), line)
        one.end()

# ---- other users of the machine

if os.geteuid() == 0 and shutil.which("setpriv"):
    as_other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    folder.chmod(0o755)
    here.runtime.chmod(0o755)  # as /tmp, where the folder may be
    tried = subprocess.run([*as_other, sys.executable, "-c", f"import socket; socket.socket(socket.AF_UNIX).connect('{here.run}/node.sock')"], capture_output=True, text=True)
    check("another user cannot connect", "PermissionError" in tried.stderr, tried.stderr)
    tried = subprocess.run([*as_other, "sh", "-c", f"ls {here.run}; echo > {here.run}/x; kill -9 {here.node()}"], capture_output=True, text=True)
    check("nor read, fill or signal", tried.stdout == "" and here.node() is not None and not (here.run / "x").exists(), tried)
    here.run.chmod(0o755)
    (here.run / "node.sock").chmod(0o777)
    tried = subprocess.run([*as_other, sys.executable, "-c", f"import socket; s=socket.socket(socket.AF_UNIX); s.connect('{here.run}/node.sock'); s.sendall(b'x'); print(s.recv(100))"], capture_output=True, text=True)
    check("nor where the folder was opened to all", "b''" in tried.stdout or "Error" in tried.stderr, tried)
    here.run.chmod(0o700)
    theirs = Place("theirs")
    theirs.run.mkdir(mode=0o700)
    os.chown(theirs.run, 65534, 65534)
    line = theirs.start().line()
    check("a folder of another user's is refused", line.startswith("run_folder") and "65534" in line, line)
planted = Place("planted")
(folder / "elsewhere").mkdir()
planted.run.symlink_to(folder / "elsewhere")
line = planted.start().line()
check("a symbolic link is not followed", line.startswith("run_folder") and "symbolic link" in line and not any((folder / "elsewhere").iterdir()), line)

print(f"{passed} passed, {failed} failed")
sys.exit(failed > 0)
