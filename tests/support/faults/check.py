# SPDX-License-Identifier: Apache-2.0
"""Checks the history of a program under faults against the journal of what its functions did.

What must hold of every call, whatever was done to it:
- it has one outcome; none at all only where the program itself was ended;
- it began at most once, or once more for each retry;
- a value is right, and then its function began and ended;
- `not_started` means that it did not begin, `ran` that it began;
- an error is one that the faults of this run can cause, or `cancelled` and `timed_out` of a call that was given up;
- the calls of a queue ran one at a time, in the order in which they were enqueued.

Calls that look the same are judged once, so that a million take a second.
"""
import collections
import pathlib
import re

import journal as j

MOST_SHOWN = 10


def error_names():
    """Of rh::errc, by number."""
    source = pathlib.Path(__file__).parents[3] / "include/runhouse/core/errc.hpp"
    body = re.search(r"enum class errc \{(.*?)\};", source.read_text(encoding="utf-8"), re.DOTALL)[1]
    return ["none", *re.findall(r"^\s*(\w+)(?: = 1)?,", body, re.MULTILINE)]


class Verdict:
    def __init__(self):
        self.calls = 0
        self.outcomes = collections.Counter()  # by word: "the right value", "worker_died, may_have_run"
        self.kinds = collections.Counter()
        self.wrong = []                        # sentences


def problems_of(entry, counts, was_ended, allowed, errors, was_disturbed):
    """Sentences about a call that looks so. `was_ended`: the program did not come to its end by itself."""
    kind, seen, stage, code, outcomes, most, least, flags = j.unpack(entry)
    begun, ended = counts & 0xFFFFFFFF, counts >> 32
    name = j.KINDS[kind]
    if name == "none":
        yield "a token was taken for no call"
        return
    if outcomes > 1:
        yield f"it has {outcomes} outcomes"
    if outcomes == 0 and not was_ended:
        yield "it has no outcome"
    if begun > most:
        yield f"it began {begun} times, and may {most}"
    if ended > begun:
        yield f"it ended {ended} times, and began {begun}"
    if seen in (j.WRONG, j.THROWN_WRONG):
        yield f"its caller saw {j.SEEN[seen]}"
    if seen == j.RIGHT and not (begun >= least and ended >= least):
        yield f"its caller saw the right value, and it began {begun} and ended {ended} times"
    word = j.STAGES[stage] if stage < len(j.STAGES) else f"stage {stage}"
    if word == "not_started" and begun > 0 and name != "repeat":
        yield "its caller was told that it did not start, and it began"
    if word == "ran" and begun == 0:
        yield "its caller was told that it ran, and it did not begin"
    if seen == j.THROWN and word == "may_have_run":
        yield "its caller saw its exception, and may_have_run"
    if seen == j.ERROR:
        error = errors[code] if code < len(errors) else f"error {code}"
        of_its_caller = flags & j.GIVEN_UP and error in ("cancelled", "timed_out")
        if not of_its_caller and error not in allowed:
            yield f"its caller saw {error}, which no fault of this run causes"
    if flags & j.SURVIVES and not was_disturbed and not (begun == ended == 1):
        yield f"nobody took its result, but nothing ended it either, and it began {begun} and ended {ended} times"


def queue_problems(journal):
    """Sentences about calls of queues, with their tokens: two at a time, or not in their order."""
    began_at, ended_at = journal.began_at(), journal.ended_at()
    last = {}  # by queue: the last that began, when, and when it ended
    for token, place in enumerate(journal.places()):
        queue = place & 0xFFFFFFFF
        if queue == 0 or began_at[token] == 0:
            continue
        if queue in last:
            before, began, ended = last[queue]
            if began_at[token] < began:
                yield token, f"it began before {before}, which was enqueued before it in queue {queue}"
            elif ended and began_at[token] < ended:
                yield token, f"it began before {before} had ended, in queue {queue}"
        last[queue] = token, began_at[token], ended_at[token]


def check(journal, was_ended=False, allowed=(), was_disturbed=True):
    """The Verdict on all calls. `allowed`: names of the errors that the faults may cause."""
    verdict, errors = Verdict(), error_names()
    entries, counts = journal.entries(), journal.counts()
    looks = collections.Counter(zip(entries, counts))
    verdict.calls = len(entries)
    bad = {}
    for (entry, count), calls in looks.items():
        kind, seen, stage, code = j.unpack(entry)[:4]
        verdict.kinds[j.KINDS[kind]] += calls
        word = j.SEEN[seen] if seen != j.ERROR else f"{errors[code]}, {j.STAGES[stage]}"
        verdict.outcomes[word] += calls
        sentences = list(problems_of(entry, count, was_ended, allowed, errors, was_disturbed))
        if sentences:
            bad[entry, count] = sentences
    if bad:
        places = journal.places()
        for token, look in enumerate(zip(entries, counts)):
            for sentence in bad.get(look, ()):
                verdict.wrong.append(f"call {token} ({j.KINDS[look[0] & 0xFF]}, operation {places[token] >> 32}): {sentence}")
    for token, sentence in queue_problems(journal):
        verdict.wrong.append(f"call {token} (enqueue, operation {journal.places()[token] >> 32}): {sentence}")
    return verdict
