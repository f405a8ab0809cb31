#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A node in Python, written from include/runhouse/wire/protocol.md alone: python_peer.py EXECUTABLE drives a worker of
python_peer_functions.cpp. Section numbers are protocol.md's."""

import array, ctypes, fcntl, mmap, os, select, signal, socket, struct, sys, time

HELLO, BYE, CALL, OUTCOME, DATA = 1, 2, 0x10, 0x11, 0x12  # section 2
CANCEL, CREDIT, PING, PONG, DESCRIBE, FUNCTIONS = 0x20, 0x21, 0x22, 0x23, 0x24, 0x25
CREDIT_BYTES, CHUNK, MARK = 1 << 20, 131072, "\x1emark-%d:" % os.getpid()
compare_exchange = ctypes.CDLL("libatomic.so.1")["__atomic_compare_exchange_8"]  # true, or what was there instead
compare_exchange.restype = ctypes.c_bool
counts = [0, 0]  # failed, passed

def check(what, good):
    counts[bool(good)] += 1
    if not good:
        print("failed:", what, file=sys.stderr)
def up(n, to):
    return -(-n // to) * to
def text(p, at):  # 1: what it says, and where it ends
    end = at + 4 + struct.unpack_from("<I", p, at)[0]
    return p[at + 4:end].decode(), end
# 9: values as payloads, each a stream and its segments
def i32(n):
    return struct.pack("<i", n), []
def raw(count, block):
    count = struct.pack("<Q", count)
    return (count, [block]) if len(block) >= 1024 else (count + block, [])
def string(s):
    return raw(len(s.encode()), s.encode())
class Worker:
    def __init__(self, executable, token=MARK, hello=True, gate_bytes=4096, features=0):  # 7
        (self.calls, calls), (self.control, control) = socket.socketpair(), socket.socketpair()
        (self.out, out), (self.err, err), gate = os.pipe(), os.pipe(), os.memfd_create("gate")
        os.ftruncate(gate, gate_bytes)
        self.memory = mmap.mmap(gate, gate_bytes)
        self.word = ctypes.c_uint64.from_buffer(self.memory)
        theirs = [os.open("/dev/null", os.O_RDONLY), out, err, calls.detach(), control.detach(), gate]
        away = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in theirs]
        self.pid = os.posix_spawn(executable, ["worker"], dict(os.environ, RUNHOUSE_WORKER=token), setpgroup=0,
                                  setsigdef=[signal.SIGPIPE], setsigmask=[],
                                  file_actions=[(os.POSIX_SPAWN_DUP2, fd, i) for i, fd in enumerate(away)])
        for fd in away + theirs:
            os.close(fd)
        self.number = 0
        if hello:
            self.send(self.calls, HELLO, 0, struct.pack("<HHIIIQ32xI", 1, 0, features, 1 << 20, os.getpid(), 0, 0))
            kind, _, _, payload = self.frame(self.calls)
            major, _, _, largest, pid = struct.unpack_from("<HHIII", payload)
            check("hello", (kind, major, pid) == (HELLO, 1, self.pid) and largest >= 1 << 20)
    def send(self, sock, kind, stream, payload=b"", more=0):
        sock.sendall(b"RH" + struct.pack("<BBIQ", kind, more, len(payload), stream) + payload)
    def exactly(self, sock, n):
        got = sock.recv(n, socket.MSG_WAITALL)
        assert len(got) == n, "the worker is gone"
        return got
    def frame(self, sock):
        magic, kind, flags, size, stream = struct.unpack("<2sBBIQ", self.exactly(sock, 16))
        assert magic == b"RH" and size <= 1 << 20
        return kind, flags, stream, self.exactly(sock, size)
    def describe(self):  # 6.4
        self.send(self.calls, DESCRIBE, 77)
        rows, more = {}, 1
        while more:
            kind, more, stream, p = self.frame(self.calls)
            assert (kind, stream) == (FUNCTIONS, 77)
            at = 8
            for _ in range(struct.unpack_from("<I", p)[0]):
                (name, end), place, signature = text(p, at + 32), p[at:at + 16], p[at + 16:at + 32]
                pretty, end = text(p, end)
                rows[pretty], at = (place, signature, name), up(end, 8)
        return rows
    def call(self, function, *payloads, number=None, signature=None, by_name=False, keep=0):  # 4
        place, own_signature, name = function
        if by_name:
            place = struct.pack("<II", 0xffffffff, len(name)) + name.encode()
            place += bytes(-len(place) % 8)
        self.number = self.number + 1 if number is None else number
        head, body = (signature or own_signature) + place + struct.pack("<HHI", len(payloads), keep, 0), bytearray()
        for stream, segments in (q for p in payloads for q in ([(len(p), 1), *p] if isinstance(p, list) else [p])):
            if isinstance(segments, int):  # a kind: 1 a list, 2 a result
                head += struct.pack("<QII", stream, segments, 0)
                continue
            head += struct.pack(f"<QII{len(segments)}Q", len(stream), 0, len(segments), *map(len, segments))
            for part, alignment in [(stream, 16)] + [(s, 64) for s in segments]:
                body += bytes(-len(body) % alignment) + part
        for at in range(0, max(len(body), 1), CHUNK):
            self.send(self.calls, DATA if at else CALL, self.number, (b"" if at else head) + bytes(body[at:at + CHUNK]),
                      more=int(at + CHUNK < len(body)))
        return self.number
    def outcome(self, number, before_credit=None):  # 5: kind, code, output_waiting, and the value or texts
        kind, more, stream, p = self.frame(self.calls)
        assert (kind, stream) == (OUTCOME, number), (kind, stream, p)
        how, waiting, code, _ = struct.unpack_from("<4I", p)
        if how != 0:
            type_name, end = text(p, 16) if how < 3 else ("", 12)
            return how, code, waiting, (type_name, text(p, end)[0])
        size, _, count = struct.unpack_from("<QII", p, 16)
        lengths, body, granted = struct.unpack_from(f"<{count}Q", p, 32), bytearray(p[32 + 8 * count:]), 0
        while more:
            if before_credit and len(body) == CREDIT_BYTES:
                before_credit = before_credit()
            if not before_credit and len(body) - granted >= CREDIT_BYTES // 2:  # 6.2
                self.send(self.control, CREDIT, number, struct.pack("<Q", len(body) - granted))
                granted = len(body)
            kind, more, stream, p = self.frame(self.calls)
            assert (kind, stream) == (DATA, number) and p
            body += p
        at, segments = size, []
        for n in lengths:
            segments.append(bytes(body[up(at, 64):up(at, 64) + n]))
            at = up(at, 64) + n
        assert at == len(body)
        return how, code, waiting, (bytes(body[:size]), segments)
    def value(self, function, *payloads, **how):
        return self.outcome(self.call(function, *payloads, **how))
    def revoke(self, last):  # 8.2
        seen = ctypes.c_uint64(self.word.value)
        while 0 < (last - seen.value) % 2**32 < 2**31:
            wanted = ctypes.c_uint64(seen.value >> 32 << 32 | last)
            if compare_exchange(ctypes.byref(self.word), ctypes.byref(seen), wanted, 4, 2):
                break
        return seen.value >> 32
    def printed(self, fd, seconds=0):
        return os.read(fd, 1 << 16).decode() if select.select([fd], [], [], seconds)[0] else ""
    def ended(self):
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

def calls(w, f):
    names = "add greet sum sum_of_view count_up refuse until_stopped talk nothing"
    check("functions", {n for n in f if n.startswith("peer::")} == {"peer::" + n for n in names.split()})
    add = f["peer::add"]
    check("add by offset", w.value(add, i32(2), i32(3)) == (0, 0, 0, i32(5)))
    check("add by name", w.value(add, i32(-2), i32(3), by_name=True) == (0, 0, 0, i32(1)))
    check("void", w.value(f["peer::nothing"]) == (0, 0, 0, (b"", [])))
    for name in ("wörld", "w" * 5000):
        check("a string", w.value(f["peer::greet"], string(name))[3] == string("hello, " + name))
    numbers = array.array("d", range(100000)).tobytes()
    for name in ("peer::sum", "peer::sum_of_view"):
        check(name, w.value(f[name], raw(100000, numbers))[3] == (struct.pack("<d", 4999950000.0), []))
    quiet = lambda: check("no byte without credit", not select.select([w.calls], [], [], 0.2)[0])
    counted = w.outcome(w.call(f["peer::count_up"], (struct.pack("<Q", 1 << 20), [])), quiet)
    check("8 MiB", counted == (0, 0, 0, raw(1 << 20, array.array("Q", range(1 << 20)).tobytes())))
    check("an exception", w.value(f["peer::refuse"], string("no")) == (1, 3, 0, ("std::invalid_argument", "no")))
    nowhere = (struct.pack("<IIQ", 0, 0, 1), *add[1:])
    check("unknown place", w.value(nowhere, i32(1), i32(2))[:2] == (2, 10))
    check("unknown name", w.value((b"", add[1], "N4peer4nadaE"), by_name=True)[:2] == (2, 10))
    local = next(row for pretty, row in f.items() if "lambda" in pretty)
    check("a lambda by offset", w.value(local, i32(41))[3] == i32(42))
    check("a lambda by name", w.value(local, i32(41), by_name=True)[:2] == (2, 10))
    check("wrong signature", w.value(add, i32(2), i32(3), signature=bytes(16))[:2] == (2, 11))
    for bad in (b"\0\0\0", []), (bytes(8), []), (bytes(4), [bytes(1024)]):
        check("bad payload", w.value(add, i32(2), bad)[:2] == (2, 16))
    check("a payload too few", w.value(add, i32(2))[:2] == (2, 16))
    check("a lying count", w.value(f["peer::greet"], (struct.pack("<Q", 1 << 62), []))[:2] == (2, 16))
    parts = [(struct.pack("<d", n), []) for n in range(4)]
    check("a list", w.value(f["peer::sum"], parts)[3][0] == struct.pack("<d", 6))
    check("an empty list", w.value(f["peer::sum"], [])[3][0] == bytes(8))
    check("a list for no vector", w.value(f["peer::greet"], parts)[:2] == (2, 16))
    kept, lost = w.call(add, i32(2), i32(3), keep=1), w.call(add, i32(2), i32(3))
    last = [w.call(add, (n, 2), (n, 2)) for n in (kept, lost, kept - 1, kept)]  # 4.5
    check("results", [w.outcome(n)[::3] for n in (kept, lost, *last)] ==
          [(0, i32(5))] * 2 + [(0, i32(10)), (3, ("", "")), (3, ("", "")), (0, i32(10))])
    w.send(w.calls, 0x90, 5, b"from the future"), w.send(w.control, 0xff, 5)
    for number in (0x7fffffff, 0xfffffff0, 0xffffffff, 0, 1):
        check("numbers wrap around", w.value(add, i32(2), i32(3), number=number)[3] == i32(5))

def control(w, f):
    started = w.call(f["peer::until_stopped"], i32(7))
    check("it runs", w.printed(w.out, 60) == "running\n" and w.word.value >> 32 == started)
    ahead = [w.call(f["peer::talk"], i32(1000)) for _ in range(3)]
    w.send(w.control, PING, 9, b"are you there")
    check("ping while a call runs", w.frame(w.control) == (PONG, 0, 9, b"are you there"))
    check("taken back", w.revoke(ahead[-1]) == started)
    w.send(w.control, CANCEL, started)
    check("cancelled", w.outcome(started) == (0, 0, 0, i32(7)))
    number = w.call(f["peer::talk"], i32(2))  # the next to be answered: others were taken back
    check("output is waiting", w.outcome(number)[:3] == (0, 0, 1))
    check("lines and mark", w.printed(w.out) == f"line 0\nline 1\nno newline{MARK}{number}\n")
    check("mark on stderr", w.printed(w.err) == f"complaint\n{MARK}{number}\n")
    check("no output, no mark", w.value(f["peer::add"], i32(1), i32(1))[2] == 0 and w.printed(w.out) == "")

def main():
    w = Worker(sys.argv[1])
    calls(w, w.describe()), control(w, w.describe())
    check("ends with its sockets", w.calls.close() or w.control.close() or w.ended() == -signal.SIGKILL)
    w = Worker(sys.argv[1], gate_bytes=20480)
    f = w.describe()
    short = [w.call(f["peer::add"], i32(n), i32(1)) for n in range(50)] + [w.call(f["peer::until_stopped"], i32(1))]
    check("short calls before a long one", all(w.outcome(n)[3] == i32(n - short[0] + 1) for n in short[:-1]))
    check("the outbox empties", w.printed(w.out, 60) and any(w.memory[4096:4100] == bytes(4) or time.sleep(0.01) for _ in range(1000)))  # 8.4
    check("ends in the middle of a call", w.control.close() or w.ended() == -signal.SIGKILL)

if __name__ == "__main__":
    signal.alarm(240)
    main()
    print(f"{counts[1]} passed, {counts[0]} failed")
    sys.exit(counts[0] != 0)
