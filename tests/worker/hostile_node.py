#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a worker does with a node that breaks the protocol: hostile_node.py EXECUTABLE. It says why and ends, each time;
it never crashes. Section numbers are of include/runhouse/wire/protocol.md."""

import random
import signal
import struct
import sys

sys.dont_write_bytecode = True  # of the module beside this one
from python_peer import BYE, CALL, CANCEL, CREDIT, DATA, DESCRIBE, HELLO, PING, Worker, check, counts, text

NODE_INCOMPATIBLE, PROTOCOL_ERROR, FRAME_TOO_LARGE, PAYLOAD_TOO_LARGE = 21, 20, 19, 17  # 10.1
ENDED = -signal.SIGKILL  # 7.5: with its group


def hello(major=1, largest_frame=1 << 20):
    return struct.pack("<HHIIIQ32xI", major, 0, 0, largest_frame, 0, 0, 0)


def frame(kind, payload=b"", stream=1, more=0, length=None):
    return b"RH" + struct.pack("<BBIQ", kind, more, len(payload) if length is None else length, stream) + payload


def head(parameters=0, shapes=b"", function=bytes(16)):
    return bytes(16) + function + struct.pack("<II", parameters, 0) + shapes


def shape(size, kind=0, segments=()):
    return struct.pack(f"<QII{len(segments)}Q", size, kind, len(segments), *segments)


def refused(w, sock, code):
    """Whether the next frame but hello is a whole bye with that code, and the worker's last."""
    kind, _, _, p = w.frame(sock)
    while kind == HELLO:
        kind, _, _, p = w.frame(sock)
    said, end = text(p, 4)
    return kind == BYE and struct.unpack_from("<I", p)[0] == code and said and end == len(p) and w.ended() == ENDED


BEFORE_HELLO = {
    "another major": (frame(HELLO, hello(major=2)), NODE_INCOMPATIBLE),
    "another major, with nothing behind it": (frame(HELLO, struct.pack("<HH", 9, 0)), NODE_INCOMPATIBLE),
    "a hello that is too short": (frame(HELLO, hello()[:59]), PROTOCOL_ERROR),
    "a host name longer than the hello": (frame(HELLO, hello()[:56] + b"\xff" * 4), PROTOCOL_ERROR),
    "small frames": (frame(HELLO, hello(largest_frame=(1 << 20) - 1)), PROTOCOL_ERROR),
    "a call before hello": (frame(CALL, head()), PROTOCOL_ERROR),
    "another protocol": (b"GET / HTTP/1.1\r\n", PROTOCOL_ERROR),
}
AFTER_HELLO = {
    "a second hello": (frame(HELLO, hello()), PROTOCOL_ERROR),
    "a frame too large": (frame(CALL, length=(1 << 20) + 1), FRAME_TOO_LARGE),
    "the largest length": (frame(CALL, length=0xFFFFFFFF), FRAME_TOO_LARGE),
    "an unknown type": (frame(0x7F), PROTOCOL_ERROR),
    "an outcome": (frame(0x11, bytes(32)), PROTOCOL_ERROR),
    "a ping on the calls socket": (frame(PING), PROTOCOL_ERROR),
    "an unknown flag": (frame(CALL, head(), more=2), PROTOCOL_ERROR),
    "more of a describe": (frame(DESCRIBE, more=1), PROTOCOL_ERROR),
    "data of no call": (frame(DATA, b"x"), PROTOCOL_ERROR),
    "data of another call": (frame(CALL, head(1, shape(8)), more=1) + frame(DATA, bytes(8), stream=2), PROTOCOL_ERROR),
    "empty data": (frame(CALL, head(1, shape(8)), more=1) + frame(DATA, more=1), PROTOCOL_ERROR),
    "a call within a call": (frame(CALL, head(1, shape(8)), more=1) + frame(CALL, head(), stream=2), PROTOCOL_ERROR),
    "half a head": (frame(CALL, head()[:30]), PROTOCOL_ERROR),
    "a number of 33 bits": (frame(CALL, head(), stream=1 << 32), PROTOCOL_ERROR),
    "a number that came before": (frame(CALL, head()) + frame(CALL, head()), PROTOCOL_ERROR),
    "257 parameters": (frame(CALL, head(257, shape(0) * 257)), PROTOCOL_ERROR),
    "parameters that are not there": (frame(CALL, head(256)), PROTOCOL_ERROR),
    "4097 segments": (frame(CALL, head(1, shape(0, segments=(1,) * 4097)), more=1), PROTOCOL_ERROR),
    "segments that are not there": (frame(CALL, head(1, struct.pack("<QII", 0, 0, 4096))), PROTOCOL_ERROR),
    "a payload of another kind": (frame(CALL, head(1, shape(0, kind=3))), PROTOCOL_ERROR),
    "a list longer than the head": (frame(CALL, head(1, shape(1 << 40, kind=1) + shape(0))), PROTOCOL_ERROR),
    "a list that ends early": (frame(CALL, head(1, shape(2, kind=1) + shape(0))), PROTOCOL_ERROR),
    "a list in a list": (frame(CALL, head(1, shape(1, kind=1) + shape(0, kind=1))), PROTOCOL_ERROR),
    "a list with segments": (frame(CALL, head(1, shape(0, kind=1, segments=(1,)))), PROTOCOL_ERROR),
    "a result with segments": (frame(CALL, head(1, shape(1, kind=2, segments=(1,)))), PROTOCOL_ERROR),
    "the result of no number": (frame(CALL, head(1, shape(1 << 32, kind=2))), PROTOCOL_ERROR),
    "a body over 2^36 bytes": (frame(CALL, head(1, shape((1 << 36) + 1)), more=1), PROTOCOL_ERROR),
    "lengths whose sum wraps around": (frame(CALL, head(2, shape(2) + shape((1 << 64) - 1)), more=1), PROTOCOL_ERROR),
    "a name longer than its call": (frame(CALL, bytes(16) + b"\xff" * 8 + bytes(64)), PROTOCOL_ERROR),
    "more body than announced": (frame(CALL, head(1, shape(4)) + bytes(5)), PROTOCOL_ERROR),
    "less body than announced": (frame(CALL, head(1, shape(4)) + bytes(3)), PROTOCOL_ERROR),
    "more after all of it": (frame(CALL, head(1, shape(4)) + bytes(4), more=1), PROTOCOL_ERROR),
}
ON_CONTROL = {
    "a credit of 7 bytes": (frame(CREDIT, bytes(7)), PROTOCOL_ERROR),
    "a ping of 65 bytes": (frame(PING, bytes(65)), PROTOCOL_ERROR),
    "a call on the control socket": (frame(CALL, head()), PROTOCOL_ERROR),
    "a frame too large on the control socket": (frame(PING, length=1 << 21), FRAME_TOO_LARGE),
}


def main():
    executable = sys.argv[1]
    for what, (sent, code) in (BEFORE_HELLO | AFTER_HELLO | ON_CONTROL).items():
        w = Worker(executable, hello=what not in BEFORE_HELLO)
        sock = w.control if what in ON_CONTROL else w.calls
        sock.sendall(sent)
        if what == "a number that came before":
            check("the first is answered", w.outcome(1)[:2] == (2, 10))
        check("refuses " + what, refused(w, sock, code))

    for gate_bytes in (16, 4095):
        check("a gate of less than a page", Worker(executable, hello=False, gate_bytes=gate_bytes).ended() == 2)
    w = Worker(executable)
    w.send(w.calls, BYE, 0)
    check("ends at a bye, whatever is in it", w.ended() == ENDED)

    w = Worker(executable)
    deep = "N" + "P" * 500000 + "i"  # a demangler would recurse into it
    check("a name of 500 kB", w.value((b"", bytes(16), deep), by_name=True)[:2] == (2, 10))
    w.send(w.control, CREDIT, 5, b"\xff" * 8)
    check("goes on", w.value((bytes(16), bytes(16), ""))[:2] == (2, 10))

    for number in (99, 1 << 32, (1 << 64) - 1):  # 6.1: not there, or not any more
        w.send(w.control, CANCEL, number), w.send(w.control, CANCEL, number)
    check("goes on after cancels of unknown numbers", w.value((bytes(16), bytes(16), ""))[:2] == (2, 10))
    w.send(w.control, CANCEL, w.number), w.send(w.control, CANCEL, w.number)
    check("and of one that was answered", w.value((bytes(16), bytes(16), ""))[:2] == (2, 10))

    chance = random.Random(1)
    for _ in range(30):
        w = Worker(executable)
        noise = bytearray(frame(CALL, head(2, shape(4) * 2) + bytes(20)) + frame(CALL, head(), stream=2) + frame(DESCRIBE))
        for _ in range(chance.randint(1, 8)):
            noise[chance.randrange(len(noise))] ^= 1 << chance.randrange(8)
        w.calls.sendall(noise)
        w.calls.close(), w.control.close()
        check("ends of itself after noise", w.ended() == ENDED)

    print(f"{counts[1]} passed, {counts[0]} failed")
    return counts[0] != 0


if __name__ == "__main__":
    signal.alarm(240)
    sys.exit(main())
