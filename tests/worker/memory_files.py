#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Values in memory files (include/runhouse/wire/protocol.md, section 4.6) between a worker of python_peer_functions.cpp
and a node that takes them, python_peer.py's: memory_files.py EXECUTABLE."""

import array
import fcntl
import os
import signal
import socket
import struct
import sys

from hostile_node import PROTOCOL_ERROR, refused
from python_peer import CALL, OUTCOME, Worker, check, counts, i32, raw, up

SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class FileWorker(Worker):
    def __init__(self, executable):
        self.files = []
        super().__init__(executable, features=1)

    def exactly(self, sock, n):
        got = b""
        while len(got) < n:
            part, files, _, _ = socket.recv_fds(sock, n - len(got), 8)
            assert part, "the worker is gone"
            got, self.files = got + part, self.files + files
        return got

    def call_with_files(self, function, shapes, files):
        """`shapes` are (kind, stream, segments), of files with lengths; what has kind 0 is in the body."""
        place, signature, _ = function
        self.number += 1
        head, body = signature + place + struct.pack("<HHI", len(shapes), 0, 0), bytearray()
        for kind, stream, segments in shapes:
            if kind == 0:
                body += bytes(-len(body) % 16) + stream
                stream = len(stream)
            head += struct.pack(f"<QII{len(segments)}Q", stream, kind, len(segments), *segments)
        payload = head + body
        frame = b"RH" + struct.pack("<BBIQ", CALL, 0, len(payload), self.number) + payload
        for i, file in enumerate(files):  # spread over the bytes of the frame
            socket.send_fds(self.calls, [frame[i:i + 1]], [file])
        self.calls.sendall(frame[len(files):])
        return self.number

    def file_outcome(self, number):
        """A result of one segment."""
        kind, more, stream, p = self.frame(self.calls)
        assert (kind, more, stream) == (OUTCOME, 0, number)
        how, _, code, _, stream_bytes, payload_kind, segments = struct.unpack_from("<4IQII", p)
        assert (how, code, payload_kind, segments, len(p)) == (0, 0, 3, 1, 40)
        (segment_bytes,) = struct.unpack_from("<Q", p, 32)
        fd = self.files.pop(0)
        check("a result is sealed", fcntl.fcntl(fd, fcntl.F_GET_SEALS) & SEALS == SEALS)
        with os.fdopen(fd, "rb") as file:
            content = file.read()
        at = up(segment_bytes, 16)
        return content[at:at + stream_bytes], [content[:segment_bytes]]


def memory_file(payload, seals=SEALS, cut=0):
    """A payload in a file: its descriptor, and its shape."""
    stream, segments = payload
    content = bytearray()
    for s in segments:
        content += bytes(-len(content) % 64) + s
    content += bytes(-len(content) % 16) + stream
    fd = os.memfd_create("value", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, content[:len(content) - cut])
    if seals:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd, (3, len(stream), [len(s) for s in segments])


def main():
    executable = sys.argv[1]
    w = FileWorker(executable)
    f = w.describe()
    count = 1 << 20
    expected = raw(count, array.array("Q", range(count)).tobytes())
    for _ in range(2):
        check("a result in a file", w.file_outcome(w.call(f["peer::count_up"], (struct.pack("<Q", count), []))) == expected)

    numbers = raw(1000, array.array("d", range(1000)).tobytes())
    fd, shape = memory_file(numbers)
    for name in ("peer::sum", "peer::sum_of_view"):
        for _ in range(300):  # a worker closes what it was given
            number = w.call_with_files(f[name], [shape], [fd])
            good = w.outcome(number)[3][0] == struct.pack("<d", 499500.0)
        check(f"an argument of {name} in a file", good)
    one, one_shape = memory_file(i32(2))
    two, two_shape = memory_file(i32(3))
    check("two files", w.outcome(w.call_with_files(f["peer::add"], [one_shape, two_shape], [one, two]))[3] == i32(5))
    mixed = [(0, i32(7)[0], []), two_shape]
    check("a file and the body", w.outcome(w.call_with_files(f["peer::add"], mixed, [two]))[3] == i32(10))
    w.call_with_files(f["peer::add"], [one_shape, two_shape], [one, two])
    w.revoke(w.number)
    check("a call of files that was taken back, or not", True)
    w.calls.close(), w.control.close(), w.ended()

    bad = {
        "a file that is not sealed": (memory_file(i32(2), seals=0), 1),
        "a file that may be written": (memory_file(i32(2), seals=SEALS & ~fcntl.F_SEAL_WRITE), 1),
        "a file that may shrink": (memory_file(i32(2), seals=SEALS & ~fcntl.F_SEAL_SHRINK), 1),
        "a file that is too short": (memory_file(i32(2), cut=1), 1),
        "a descriptor of something else": ((os.open("/dev/null", os.O_RDONLY), one_shape), 1),
        "a descriptor that did not come": ((one, one_shape), 0),
    }
    for what, ((fd, shape), sent) in bad.items():
        w = FileWorker(executable)
        w.call_with_files(f["peer::add"], [shape, (0, i32(3)[0], [])], [fd] * sent)
        check("refuses " + what, refused(w, w.calls, PROTOCOL_ERROR))
    print(f"{counts[1]} passed, {counts[0]} failed")
    return counts[0] != 0


if __name__ == "__main__":
    signal.alarm(240)
    sys.exit(main())
