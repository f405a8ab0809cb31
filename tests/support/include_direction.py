#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks who may include whom, and the licence line: include_direction.py REPOSITORY."""

import pathlib
import re
import sys

# A header includes only layers with a lower number, and its own folder. This is the one place that says so.
LEVELS = {
    "core": 0,
    "os": 1,
    "wire": 2, "io": 2,
    "async": 3,
    "function": 4, "needs": 4, "ssh": 4,
    "rpc": 5,
    "worker": 6, "node": 6, "host": 6,
    "engine": 7,
    "cluster": 8,
    "send": 9,
    "data": 10, "secrets": 10, "naming": 10,
    "cli": 11, "testing": 11,
    "": 12,  # the headers of include/runhouse itself
}
# What only one layer includes.
HOMES = {"cereal/": "wire", "libssh2": "ssh"}
# What no header includes: each costs every user a second or more.
NOWHERE = {"asio.hpp", "iostream", "regex"}

LICENCE = "SPDX-License-Identifier: Apache-2.0"
LICENSED_FOLDERS = ("include", "tests", "examples", "benchmarks", "cmake")
LICENSED_SUFFIXES = {".hpp", ".h", ".cpp", ".cu", ".py", ".sh", ".cmake", ".in"}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def called(layer):
    return f"{layer}/" if layer else "the top level"


def layer_of(parts):
    """The layer of a header, by its path below include/runhouse."""
    return parts[0] if len(parts) > 1 and parts[0] != "detail" else ""


def own_layer(file, repository):
    """The layer whose detail/ the file may include: tests of a layer belong to it. None: no layer's."""
    parts = file.relative_to(repository).parts
    if parts[0] == "include":
        return layer_of(parts[2:])
    return parts[1] if parts[0] == "tests" and len(parts) > 2 else None


def included(file, repository):
    """Yields the line, the text and, for a header of ours, the path below include/runhouse of each include."""
    ours = repository / "include" / "runhouse"
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        text = match[2]
        beside = (file.parent / text).resolve()
        if match[1] == '"' and beside.is_relative_to(ours):
            yield number, text, beside.relative_to(ours).parts
        elif text.startswith("runhouse/"):
            yield number, text, pathlib.PurePosixPath(text).parts[1:]
        else:
            yield number, text, None


def check_header(file, repository):
    layer = own_layer(file, repository)
    if layer not in LEVELS:
        yield 1, f"{layer}/ is no layer; LEVELS in tests/support/include_direction.py lists them"
        return
    for number, text, parts in included(file, repository):
        if parts is not None:
            target = layer_of(parts)
            if target not in LEVELS:
                yield number, f"includes {text}, and {target}/ is no layer"
            elif target != layer and LEVELS[target] >= LEVELS[layer]:
                yield number, (f"{called(layer)} (level {LEVELS[layer]}) includes {text} of {called(target)} "
                               f"(level {LEVELS[target]}); only lower levels and its own folder are allowed")
            continue
        for prefix, home in HOMES.items():
            if text.startswith(prefix) and layer != home:
                yield number, f"includes <{text}>; only {home}/ does"
        if text in NOWHERE:
            yield number, f"includes <{text}>, which no header does: it makes every user's file slow to compile"


def check_detail(file, repository):
    for number, text, parts in included(file, repository):
        if parts and "detail" in parts and layer_of(parts) != own_layer(file, repository):
            yield number, f"includes {text}; only {called(layer_of(parts))} includes its detail/"


def check_licence(file, _):
    if LICENCE not in file.read_text(encoding="utf-8")[:400]:
        yield 1, f"has no line '{LICENCE}' at its beginning"


def main():
    repository = pathlib.Path(sys.argv[1]).resolve()
    files = sorted(f for folder in LICENSED_FOLDERS for f in (repository / folder).rglob("*") if f.is_file())
    wrong = 0
    for file in files:
        checks = []
        if file.suffix in LICENSED_SUFFIXES or file.name == "CMakeLists.txt":
            checks.append(check_licence)
        if file.suffix in {".hpp", ".h", ".cpp", ".cu"}:
            checks.append(check_detail)
        if file.suffix == ".hpp" and file.is_relative_to(repository / "include" / "runhouse"):
            checks.append(check_header)
        for check in checks:
            for number, sentence in check(file, repository):
                print(f"{file.relative_to(repository)}:{number}: {sentence}")
                wrong += 1
    print(f"{len(files)} files, {wrong} wrong")
    return 1 if wrong or not files else 0


sys.exit(main())
