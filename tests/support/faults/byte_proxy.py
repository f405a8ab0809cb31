# SPDX-License-Identifier: Apache-2.0
"""A proxy for byte streams, unix sockets with the descriptors that they pass and TCP, that does to them what networks and
dying peers do.

    with ByteProxy("/run/proxy.sock", "/run/node.sock") as proxy:
        proxy.arm(Fault("cut", "up", frames=3))            # behind the third frame from now
        proxy.arm(Fault("flip", "down", frames=1, inside=7))
        proxy.arm(Fault("stall", "both", seconds=2))       # now

It knows frames by their 16-byte headers alone ("RH", type, flags, payload_bytes) and only for a fault that counts them. A
descriptor is passed on with the first byte of what was read together with it, so never late.
"""
import dataclasses
import collections
import os
import select
import socket
import struct
import threading
import time

HEADER_BYTES = 16
READ_BYTES = 64 * 1024
MOST_PENDING_BYTES = 1024 * 1024  # read from one side and not yet taken by the other: beyond that it stops reading
MOST_DESCRIPTORS = 253            # in one message, SCM_MAX_FD

KINDS = ("cut", "reset", "stall", "delay", "half_close", "rate", "flip")


@dataclasses.dataclass
class Fault:
    """What is done to a direction: "up" is from who connects, "down" to it, "both" whichever comes there first (of what
    lasts, each).

    cut         closes both sides; what was read before is still passed on
    reset       closes both so that they see ECONNRESET: of TCP always, of a unix socket where it had sent more
    half_close  ends this direction alone, and drops what comes
    stall       passes nothing on for `seconds`, and stops reading
    delay       holds each piece for `amount` seconds, for `seconds`
    rate        passes `amount` bytes a second on, for `seconds`
    flip        inverts the bits of `mask` in one byte

    Where: now; or `bytes` from now; or `frames` whole frames from now, and `inside` bytes on.
    """
    kind: str
    direction: str = "both"
    frames: int | None = None
    inside: int = 0
    bytes: int | None = None
    seconds: float = 1.0
    amount: float = 0.0
    mask: int = 0x01

    def __post_init__(self):
        if self.kind not in KINDS or self.direction not in ("up", "down", "both"):
            raise ValueError(f"no such fault: {self}")

    @property
    def is_now(self):
        return self.frames is None and self.bytes is None


class FrameEnds:
    """Where frames end in a stream that is fed in pieces. Stops where the stream does not consist of frames."""

    def __init__(self):
        self._header = bytearray()
        self._payload_left = 0
        self.is_lost = False
        self.count = 0

    def feed(self, piece):
        """Offsets in `piece` behind each frame that ends in it."""
        ends, at = [], 0
        while at < len(piece) and not self.is_lost:
            if self._payload_left == 0:
                taken = piece[at:at + HEADER_BYTES - len(self._header)]
                self._header += taken
                at += len(taken)
                if len(self._header) < HEADER_BYTES:
                    break
                self.is_lost = bytes(self._header[:2]) != b"RH"
                self._payload_left = struct.unpack_from("<I", self._header, 4)[0]
                self._header.clear()
            else:
                step = min(self._payload_left, len(piece) - at)
                at += step
                self._payload_left -= step
            if self._payload_left == 0 and not self._header and not self.is_lost:
                self.count += 1
                ends.append(at)
        return ends


class Armed:
    """A fault that waits for its place in one direction."""

    def __init__(self, fault):
        self.fault = fault
        self.frames_left = fault.frames
        self.bytes_left = fault.bytes if fault.frames is None else (fault.inside if fault.frames == 0 else None)

    def place_in(self, piece, ends):
        """Its offset in this piece; none if it comes later."""
        if self.bytes_left is None:
            if self.frames_left > len(ends):
                self.frames_left -= len(ends)
                return None
            self.bytes_left = ends[self.frames_left - 1] + self.fault.inside
        # The byte to be flipped must be there; everything else happens behind the bytes before it.
        if self.bytes_left < len(piece) or (self.bytes_left == len(piece) and self.fault.kind != "flip"):
            return self.bytes_left
        self.bytes_left -= len(piece)
        return None


class Direction:
    def __init__(self, name, source, sink, passes_descriptors):
        self.name, self.source, self.sink, self.passes_descriptors = name, source, sink, passes_descriptors
        self.pending = collections.deque()  # (due, bytes, descriptors)
        self.pending_bytes = 0
        self.ends = FrameEnds()
        self.armed = []
        self.is_over = False     # nothing more is read
        self.is_closed = False   # and the sink was told so
        self.drops = False
        self.stalled_until = self.delayed_until = self.rated_until = 0.0
        self.delay = self.rate = 0.0
        self.rate_free_at = 0.0
        self.passed_bytes = 0

    def reads(self, now):
        return not self.is_over and self.pending_bytes < MOST_PENDING_BYTES and now >= self.stalled_until

    def next_write(self):
        """When something is to be written; none if there is nothing."""
        if not self.pending:
            return None
        return max(self.pending[0][0], self.stalled_until, self.rate_free_at)


class Connection:
    def __init__(self, near, far, unix):
        self.near, self.far = near, far
        self.up = Direction("up", near, far, unix)
        self.down = Direction("down", far, near, unix)
        self.cut = None  # "cut" or "reset", when what is pending has left

    def directions(self, name="both"):
        return [d for d in (self.up, self.down) if name in (d.name, "both")]


class ByteProxy:
    """Listens at `near` and connects to `far` for each that comes: paths of unix sockets, or (host, port) of TCP. Runs in
    a thread of its own. Of TCP with port 0, `address` is what was given."""

    def __init__(self, near, far):
        self._far = far
        self._unix = isinstance(near, str)
        self._path = near if self._unix else None
        self._listener = socket.socket(socket.AF_UNIX if self._unix else socket.AF_INET, socket.SOCK_STREAM)
        if not self._unix:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(near)
        self._listener.listen(64)
        self._listener.setblocking(False)
        self.address = near if self._unix else self._listener.getsockname()
        self._connections = []
        self._waiting = []  # armed with no connection to arm
        self._lock = threading.Lock()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._is_over = False
        self.done = []           # the faults that have happened, and when
        self.accepted = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def arm(self, fault):
        """From now on, or now; on all connections that there are, or else on the next."""
        with self._lock:
            if not self._connections:
                self._waiting.append(fault)
            for connection in list(self._connections):
                self._arm(connection, fault)
        self._wake()

    def calm(self):
        """Ends all that lasts, and disarms what has not happened."""
        with self._lock:
            self._waiting.clear()
            for connection in self._connections:
                for d in connection.directions():
                    d.armed.clear()
                    d.stalled_until = d.delayed_until = d.rated_until = d.rate_free_at = 0.0
                    d.pending = collections.deque((0.0, piece, fds) for _, piece, fds in d.pending)
        self._wake()

    def connection_count(self):
        with self._lock:
            return len(self._connections)

    def frame_counts(self):
        """Of each connection: whole frames that were read, up and down."""
        with self._lock:
            return [(c.up.ends.count, c.down.ends.count) for c in self._connections]

    def close(self):
        self._is_over = True
        self._wake()
        self._thread.join()
        for s in (self._listener, self._wake_read, self._wake_write):
            s.close()
        if self._unix:
            os.unlink(self._path)

    # ---- implementation: all below runs under the lock

    def _wake(self):
        self._wake_write.send(b"x")

    def _arm(self, connection, fault):
        if fault.is_now:
            for d in connection.directions(fault.direction):
                self._happen(connection, d, fault)
        else:
            for d in connection.directions(fault.direction):
                d.armed.append(Armed(fault))

    def _happen(self, connection, d, fault):
        """`d` has come to the place of the fault. A flip of the next byte is armed for it."""
        now = time.monotonic()
        if fault.kind == "flip":
            d.armed.append(Armed(dataclasses.replace(fault, bytes=0)))
            return
        self.done.append((now, fault))
        if fault.kind in ("cut", "reset"):
            connection.cut = fault.kind
            for each in connection.directions():
                each.is_over = True
        elif fault.kind == "half_close":
            d.drops = True
        elif fault.kind == "stall":
            d.stalled_until = now + fault.seconds
        elif fault.kind == "delay":
            d.delayed_until, d.delay = now + fault.seconds, fault.amount
        elif fault.kind == "rate":
            d.rated_until, d.rate = now + fault.seconds, fault.amount

    def _accept(self):
        try:
            near, _ = self._listener.accept()
        except OSError:
            return
        far = socket.socket(socket.AF_UNIX if isinstance(self._far, str) else socket.AF_INET, socket.SOCK_STREAM)
        try:
            far.connect(self._far)
        except OSError:
            near.close()  # as if nobody listened
            far.close()
            return
        for s in (near, far):
            s.setblocking(False)
            if s.family == socket.AF_INET:
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(near, far, self._unix and isinstance(self._far, str))
        self._connections.append(connection)
        self.accepted += 1
        waiting, self._waiting = self._waiting, []
        for fault in waiting:
            self._arm(connection, fault)

    def _read(self, connection, d):
        fds = []
        try:
            if d.passes_descriptors:
                piece, ancillary, _, _ = d.source.recvmsg(READ_BYTES, socket.CMSG_SPACE(4 * MOST_DESCRIPTORS),
                                                          socket.MSG_CMSG_CLOEXEC)
                for level, kind, what in ancillary:
                    if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                        fds += struct.unpack(f"{len(what) // 4}i", what[:len(what) // 4 * 4])
            else:
                piece = d.source.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            # The peer reset it, and so is the other side.
            connection.cut = connection.cut or "reset"
            return
        if not piece:
            d.is_over = True
            return
        if d.drops:
            for fd in fds:
                os.close(fd)
            return
        self._take(connection, d, bytearray(piece), fds)

    def _take(self, connection, d, piece, fds):
        """Puts what was read in the queue, with the faults that lie in it."""
        ends = d.ends.feed(piece)
        found = []
        for armed in list(d.armed):
            place = armed.place_in(piece, ends)
            if place is not None:
                d.armed.remove(armed)
                found.append((place, armed.fault))
        begin = 0
        for place, fault in sorted(found, key=lambda f: f[0]):
            if fault.kind == "flip":
                piece[place] ^= fault.mask
                self.done.append((time.monotonic(), fault))
                continue
            self._queue(d, piece[begin:place], fds)
            fds, begin = ([], place) if place > begin else (fds, begin)
            self._happen(connection, d, fault)
            if connection.cut or d.drops:
                for fd in fds:
                    os.close(fd)
                return
        self._queue(d, piece[begin:], fds)

    def _queue(self, d, piece, fds):
        if not piece:
            return
        now = time.monotonic()
        d.pending.append((now + d.delay if now < d.delayed_until else now, piece, fds))
        d.pending_bytes += len(piece)

    def _write(self, connection, d):
        now = time.monotonic()
        due, piece, fds = d.pending.popleft()
        limit = len(piece)
        is_rated = now < d.rated_until
        if is_rated:
            limit = max(1, min(limit, int(d.rate / 50)))
        try:
            if fds:
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))]
                sent = d.sink.sendmsg([piece[:limit]], rights, socket.MSG_NOSIGNAL)
            else:
                sent = d.sink.send(piece[:limit], socket.MSG_NOSIGNAL)
        except BlockingIOError:
            d.pending.appendleft((due, piece, fds))
            return
        except OSError:
            for fd in fds:
                os.close(fd)
            connection.cut = connection.cut or "reset"
            return
        for fd in fds:
            os.close(fd)
        if is_rated:
            d.rate_free_at = now + sent / d.rate
        d.passed_bytes += sent
        d.pending_bytes -= sent
        if sent < len(piece):
            d.pending.appendleft((due, piece[sent:], []))

    def _end(self, connection):
        """Closes both sides."""
        for d in connection.directions():
            for _, _, fds in d.pending:
                for fd in fds:
                    os.close(fd)
            d.pending.clear()
        for s in (connection.near, connection.far):
            if connection.cut == "reset" and s.family == socket.AF_INET:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.close()
        self._connections.remove(connection)

    def _settle(self, connection):
        """Tells the sinks what has come to its end, and closes what is over."""
        for d in connection.directions():
            if (d.is_over or d.drops) and not d.pending and not d.is_closed and not connection.cut:
                d.is_closed = True
                try:
                    d.sink.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
        if connection.cut == "reset" or (connection.cut and not connection.up.pending and not connection.down.pending):
            self._end(connection)
        elif connection.up.is_over and connection.down.is_over and connection.up.is_closed and connection.down.is_closed:
            self._end(connection)

    def _run(self):
        while True:
            poll = select.poll()
            poll.register(self._listener, select.POLLIN)
            poll.register(self._wake_read, select.POLLIN)
            now, wake_at, interest = time.monotonic(), None, collections.defaultdict(int)
            with self._lock:
                for connection in list(self._connections):
                    self._settle(connection)
                for connection in self._connections:
                    for d in connection.directions():
                        if d.reads(now):
                            interest[d.source.fileno()] |= select.POLLIN
                        elif d.stalled_until > now:
                            wake_at = min(wake_at or d.stalled_until, d.stalled_until)
                        at = d.next_write()
                        if at is not None and at <= now:
                            interest[d.sink.fileno()] |= select.POLLOUT
                        elif at is not None:
                            wake_at = min(wake_at or at, at)
            for fd, events in interest.items():
                poll.register(fd, events)
            timeout = None if wake_at is None else max(0.0, (wake_at - now) * 1000) + 1
            ready = dict(poll.poll(timeout))
            with self._lock:
                if self._is_over:
                    for connection in list(self._connections):
                        self._end(connection)
                    return
                if self._wake_read.fileno() in ready:
                    self._wake_read.recv(4096)
                for connection in list(self._connections):
                    now = time.monotonic()
                    for d in connection.directions():
                        if connection.cut != "reset" and ready.get(d.source.fileno(), 0) & ~select.POLLOUT and d.reads(now):
                            self._read(connection, d)
                    for d in connection.directions():
                        at = d.next_write()
                        if connection.cut != "reset" and at is not None and at <= now and ready.get(d.sink.fileno(), 0):
                            self._write(connection, d)
                if self._listener.fileno() in ready:
                    self._accept()
