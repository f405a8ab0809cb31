# SPDX-License-Identifier: Apache-2.0
"""The two files that a program under faults and its workers write: what the functions did, and what their caller saw.

The layout is that of journal.hpp. Both are mapped, so what was written survives whoever wrote it.
"""
import mmap
import struct

PAGE = 4096
MAGIC = 0x314C4E524A544C46
JOURNAL_SLOT = 32
HISTORY_SLOT = 16

KINDS = ("none", "plain", "nap", "chain", "failed_chain", "map", "map_as_completed", "starmap", "enqueue", "generator",
         "cancel", "timeout", "retry", "repeat", "throws", "throws_odd", "coroutine", "detached", "big", "put")
NOTHING, RIGHT, WRONG, ERROR, THROWN, THROWN_WRONG, UNOBSERVED = range(7)
SEEN = ("nothing", "the right value", "a wrong value", "an error", "its exception", "a wrong exception", "unobserved")
STAGES = ("", "not_started", "may_have_run", "ran")
GIVEN_UP, SURVIVES = 1, 2
ORDERS = {name: number for number, name in enumerate(
    ("none", "exit", "quick_exit", "abort", "segfault", "kill", "close_descriptors"))}
STARTING, CALLING, DRAINING, DONE = range(4)

FIELDS = ("magic", "slots", "seed", "sequence", "order", "is_stopping", "made", "ended", "phase", "descriptors_before",
          "descriptors_after", "memory_before", "memory_after", "worker_descriptors_before", "worker_descriptors_after",
          "unfinished_calls", "values", "value_bytes", "drain_milliseconds")


class Journal:
    """Both files, made by the driver; without `slots` those that there are. Fields of the head are attributes, read and
    written in place."""

    def __init__(self, journal_path, history_path, slots=None, seed=0):
        self._maps = []
        is_new = slots is not None
        if not is_new:
            with open(journal_path, "rb") as file:
                _, slots, seed = struct.unpack("<3Q", file.read(24))
        journal = self._map(journal_path, PAGE + slots * JOURNAL_SLOT, is_new)
        history = self._map(history_path, max(slots * HISTORY_SLOT, PAGE), is_new)
        self._head = memoryview(journal)[:PAGE].cast("Q")
        self._slots = memoryview(journal)[PAGE:PAGE + slots * JOURNAL_SLOT].cast("Q")
        self._history = memoryview(history)[:slots * HISTORY_SLOT].cast("Q")
        self.slots, self.seed = slots, seed
        self.magic = MAGIC

    def _map(self, path, size, is_new):
        with open(path, "w+b" if is_new else "r+b") as file:
            if is_new:
                file.truncate(size)
            self._maps.append(mmap.mmap(file.fileno(), size))
        return self._maps[-1]

    def __getattr__(self, name):
        if name in FIELDS:
            return self._head[FIELDS.index(name)]
        raise AttributeError(name)

    def __setattr__(self, name, value):
        if name in FIELDS:
            self._head[FIELDS.index(name)] = value
        else:
            super().__setattr__(name, value)

    # Columns over all calls that were made, by token.
    def counts(self):
        """begun | ended << 32"""
        return self._slots[0:self.made * 4:4]

    def began_at(self):
        return self._slots[1:self.made * 4:4]

    def ended_at(self):
        return self._slots[2:self.made * 4:4]

    def pids(self):
        return self._slots[3:self.made * 4:4]

    def entries(self):
        """kind, seen, stage + 1, errc, outcomes, most, least, flags: a byte each, from the lowest"""
        return self._history[0:self.made * 2:2]

    def places(self):
        """queue | operation << 32"""
        return self._history[1:self.made * 2:2]

    def set_call(self, token, entry, counts=0, began_at=0, ended_at=0, pid=0, place=0):
        """For tests of the checker."""
        self._slots[token * 4:token * 4 + 4] = memoryview(struct.pack("<4Q", counts, began_at, ended_at, pid)).cast("Q")
        self._history[token * 2], self._history[token * 2 + 1] = entry, place
        self.made = max(self.made, token + 1)

    def close(self):
        for view in (self._head, self._slots, self._history):
            view.release()
        for each in self._maps:
            each.close()


def unpack(entry):
    """kind, seen, stage, errc, outcomes, most, least, flags"""
    return tuple(entry.to_bytes(8, "little"))
