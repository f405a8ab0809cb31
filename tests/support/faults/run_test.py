# SPDX-License-Identifier: Apache-2.0
"""The driver of faults finds what a program leaves and does wrong, and applies the faults of a node's process and of the
connection to it, before there is such a cluster: with a program and a node that are a page of Python.
"""
import fcntl
import os
import pathlib
import shutil
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time

import check
import journal as j

HERE = pathlib.Path(__file__).resolve().parent


# ---- the program, which this file is too: FAKE says what it does wrong

def serve(path):
    """The node: sends each frame back."""
    listener = socket.socket(socket.AF_UNIX)
    pathlib.Path(path).unlink(missing_ok=True)
    listener.bind(path)
    listener.listen()

    def echo(connection):
        try:
            while data := connection.recv(65536):
                connection.sendall(data)
        except OSError:
            pass
        connection.close()

    while True:
        threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()


def start_node(folder):
    folder.mkdir(exist_ok=True)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        lock = os.open(folder / "node.lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os._exit(0)  # there is one
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        serve(str(folder / "node.sock"))
    while True:  # until it listens
        try:
            socket.socket(socket.AF_UNIX).connect(str(folder / "node.sock"))
            return
        except OSError:
            time.sleep(0.01)


def program(history, calls, wrong):
    lines = j.Journal(os.environ["FAULT_JOURNAL"], history)
    node = os.environ.get("RUNHOUSE_NODE_SOCKET")
    if node is None and wrong == "node":
        start_node(pathlib.Path(os.environ["XDG_RUNTIME_DIR"]) / "runhouse")
    lines.phase = j.CALLING
    connection = None
    for token in range(calls):
        time.sleep(0.0005)
        lines.made = token + 1
        seen, code, times = j.RIGHT, 0, 1
        frame = b"RH" + struct.pack("<BBIQQ", 0x10, 0, 8, 1, token)
        while node:  # as a session does: again, until it is answered
            try:
                if connection is None:
                    connection = socket.socket(socket.AF_UNIX)
                    connection.settimeout(5)
                    connection.connect(node)
                connection.sendall(frame)
                got = b""
                while len(got) < len(frame):
                    piece = connection.recv(len(frame) - len(got))
                    if not piece:
                        raise OSError("the node has closed the connection")
                    got += piece
                if got != frame:
                    seen, connection = j.WRONG, None
                break
            except OSError:
                connection = None
                time.sleep(0.01)
        if wrong == "twice" and token == 7:
            times = 2
        stage = 2 if code else 0
        lines.set_call(token, 1 | seen << 8 | stage << 16 | code << 24 | 1 << 32 | 1 << 40 | 1 << 48, times | times << 32)
        lines.ended = token + 1
    if wrong == "file":
        (pathlib.Path(os.environ["TMPDIR"]) / "forgotten").write_text("x")
    if wrong == "process":
        subprocess.Popen(["sleep", "60"])
    if wrong == "descriptor":
        lines.descriptors_after = 1
    if wrong == "call":
        lines.unfinished_calls = 1
    lines.phase = j.CALLING if wrong == "middle" else j.DONE
    return 3 if wrong == "code" else 0


# ---- the test of the driver

passed = failed = 0


def expect(what, holds, seen=""):
    global passed, failed
    passed, failed = passed + bool(holds), failed + (not holds)
    if not holds:
        print(f"FAILED: {what}\n{seen}")


def driven(executable, wrong, *options):
    done = subprocess.run([sys.executable, str(HERE / "run.py"), executable, "--seed", "1", *options], capture_output=True,
                          text=True, env={**os.environ, "FAKE": wrong}, timeout=120)
    return done.returncode, done.stdout + done.stderr


def test(folder):
    executable = f"{folder}/program"
    with open(executable, "w") as script:
        script.write(f"#!/bin/sh\nexec {sys.executable} {HERE / 'run_test.py'} \"$@\"\n")
    os.chmod(executable, os.stat(executable).st_mode | stat.S_IXUSR)

    short = ("--calls", "100", "--only", "none")
    code, said = driven(executable, "", *short)
    expect("a program that does nothing wrong", code == 0 and "100 calls" in said and "all as promised" in said, said)
    for wrong, sentence in (("twice", "call 7 (plain, operation 0): it began 2 times, and may 1"), ("file", "files are left: tmp/forgotten"),
                            ("process", "1 processes are left 5 s later"), ("descriptor", "descriptors: 0 before all calls, 1 after them"),
                            ("call", "1 calls, 0 values"), ("middle", "ended in its middle"), ("code", "the program ended with 3")):
        code, said = driven(executable, wrong, *short)
        expect(f"{wrong} is found", code == 1 and sentence in said, said)
        expect("with what replays it", "replay: ./dev faults --cluster local --seed 1 --round 0" in said, said)

    import plan
    for fault in plan.TABLE:
        is_of_nodes = plan.HERE in fault.clusters and plan.LOCAL not in fault.clusters
        if (is_of_nodes or fault.name == "program_stopped") and fault.name != "node_stopped_long":
            code, said = driven(executable, "node", "--cluster", "here", "--only", fault.name, "--calls", "400", "--every", "60")
            expect(f"{fault.name} over a node: all is well", code == 0 and f" {fault.name}\n" in said, said)
    code, said = driven(executable, "node", "--cluster", "here", "--calls", "2000", "--every", "50", "--round", "1")
    expect("all of them together", code == 0, said)


if __name__ == "__main__":
    if "--history" in sys.argv:
        options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
        sys.exit(program(options["--history"], int(options["--calls"]), os.environ["FAKE"]))
    folder = tempfile.mkdtemp()
    try:
        test(folder)
    finally:
        shutil.rmtree(folder)
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)
