#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that docs/errors.md and protocol.md list the errors of core/errc.hpp, all of them, in order, with their
numbers and remedies: errors_table.py REPOSITORY."""

import pathlib
import re
import sys


def main():
    root = pathlib.Path(sys.argv[1])
    source = (root / "include/runhouse/core/errc.hpp").read_text(encoding="utf-8")
    body = re.search(r"enum class errc \{(.*?)\};", source, re.DOTALL)[1]
    names = re.findall(r"^\s*(\w+)(?: = 1)?,", body, re.MULTILINE)
    wrong = []

    remedies = dict.fromkeys(names, "fix_the_call")
    function = re.search(r"inline remedy remedy_of\(errc e\).*?default:", source, re.DOTALL)[0]
    for cases, remedy in re.findall(r"((?:case errc::\w+:\s*)+)return remedy::(\w+);", function):
        for name in re.findall(r"errc::(\w+)", cases):
            remedies[name] = remedy
    texts = dict(re.findall(r'case errc::(\w+): return "(\w+)";', source))
    if texts != {name: name for name in names}:
        wrong.append(f"errc.hpp: name_of() has not exactly the enumerators: {set(texts) ^ set(names)}")

    page = (root / "docs/errors.md").read_text(encoding="utf-8")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| `")]
    rows = [(cell[0].strip("`"), *cell[1:]) for cell in cells if len(cell) == 5]
    if [row[0] for row in rows] != names:
        wrong.append(f"docs/errors.md: the rows are not the enumerators in order: {[r[0] for r in rows]} and {names}")
    for name, when, stage, remedy, _ in rows:
        if not when.strip():
            wrong.append(f"docs/errors.md: {name} does not say when")
        if remedies.get(name) != remedy:
            wrong.append(f"docs/errors.md: {name} has the remedy {remedy}, and {remedies.get(name)} in errc.hpp")
        for word in re.findall(r"\w+_\w+|\bran\b|\bany\b", stage):
            if word not in ("not_started", "may_have_run", "ran", "any"):
                wrong.append(f"docs/errors.md: {name} has a stage '{word}'")

    protocol = (root / "include/runhouse/wire/protocol.md").read_text(encoding="utf-8")
    section = re.search(r"### 10\.1(.*?)### 10\.2", protocol, re.DOTALL)[1]
    numbers = {name: int(number) for number, name in re.findall(r"\| (\d+) (\w+) ", section)}
    if numbers != {name: i + 1 for i, name in enumerate(names)}:
        wrong.append(f"protocol.md: 10.1 has other names or numbers: {set(numbers.items()) ^ {(n, i + 1) for i, n in enumerate(names)}}")

    print("\n".join(wrong + [f"{len(names)} errors, {len(wrong)} wrong"]))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
