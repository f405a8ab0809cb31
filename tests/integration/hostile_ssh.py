#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Servers that are no honest SSH servers, against a session of libssh2: hostile_ssh.py PROGRAM

PROGRAM is libssh2_program. Each must end in an error in time, and in bounded memory. The servers that speak the protocol
first are made of paramiko's.
"""
import concurrent.futures
import os
import pathlib
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

try:
    import paramiko
except ImportError:
    print("skipped: there is no paramiko; on Debian it is in python3-paramiko")
    sys.exit(77)

program = sys.argv[1]
passed = failed = 0
BANNER = b"SSH-2.0-hostile\r\n"
is_sanitized = b"__asan_init" in pathlib.Path(program).read_bytes()
MOST_MEGABYTES = 700 if is_sanitized else 150  # a session may hold 64 MiB and what its channels may
IGNORE, DEBUG, UNIMPLEMENTED = 2, 4, 3


def check(what, holds, seen=""):
    global passed, failed
    passed, failed = passed + bool(holds), failed + (not holds)
    if not holds:
        print(f"FAILED: {what} {seen}", flush=True)


class Server:
    """Hands each connection to `serve(socket)` on a thread of its own."""

    def __init__(self, serve):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.serve = serve
        self.is_over = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection):
        try:
            with connection:
                self.serve(connection)
        except (OSError, EOFError, paramiko.SSHException):
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.is_over = True
        self.listener.close()


def run(port, known, key, commands=(), seconds=40):
    """What it printed, how long it took, and its largest size in MB. It must end by itself."""
    begun = time.monotonic()
    process = subprocess.Popen([program, "127.0.0.1", str(port), "me", str(known), str(key), "", ""], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True)
    killer = threading.Timer(seconds, process.kill)
    killer.start()
    process.stdin.write("".join(c + "\n" for c in commands))
    process.stdin.close()
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    killer.cancel()
    return text.strip(), time.monotonic() - begun, usage.ru_maxrss / 1024, os.WIFEXITED(status)


to_refuse = []


def refused(*words, **options):
    """The same as refused_now, beside others."""
    to_refuse.append((words, options))


def refused_now(what, serve, known, key, *says, commands=(), seconds=15):
    with Server(serve) as server:
        text, took, size, exited = run(server.port, known, key, commands, seconds + 20)
    check(f"{what}: a typed error", exited and all(any(s in text for s in ((one,) if isinstance(one, str) else one)) for one in says), text[-600:])
    check(f"{what}: in time", took < seconds, took)
    check(f"{what}: in bounded memory", size < MOST_MEGABYTES, size)


def for_ever(connection, piece):
    while True:
        connection.sendall(piece)


def packet(payload, padding=8):
    return struct.pack(">IB", len(payload) + 1 + padding, padding) + payload + bytes(padding)


def kexinit(*lists):
    names = b"".join(struct.pack(">I", len(one)) + one for one in lists)
    return bytes([20]) + bytes(16) + names + bytes(5)


def after_banner(data):
    def serve(connection):
        connection.sendall(BANNER + data)
        while connection.recv(65536):
            pass
    return serve


def before_login(known, key):
    refused("an endless banner of lines", lambda c: for_ever(c, b"hello\r\n" * 5000), known, key, "host_unreachable", "sends without end")
    refused("an endless banner of one line", lambda c: for_ever(c, b"x" * 65536), known, key, "host_unreachable")

    def slowly(connection):
        while True:
            connection.sendall(b"h\n")
            time.sleep(0.2)
    refused("a slow banner without end", slowly, known, key, "host_unreachable", "in time")
    refused("no banner, but bytes", lambda c: for_ever(c, os.urandom(65536)), known, key, "host_unreachable")
    refused("another protocol", lambda c: c.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"), known, key, "host_unreachable")
    refused("nothing behind the banner", after_banner(b""), known, key, "host_unreachable", "in time")
    refused("packets of ignored bytes without end", lambda c: (c.sendall(BANNER), for_ever(c, packet(bytes([IGNORE]) + struct.pack(">I", 30000) + bytes(30000)))),
            known, key, "host_unreachable")
    refused("packets of messages that are none", lambda c: (c.sendall(BANNER), for_ever(c, packet(bytes([200]) + bytes(30000)))), known, key, "host_unreachable")
    for name, data in {"a length of all bits": b"\xff" * 64, "a length of none": bytes(64), "a length of 1": struct.pack(">IB", 1, 0) + bytes(64),
                       "more padding than packet": struct.pack(">IB", 12, 255) + bytes(300), "35 kB and no end": struct.pack(">IB", 35000, 4) + bytes(30000),
                       "a packet that is cut": packet(kexinit(b"curve25519-sha256"))[:20]}.items():
        refused(name, after_banner(data), known, key, "host_unreachable")
    refused("lists that say they are longer", after_banner(packet(bytes([20]) + bytes(16) + b"\xff\xff\xff\xff" * 10 + bytes(8))), known, key, "host_unreachable")
    refused("no method in common", after_banner(packet(kexinit(b"no-kex", b"no-key", b"no", b"no", b"no", b"no", b"none", b"none", b"", b""))), known, key,
            "host_unreachable", "in common")
    refused("empty lists", after_banner(packet(kexinit(*[b""] * 10))), known, key, "host_unreachable")
    refused("a name of 30 kB", after_banner(packet(kexinit(b"curve25519-sha256" * 1700, *[b"x"] * 9))), known, key, "host_unreachable")


class Honest(paramiko.ServerInterface):
    """Lets everybody in, and runs what is asked for."""

    def __init__(self):
        self.asked = threading.Event()
        self.channel = None

    def get_allowed_auths(self, _):
        return "publickey"

    def check_auth_publickey(self, *_):
        return paramiko.AUTH_SUCCESSFUL

    def check_channel_request(self, *_):
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel, _):
        self.channel = channel
        self.asked.set()
        return True


def let_in(then, host_key, ask=True):
    """A server that lets in, waits for a command where `ask`, and then does `then(transport, server)`."""
    def serve(connection):
        transport = paramiko.Transport(connection)
        transport.add_server_key(host_key)
        server = Honest()
        transport.start_server(server=server)
        limit = time.monotonic() + 10
        while not transport.is_authenticated() and transport.is_active() and time.monotonic() < limit:
            time.sleep(0.01)
        if ask:
            server.asked.wait(10)
        try:
            then(transport, server)
        finally:
            transport.close()
    return serve


def message(*parts):
    made = paramiko.Message()
    for part in parts:
        {bytes: made.add_bytes, str: made.add_string, int: made.add_int}[type(part)](part)
    return made


def flood(*makers):
    def then(transport, _):
        while transport.is_active():
            for make in makers:
                transport._send_message(make())
    return then


def after_login(known, key, host_key):
    command = ["r0 x"]

    def refuses(what, then, *says, ask=True, **options):
        refused(what, let_in(then, host_key, ask), known, key, *says, commands=command, **options)
    refuses("closes after the login", lambda t, s: None, ("the connection broke", "closed the connection"), ask=False)
    refuses("closes after the command", lambda t, s: None, ("the connection broke", "exited"))
    refuses("opens channels without end", flood(lambda: message(bytes([90]), "session", 1, 1 << 20, 1 << 15)), ("the connection broke", "nothing in 8 s"), seconds=60)
    refuses("opens connections without end", flood(lambda: message(bytes([90]), "forwarded-tcpip", 1, 1 << 20, 1 << 15, "127.0.0.1", 22, "127.0.0.1", 23)),
            ("the connection broke", "nothing in 8 s"), seconds=60)
    refuses("sends what is ignored without end", flood(lambda: message(bytes([IGNORE]), bytes(30000))), ("the connection broke", "nothing in 8 s"), seconds=60)
    refuses("sends what is no message without end", flood(lambda: message(bytes([200]), bytes(30000))), "the connection broke", seconds=60)
    refuses("asks without end", flood(lambda: message(bytes([80]), "keepalive@openssh.com", bytes([1]))), ("the connection broke", "nothing in 8 s"), seconds=60)

    def far_channel(server):
        return server.channel.remote_chanid
    refuses("sends more than there is room for", lambda t, s: flood(lambda: message(bytes([94]), far_channel(s), "x" * 30000))(t, s),
            ("the connection broke", "other"), seconds=60)
    refuses("data of a channel that is none", lambda t, s: flood(lambda: message(bytes([94]), 4711, "x" * 30000))(t, s), ("the connection broke", "nothing in 8 s"), seconds=60)
    for name, parts in {"data that says it is longer": (bytes([94]), 0, 0x7fffffff, b"x"), "data without its length": (bytes([94]), 0),
                        "stderr that says it is longer": (bytes([95]), 0, 1, 0xfffffff0, b"x"), "stderr of a stream that is none": (bytes([95]), 0, 77, "x"),
                        "a window of all bits": (bytes([93]), 0, 0xffffffff), "a window that is cut": (bytes([93]), 0), "an exit status that is cut": (bytes([98]), 0, "exit-status"),
                        "an exit signal of 2 GiB": (bytes([98]), 0, "exit-signal", bytes([0]), 0x7fffffff, b"x"), "an end of a channel that is none": (bytes([97]), 4711),
                        "an empty message": (bytes([94]),), "a new login": (bytes([52]),), "a new key exchange that is cut": (bytes([20]), b"x")}.items():
        def then(transport, server, parts=parts):
            transport._send_message(message(*parts))
            time.sleep(0.3)
        refuses(name, then, ("the connection broke", "exited"), seconds=40)


def changed(folder, key):
    """The same port has another key the next time."""
    first, second = paramiko.ECDSAKey.generate(), paramiko.ECDSAKey.generate()
    keys = iter((first, second, second))

    def serve(connection):
        let_in(lambda t, s: time.sleep(0.5), next(keys), ask=False)(connection)
    with Server(serve) as server:
        known = folder / "known_changed"
        known.write_text(f"[127.0.0.1]:{server.port} {first.get_name()} {first.get_base64()}\n")
        text, *_ = run(server.port, known, key)
        check("the key that is known", text == "logged in", text)
        text, *_ = run(server.port, known, key)
        check("another one the next time", text.startswith("host_key_refused") and "another one is known" in text, text)


def main():
    paramiko.util.log_to_file("/dev/null")
    with tempfile.TemporaryDirectory(prefix="rh-hostile-") as name:
        folder = pathlib.Path(name)
        key = folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        host_key = paramiko.ECDSAKey.generate()
        known = folder / "known"
        known.write_text(f"* {host_key.get_name()} {host_key.get_base64()}\n")
        with concurrent.futures.ThreadPoolExecutor(4) as pool:  # most of them wait most of the time
            before_login(known, key)
            after_login(known, key, host_key)
            for one in [pool.submit(refused_now, *words, **options) for words, options in to_refuse]:
                one.result()
        changed(folder, key)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
