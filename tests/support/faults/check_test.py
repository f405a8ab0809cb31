# SPDX-License-Identifier: Apache-2.0
"""The checker finds each way in which a history can be wrong, and a million calls take it seconds."""
import sys
import tempfile
import time

import check
import journal as j

passed = failed = 0
errors = check.error_names()


def expect(what, holds, seen=""):
    global passed, failed
    passed, failed = passed + bool(holds), failed + (not holds)
    if not holds:
        print(f"FAILED: {what}\n{seen}")


def entry(kind="plain", seen=j.RIGHT, stage="", error="none", outcomes=1, most=1, least=1, flags=0):
    return int.from_bytes(bytes((j.KINDS.index(kind), seen, j.STAGES.index(stage), errors.index(error), outcomes, most,
                                 least, flags)), "little")


def counts(begun, ended):
    return begun | ended << 32


def judged(*calls, **how):
    """The sentences about these calls, each the arguments of set_call."""
    with tempfile.TemporaryDirectory() as folder:
        journal = j.Journal(f"{folder}/journal", f"{folder}/history", 64, 1)
        for token, call in enumerate(calls):
            journal.set_call(token, *call)
        verdict = check.check(journal, **how)
        journal.close()
        return verdict.wrong


once = counts(1, 1)
entry_of_all = entry()
died = {"allowed": {"worker_died"}}
expect("a right value", judged((entry(), once)) == [])
for what, calls, how in (
        ("no outcome", [(entry(seen=j.NOTHING, outcomes=0), once)], {}),
        ("two outcomes", [(entry(outcomes=2), once)], {}),
        ("began twice", [(entry(), counts(2, 1))], {}),
        ("more often than its retries", [(entry("retry", most=3), counts(4, 1))], {}),
        ("a wrong value", [(entry(seen=j.WRONG), once)], {}),
        ("a wrong exception", [(entry("throws", j.THROWN_WRONG, "ran"), once)], {}),
        ("a value out of nowhere", [(entry(), counts(0, 0))], {}),
        ("a value of a call that has not ended", [(entry(), counts(1, 0))], {}),
        ("not_started of one that began", [(entry(seen=j.ERROR, stage="not_started", error="worker_died"), counts(1, 0))], died),
        ("ran of one that did not", [(entry(seen=j.ERROR, stage="ran", error="worker_died"), counts(0, 0))], died),
        ("an error of no fault", [(entry(seen=j.ERROR, stage="may_have_run", error="worker_died"), counts(1, 0))], {}),
        ("cancelled of one that was not given up", [(entry(seen=j.ERROR, stage="may_have_run", error="cancelled"), once)], died),
        ("a detached call that was lost", [(entry("detached", j.UNOBSERVED, flags=j.SURVIVES), counts(0, 0))],
         {"was_disturbed": False}),
        ("out of its order", [(entry("enqueue"), once, 5, 6, 1, 1), (entry("enqueue"), once, 3, 4, 1, 1)], {}),
        ("two at a time", [(entry("enqueue"), once, 3, 6, 1, 1), (entry("enqueue"), once, 5, 7, 1, 1)], {}),
):
    expect(f"{what} is found", len(judged(*calls, **how)) == 1, judged(*calls, **how))
for what, calls, how in (
        ("no outcome in a program that was killed", [(entry(seen=j.NOTHING, outcomes=0), counts(1, 0))], {"was_ended": True}),
        ("an error of a fault", [(entry(seen=j.ERROR, stage="may_have_run", error="worker_died"), counts(1, 0))], died),
        ("cancelled of one that was given up",
         [(entry("timeout", j.ERROR, "may_have_run", "timed_out", flags=j.GIVEN_UP), counts(0, 0))], {}),
        ("retries", [(entry("retry", most=3), counts(3, 1))], {}),
        ("an exception of one before", [(entry("failed_chain", j.THROWN, "not_started"), counts(0, 0))], {}),
        ("two queues at a time", [(entry("enqueue"), once, 3, 6, 1, 1), (entry("enqueue"), once, 5, 7, 1, 2)], {}),
        ("a queue behind one that died",
         [(entry("enqueue", j.ERROR, "may_have_run", "worker_died"), counts(1, 0), 3, 0, 1, 1), (entry("enqueue"), once, 5, 7, 1, 1)],
         died),
):
    expect(f"{what} is right", judged(*calls, **how) == [], judged(*calls, **how))

with tempfile.TemporaryDirectory() as folder:
    size = 1_000_000
    million = j.Journal(f"{folder}/journal", f"{folder}/history", size, 1)
    for token in range(size):
        million._slots[token * 4], million._history[token * 2] = once, entry_of_all if token else 0
    million.made = size
    begin = time.monotonic()
    seen = check.check(million).wrong
    took = time.monotonic() - begin
    million.close()
    expect("one wrong call of a million is found", len(seen) == 1 and "call 0 " in seen[0], seen[:3])
    expect("in seconds", took < 20, took)

print(f"{passed} passed, {failed} failed")
sys.exit(failed > 0)
