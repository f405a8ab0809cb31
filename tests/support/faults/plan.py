# SPDX-License-Identifier: Apache-2.0
"""The faults, as a table, and the seeded plan that draws from it.

A fault is a function of the run, which has what a fault may touch:

    run.workers()               pids of the workers that live
    run.signal(pid, number)     to a process of this run, never to another
    run.program                 its pid
    run.node()                  the pid of the node's process, where the cluster has one; 0 where it has ended
    run.start_node()            so that there is one again
    run.later(seconds, action)  what is to be done then
    run.continue_later(seconds, pid)  it was stopped
    run.journal                 to give functions an order
    run.cluster                 its name
    run.proxy                   the ByteProxy before the node, where the cluster has a socket or is reached by ssh
    run.ssh()                   the pid of the program's ssh; 0 where it has none
    run.machine                 the sshd.Machine, where the cluster is one

and of a random.Random, from which all that is by chance comes: so that a seed replays.

A plan counts in calls that have ended, not in seconds: on a slower machine the same faults come to the same calls.
"""
import dataclasses
import random
import signal
from typing import Callable

import journal as j
from byte_proxy import Fault as byte_fault

LOCAL, HERE, SSH, LIBSSH2 = "local", "here", "ssh", "libssh2"  # ssh: by the ssh program
FAR = (SSH, LIBSSH2)
NODES = (HERE, *FAR)
ALL = (LOCAL, *NODES)
WORKER_ERRORS = frozenset({"worker_died", "worker_not_started"})
NODE_ERRORS = WORKER_ERRORS | {"node_lost"}


@dataclasses.dataclass(frozen=True)
class Fault:
    name: str
    clusters: tuple
    weight: int
    happen: Callable
    errors: frozenset = frozenset()    # that it may cause, of calls that were not given up
    ends_program: bool = False         # calls may be left without an outcome
    spoils: bool = False               # bytes of values may be wrong: what is promised then is only that all ends


def signal_worker(number):
    def happen(run, chance):
        workers = run.workers()
        if workers:
            run.signal(chance.choice(workers), number)
    return happen


def kill_all_workers(run, chance):
    for pid in run.workers():
        run.signal(pid, signal.SIGKILL)


def order(name):
    def happen(run, chance):
        run.journal.order = j.ORDERS[name]
    return happen


def stop(whom, low, high):
    """SIGSTOP, and SIGCONT so many seconds later."""
    def happen(run, chance):
        one = {"program": lambda: run.program, "node": run.node, "ssh": run.ssh}
        pids = run.workers() if whom == "workers" else [one[whom]()]
        if whom == "workers" and pids and chance.random() < 0.7:
            pids = [chance.choice(pids)]
        seconds = chance.uniform(low, high)
        for pid in pids:
            if run.signal(pid, signal.SIGSTOP):
                run.continue_later(seconds, pid)
    return happen


def end_program(number):
    def happen(run, chance):
        run.signal(run.program, number)
    return happen


def kill_node(run, chance):
    run.signal(run.node(), signal.SIGKILL)
    run.later(chance.uniform(0, 0.3), run.start_node)


def on_bytes(kind, low=0.0, high=0.0, seconds=(0.0, 0.0), is_inside=False):
    """A fault of the connection: behind some frame from now, or inside of one; where frames cannot be seen, some bytes on."""
    def happen(run, chance):
        direction = chance.choice(("up", "down"))
        frames, inside = chance.randint(1, 200), chance.randint(1, 60) if is_inside else 0
        where = {"frames": frames, "inside": inside} if run.cluster == HERE else {"bytes": 64 * frames + inside}
        run.proxy.arm(byte_fault(kind, direction, seconds=chance.uniform(*seconds), amount=chance.uniform(low, high),
                                 mask=1 << chance.randrange(8), **where))
    return happen


TABLE = (
    # A worker, from outside and from inside of a function.
    Fault("worker_killed", ALL, 20, signal_worker(signal.SIGKILL), WORKER_ERRORS),
    Fault("worker_segfault", ALL, 6, signal_worker(signal.SIGSEGV), WORKER_ERRORS),
    Fault("worker_terminated", ALL, 6, signal_worker(signal.SIGTERM), WORKER_ERRORS),
    Fault("all_workers_killed", ALL, 6, kill_all_workers, WORKER_ERRORS),
    Fault("worker_stopped", ALL, 10, stop("workers", 0.01, 0.4)),
    Fault("worker_stopped_long", ALL, 1, stop("workers", 2.2, 3.0)),
    Fault("function_exits", ALL, 8, order("exit"), WORKER_ERRORS),
    Fault("function_exits_quickly", ALL, 4, order("quick_exit"), WORKER_ERRORS),
    Fault("function_aborts", ALL, 8, order("abort"), WORKER_ERRORS),
    Fault("function_segfaults", ALL, 8, order("segfault"), WORKER_ERRORS),
    Fault("function_killed", ALL, 8, order("kill"), WORKER_ERRORS),
    Fault("function_closes_descriptors", ALL, 4, order("close_descriptors"), WORKER_ERRORS),
    # The program.
    Fault("program_stopped", ALL, 6, stop("program", 0.01, 0.4)),
    Fault("program_stopped_long", ALL, 1, stop("program", 2.2, 3.0)),
    Fault("program_killed", ALL, 2, end_program(signal.SIGKILL), frozenset(), ends_program=True),
    Fault("program_interrupted", ALL, 1, end_program(signal.SIGINT), frozenset({"cancelled"}), ends_program=True),
    # The node, where it is a process of its own, and the connection to it.
    Fault("node_killed", NODES, 2, kill_node, NODE_ERRORS),
    Fault("node_stopped", NODES, 6, stop("node", 0.01, 0.4)),
    Fault("node_stopped_long", NODES, 1, stop("node", 2.2, 3.0)),
    Fault("connection_cut", NODES, 6, on_bytes("cut")),
    Fault("connection_cut_inside", NODES, 6, on_bytes("cut", is_inside=True)),
    Fault("connection_reset", NODES, 4, on_bytes("reset", is_inside=True)),
    Fault("connection_half_closed", NODES, 4, on_bytes("half_close")),
    Fault("connection_stalled", NODES, 4, on_bytes("stall", seconds=(0.05, 1.0))),
    Fault("connection_delayed", NODES, 4, on_bytes("delay", 0.001, 0.05, (0.1, 1.0))),
    Fault("connection_slow", NODES, 4, on_bytes("rate", 20_000, 2_000_000, (0.1, 1.0))),
    Fault("byte_flipped", (HERE,), 1, on_bytes("flip", is_inside=True), NODE_ERRORS, spoils=True),
    # What there is of a login; what was changed on its way does not get through.
    Fault("login_killed", FAR, 4, lambda run, chance: run.machine.server.drop()),
    Fault("login_stopped", (SSH,), 4, stop("ssh", 0.01, 0.4)),
    Fault("byte_flipped_on_the_way", FAR, 4, on_bytes("flip")),
)
BY_NAME = {fault.name: fault for fault in TABLE}


class Plan:
    """Of one round of so many calls: which faults come, and behind how many calls. What ends the program comes in every
    third round only, once: what is left of calls and memory can be seen in the others. `only`: the names to draw from;
    empty for all that the cluster has."""

    def __init__(self, cluster, seed, number, calls, every, only=()):
        self.chance = random.Random(f"{seed} {number}")
        faults = [f for f in TABLE if cluster in f.clusters and (not only or f.name in only)]
        enders = [f for f in faults if f.ends_program]
        self._faults = [f for f in faults if not f.ends_program]
        self._every = every
        self._at = 0
        self._end = None
        if enders and (self.chance.random() < 1 / 3 or not self._faults):
            self._end = self.chance.randint(1, calls), self._draw(enders)

    def _draw(self, faults):
        return self.chance.choices(faults, [f.weight for f in faults])[0]

    def next(self):
        """(behind how many calls, the faults): one, or two at once. None if no more come."""
        if not self._faults:
            end, self._end = self._end, None
            return (end[0], [end[1]]) if end else None
        self._at += 1 + int(self.chance.expovariate(1 / self._every))
        faults = [self._draw(self._faults) for _ in range(2 if self.chance.random() < 0.15 else 1)]
        if self._end is not None and self._at >= self._end[0]:
            # With another fault at once, half the time.
            faults = [self._end[1]] + faults[:self.chance.randrange(2)]
            self._end = None
        return self._at, faults
