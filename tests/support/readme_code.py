# SPDX-License-Identifier: Apache-2.0
"""Checks that code in Markdown is cut from files that are compiled.

A line `<!-- from FILE -->` before a code block says that the block stands in FILE, word for word.
Usage: readme_code.py ROOT
"""
import pathlib
import re
import sys

root = pathlib.Path(sys.argv[1])
wrong = 0
checked = 0
for page in [root / "README.md", *sorted((root / "docs").glob("**/*.md"))]:
    text = page.read_text()
    for match in re.finditer(r"<!-- from (\S+) -->\n```\w*\n(.*?)```", text, re.S):
        checked += 1
        source = root / match[1]
        if not source.exists() or match[2] not in source.read_text():
            line = text.count("\n", 0, match.start()) + 1
            print(f"{page.relative_to(root)}:{line}: this code does not stand in {match[1]}; copy it from there")
            wrong += 1
    for match in re.finditer(r"\]\(([^)#:]+)\)", text):
        if not (page.parent / match[1]).exists():
            line = text.count("\n", 0, match.start()) + 1
            print(f"{page.relative_to(root)}:{line}: there is no {match[1]}")
            wrong += 1
print(f"{checked} pieces of code checked")
sys.exit(wrong > 0 or checked == 0)
