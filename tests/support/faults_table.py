#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that docs/faults.md is true to what there is: every row names errors and stages that exist, and a test that
does: faults_table.py REPOSITORY."""

import pathlib
import re
import sys

STAGES = {"not_started", "may_have_run", "ran", "any", "-"}


def main():
    root = pathlib.Path(sys.argv[1])
    source = (root / "include/runhouse/core/errc.hpp").read_text(encoding="utf-8")
    body = re.search(r"enum class errc \{(.*?)\};", source, re.DOTALL)[1]
    errors = set(re.findall(r"^\s*(\w+)(?: = 1)?,", body, re.MULTILINE))
    rows, wrong = 0, []

    for number, line in enumerate((root / "docs/faults.md").read_text(encoding="utf-8").splitlines(), 1):
        if not line.startswith("|") or line.startswith(("| fault |", "|---")):
            continue
        rows += 1
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != 5 or not all(cells):
            wrong.append(f"{number}: {len(cells)} cells, or an empty one")
            continue
        _, seen, stage, _, test = cells
        for name in re.findall(r"`(\w+)`", seen):
            if name not in errors:
                wrong.append(f"{number}: there is no error '{name}'")
        if stage not in STAGES:
            wrong.append(f"{number}: there is no stage '{stage}'")
        file, name = re.fullmatch(r"`([^`]+)`: (.+)", test).groups()
        path = root / file
        if not path.is_file():
            wrong.append(f"{number}: there is no {file}")
        elif name not in path.read_text(encoding="utf-8"):
            wrong.append(f"{number}: {file} has no '{name}'")

    print("\n".join([f"docs/faults.md:{w}" for w in wrong] + [f"{rows} faults, {len(wrong)} wrong"]))
    return bool(wrong) or not rows


if __name__ == "__main__":
    sys.exit(main())
