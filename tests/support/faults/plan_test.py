# SPDX-License-Identifier: Apache-2.0
"""A seed gives the same faults again, and every fault of the table can happen, of those clusters too that are not here."""
import random
import signal
import socket
import sys
import tempfile
import threading

import journal as j
import plan
from byte_proxy import ByteProxy

passed = failed = 0


def expect(what, holds, seen=""):
    global passed, failed
    passed, failed = passed + bool(holds), failed + (not holds)
    if not holds:
        print(f"FAILED: {what}\n{seen}")


def drawn(seed, number, count=2000, cluster=plan.HERE):
    one = plan.Plan(cluster, seed, number, 10_000, 100)
    return [(at, [f.name for f in faults]) for at, faults in (one.next() for _ in range(count))]


expect("a seed gives the same plan", drawn(5, 3) == drawn(5, 3))
expect("another seed, or round, another", drawn(5, 3) != drawn(6, 3) and drawn(5, 3) != drawn(5, 4))
rounds = [[f for _, names in drawn(1, number, 300) for f in names] for number in range(60)]
over_ssh = [name for number in range(60) for _, names in drawn(1, number, 300, plan.SSH) for name in names]
expect("every fault comes", {name for names in rounds for name in names} | set(over_ssh) == set(plan.BY_NAME))
enders = [sum(plan.BY_NAME[name].ends_program for name in names) for names in rounds]
expect("a third of the programs is ended, once", 8 < sum(enders) < 32 and max(enders) == 1, enders)
expect("two at once come", any(len(names) == 2 for _, names in drawn(1, 1)))
mean = drawn(1, 1)[-1][0] / 2000
expect("as often as was asked", 80 < mean < 120, mean)
local = plan.Plan(plan.LOCAL, 1, 1, 10_000, 100)
alone = plan.Plan(plan.LOCAL, 1, 1, 1000, 100, ("program_killed",))
expect("what ends a program can come alone", [f.name for f in alone.next()[1]] == ["program_killed"] and alone.next() is None)
none = plan.Plan(plan.LOCAL, 1, 1, 1000, 100, ("none",))
expect("and nothing at all", none.next() is None)
expect("a cluster has its own alone", all(plan.LOCAL in f.clusters for _ in range(500) for f in local.next()[1]))


class Touched:
    """What a fault may touch; writes down what was done."""
    program = 1001

    def __init__(self, journal, proxy, cluster):
        self.journal, self.proxy, self.cluster, self.done = journal, proxy, cluster, []
        self.machine = self.server = self

    def drop(self):
        self.done.append("drop")

    def ssh(self):
        return 1005

    def workers(self):
        return [1003, 1004]

    def node(self):
        return 1002

    def start_node(self):
        self.done.append("start")

    def signal(self, pid, number):
        self.done.append((pid, number))
        return True

    def continue_later(self, seconds, pid):
        self.later(seconds, lambda: self.signal(pid, 18))

    def later(self, seconds, action):
        action()


with tempfile.TemporaryDirectory() as folder:
    journal = j.Journal(f"{folder}/journal", f"{folder}/history", 4, 1)
    server = socket.socket(socket.AF_UNIX)
    server.bind(f"{folder}/far")
    server.listen()
    threading.Thread(target=lambda: server.accept(), daemon=True).start()
    with ByteProxy(f"{folder}/near", f"{folder}/far") as proxy:
        for fault in plan.TABLE:
            run = Touched(journal, proxy, fault.clusters[-1])
            journal.order, armed = 0, len(proxy._waiting)
            fault.happen(run, random.Random(1))
            stopped = {pid for pid, number in filter(lambda d: isinstance(d, tuple), run.done) if number == signal.SIGSTOP}
            went_on = {pid for pid, number in filter(lambda d: isinstance(d, tuple), run.done) if number == signal.SIGCONT}
            expect(f"{fault.name} does something", run.done or journal.order or len(proxy._waiting) > armed)
            expect(f"{fault.name}: what is stopped goes on", stopped == went_on, run.done)
    server.close()
    journal.close()

print(f"{passed} passed, {failed} failed")
sys.exit(failed > 0)
