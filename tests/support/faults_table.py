#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that docs/faults.md and docs/promises.md are true to what there is: every row names a test that exists, and
those of faults errors and stages that do: faults_table.py REPOSITORY."""

import pathlib
import re
import sys

STAGES = {"not_started", "may_have_run", "ran", "any", "-"}


def missing_test(root, cell):
    """Yields what is wrong with `FILE`: a sentence of the test."""
    match = re.fullmatch(r"`([^`]+)`: (.+)", cell)
    if not match:
        yield f"'{cell}' names no test"
    elif not (root / match[1]).is_file():
        yield f"there is no {match[1]}"
    elif match[2] not in (root / match[1]).read_text(encoding="utf-8"):
        yield f"{match[1]} has no '{match[2]}'"


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
        wrong += [f"{number}: {why}" for why in missing_test(root, test)]
    wrong = [f"docs/faults.md:{w}" for w in wrong]

    for number, line in enumerate((root / "docs/promises.md").read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("|") and not line.startswith(("| promise |", "|---")):
            rows += 1
            test = line.strip("|").split("|")[-1].strip()
            wrong += [f"docs/promises.md:{number}: {why}" for why in missing_test(root, test)]

    print("\n".join(wrong + [f"{rows} faults and promises, {len(wrong)} wrong"]))
    return bool(wrong) or not rows


if __name__ == "__main__":
    sys.exit(main())
