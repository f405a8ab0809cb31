#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compiles each tests/compile_fail/*.cpp, which must fail with the sentence it names: run.py COMPILER FLAGS...

A case says in comments before its code
    // expect: the sentence
    // flags: -more -flags      (may be left out)
    // lines: N                 (may be left out)
and the sentence must come within the first three lines of what the compiler says, its include trace not counted; or
within N lines, where the mistake is inside a serialize() of the user's: g++ begins with how it got there, in up to 11 lines.
"""

import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

LINES = 3
TRACE = re.compile(r"^(In file included from | {17}from )")


def directives(case, key):
    return [m[1].strip() for m in re.finditer(rf"^// {key}: (.*)$", case.read_text(encoding="utf-8"), re.MULTILINE)]


def run(case, command):
    """What is wrong with the case; empty if nothing is."""
    expected = directives(case, "expect")
    if len(expected) != 1:
        return "has no line '// expect: the sentence', or more than one"
    flags = " ".join(directives(case, "flags")).split()
    done = subprocess.run([*command, *flags, "-fsyntax-only", str(case)], capture_output=True, text=True,
                          env={**os.environ, "LC_ALL": "C"})
    if done.returncode == 0:
        return f"compiles, and should not\n  expected: {expected[0]}"
    said = [line for line in done.stderr.splitlines() if not TRACE.match(line)]
    lines = int((directives(case, "lines") or [LINES])[0])
    if any(expected[0] in line for line in said[:lines]):
        return ""
    where = next((number for number, line in enumerate(said, 1) if expected[0] in line), None)
    problem = f"says so only in line {where}" if where else "does not say so"
    return f"{problem}\n  expected: {expected[0]}\n  what came:\n" + "\n".join("    " + line for line in said[:12])


def main():
    command = sys.argv[1:]
    cases = sorted(pathlib.Path(__file__).parent.glob("*.cpp"))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda case: run(case, command), cases))
    for case, result in zip(cases, results):
        print(f"{case.name}: {result or 'ok'}")
    wrong = sum(map(bool, results))
    print(f"{len(cases)} cases, {wrong} wrong")
    return 1 if wrong or not cases else 0


sys.exit(main())
