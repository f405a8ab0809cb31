# SPDX-License-Identifier: Apache-2.0
"""The byte proxy does what it says, between plain clients and echo servers over unix sockets and TCP."""
import os
import socket
import struct
import sys
import tempfile
import threading
import time

from byte_proxy import ByteProxy, Fault, FrameEnds

passed = failed = 0


def expect(what, holds, seen=""):
    global passed, failed
    passed, failed = passed + bool(holds), failed + (not holds)
    if not holds:
        print(f"FAILED: {what}\n{seen}")


def frame(payload, kind=0x10):
    return b"RH" + struct.pack("<BBIQ", kind, 0, len(payload), 1) + payload


class Echo:
    """Sends back what it gets, in a thread; a descriptor is written "seen" to."""

    def __init__(self, address):
        self._listener = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        self._listener.bind(address)
        self._listener.listen()
        self.address = self._listener.getsockname()
        self.ends = []  # how connections ended: "end" or "reset"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        is_unix = connection.family == socket.AF_UNIX
        try:
            while True:
                if is_unix:
                    data, fds, _, _ = socket.recv_fds(connection, 65536, 8)
                    for fd in fds:
                        os.write(fd, b"seen")
                        os.close(fd)
                else:
                    data = connection.recv(65536)
                if not data:
                    self.ends.append("end")
                    break
                connection.sendall(data)
        except OSError:
            self.ends.append("reset")
        connection.close()

    def close(self):
        self._listener.close()


def connected(address):
    client = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    client.settimeout(20)
    client.connect(address)
    return client


def received(client, size):
    """So many bytes, or what there was before the end; and "reset" if that was one."""
    got = b""
    try:
        while len(got) < size:
            piece = client.recv(size - len(got))
            if not piece:
                return got, "end"
            got += piece
    except ConnectionResetError:
        return got, "reset"
    except TimeoutError:
        return got, "timeout"
    return got, ""


def in_time(holds):
    end = time.monotonic() + 10
    while time.monotonic() < end and not holds():
        time.sleep(0.002)
    return holds()


def test(name, near, far):
    is_unix = isinstance(near, str)
    echo = Echo(far)
    with ByteProxy(near, echo.address) as proxy:
        client = connected(proxy.address)
        client.sendall(b"hello")
        expect(f"{name}: bytes pass", received(client, 5) == (b"hello", ""))
        large = os.urandom(3_000_000)
        sender = threading.Thread(target=client.sendall, args=(large,))
        sender.start()
        expect(f"{name}: many pass", received(client, len(large)) == (large, ""))
        sender.join()
        if is_unix:
            readable, writable = os.pipe()
            socket.send_fds(client, [b"x"], [writable])
            os.close(writable)
            expect(f"{name}: a descriptor passes", received(client, 1)[0] == b"x" and os.read(readable, 10) == b"seen")
            expect(f"{name}: and is nowhere kept", os.read(readable, 10) == b"")
            os.close(readable)

        proxy.arm(Fault("flip", "up", bytes=2, mask=0xFF))
        client.sendall(b"abcdef")
        expect(f"{name}: one byte is flipped", received(client, 6)[0] == b"ab" + bytes([ord("c") ^ 0xFF]) + b"def")
        client.sendall(b"abcdef")
        expect(f"{name}: only one", received(client, 6)[0] == b"abcdef")

        proxy.arm(Fault("stall", "down", seconds=0.3))
        begin = time.monotonic()
        client.sendall(b"late")
        expect(f"{name}: a stall holds, and ends", received(client, 4)[0] == b"late" and 0.25 < time.monotonic() - begin < 5)
        proxy.arm(Fault("stall", "up", seconds=1000))
        client.sendall(b"calm")
        time.sleep(0.05)
        proxy.calm()
        expect(f"{name}: a stall can be ended", received(client, 4)[0] == b"calm")

        proxy.arm(Fault("delay", "both", seconds=5, amount=0.1))
        begin = time.monotonic()
        client.sendall(b"slow")
        expect(f"{name}: a delay is there twice", received(client, 4)[0] == b"slow" and time.monotonic() - begin > 0.19)
        proxy.calm()

        proxy.arm(Fault("rate", "up", seconds=5, amount=100_000))
        begin = time.monotonic()
        client.sendall(large[:30_000])
        expect(f"{name}: a rate", received(client, 30_000)[0] == large[:30_000] and 0.2 < time.monotonic() - begin < 3,
               time.monotonic() - begin)
        proxy.calm()

        proxy.arm(Fault("half_close", "up"))
        expect(f"{name}: half an end is the end of one side", in_time(lambda: echo.ends == ["end"]), echo.ends)
        expect(f"{name}: which then ends the other", received(client, 1) == (b"", "end"))
        client.close()

        for kind in ("cut", "reset"):
            client = connected(proxy.address)
            client.sendall(b"1234")
            received(client, 4)
            proxy.arm(Fault(kind))
            end = received(client, 1)[1]
            expect(f"{name}: {kind} at once", end == ("reset" if kind == "reset" and not is_unix else "end"), end)
            client.close()
        expect(f"{name}: no connection is left", in_time(lambda: proxy.connection_count() == 0))
        expect(f"{name}: a reset reaches the server", is_unix or in_time(lambda: echo.ends[-1:] == ["reset"]), echo.ends)

        # At each frame's end, and inside of one; sent as one piece, in halves, or byte by byte.
        frames = [frame(b""), frame(b"a"), frame(bytes(40)), frame(b"last")]
        whole = b"".join(frames)
        for step in (len(whole), len(whole) // 2, 1):
            for count in range(1, 5):
                for inside in (0, 1, 7, 17) if count < 4 else (0,):
                    cut = min(len(b"".join(frames[:count])) + inside, len(whole))
                    client = connected(proxy.address)
                    in_time(lambda: proxy.connection_count() == 1)
                    proxy.arm(Fault("cut", "up", frames=count, inside=inside))
                    done = len(proxy.done)
                    passed_up = proxy._connections[0].up
                    try:
                        for at in range(0, len(whole), step):
                            client.sendall(whole[at:at + step])
                    except OSError:
                        pass
                    expect(f"{name}: cut behind frame {count} and {inside} bytes, in steps of {step}",
                           in_time(lambda: len(proxy.done) > done and proxy.connection_count() == 0)
                           and passed_up.passed_bytes == cut, (passed_up.passed_bytes, cut))
                    client.close()

        proxy.arm(Fault("cut", "up", frames=1))
        client = connected(proxy.address)
        client.sendall(whole)
        expect(f"{name}: what is armed before a connection is armed for the next", received(client, 99)[1] in ("end", "reset"))
        client.close()
        client = connected(proxy.address)
        client.sendall(b"again")
        expect(f"{name}: and for no other", received(client, 5)[0] == b"again")
        client.close()
    echo.close()


counted = FrameEnds()
expect("frames are counted", counted.feed(frame(b"ab") + frame(b"")) == [18, 34] and not counted.is_lost)
expect("what is no frame is not", counted.feed(b"x" * 40) == [] and counted.is_lost and counted.count == 2)

before = len(os.listdir("/proc/self/fd"))
with tempfile.TemporaryDirectory() as folder:
    test("unix", f"{folder}/near", f"{folder}/far")
test("TCP", ("127.0.0.1", 0), ("127.0.0.1", 0))
expect("no descriptor is left", in_time(lambda: len(os.listdir("/proc/self/fd")) <= before),
       os.listdir("/proc/self/fd"))

print(f"{passed} passed, {failed} failed")
sys.exit(failed > 0)
