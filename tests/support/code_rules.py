#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Finds what compiles and must not be written: code_rules.py REPOSITORY. Coroutine code that g++ 12 miscompiles;
in headers, thread_local, and virtual functions that g++ would compile in every file.

g++ 12 destroys temporaries twice, or evaluates them twice, where one full expression holds a co_await and more than
named operands. This reads text, not C++: it is strict, and the way out is always to name the operand on a line above.
"""

import pathlib
import re
import sys

COMMENT_OR_LITERAL = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(?P<mark>[^ ()\\\n]*)\(.*?\)(?P=mark)"|"(?:\\.|[^"\\\n])*"|(?<![0-9A-Za-z_])\'(?:\\.|[^\'\\\n])+\'',
    re.DOTALL)
AWAIT = re.compile(r"\bco_await\b")
# Where the text after a co_await stops being its expression: the body of an if, a loop or a lambda.
BODY = re.compile(r"[)\]]\s*(?:mutable\s*)?(?:noexcept\s*)?(?:->\s*[\w:<>,&* ]+?)?\s*\{")
CAPTURE = re.compile(r"(?:^|[(,=\s])\s*\[(?!\[)[^\]]+\]\s*[({]")


def blanked(text):
    """The text without comments and literals, line by line as long as before."""
    return COMMENT_OR_LITERAL.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), text)


def code_of(file):
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".md":  # only what stands in ```cpp fences
        lines, inside = [], False
        for line in text.splitlines():
            fence = line.lstrip().startswith("```")
            lines.append(line if inside and not fence else "")
            inside = line.strip() in ("```cpp", "```c++") if fence and not inside else inside and not fence
        text = "\n".join(lines)
    return blanked(text)


def problems(code):
    """Yields the position and a sentence for each trap."""
    for match in AWAIT.finditer(code):
        before = code[:match.start()]
        if re.search(r"\boperator\s*$", before):
            continue
        before = before[max(before.rfind(c) for c in ";{}") + 1:]
        after = code[match.end():]
        after = after[:after.find(";")] if ";" in after else after
        captures = CAPTURE.search(after)
        body = BODY.search(after)
        expression = after[:body.start() + 1] if body else after

        if re.search(r"\b(?:REQUIRE|CHECK)\w*\s*\(", before):
            yield match.start(), "co_await inside a test macro is evaluated twice: take the value on a line above"
        if AWAIT.search(before):
            yield match.start(), "two co_await in one statement: take each value in a statement of its own"
        if "?" in before or "?" in expression:
            yield match.start(), "co_await beside ?: destroys temporaries twice: use if and else"
        if re.search(r"\bauto\s*&{0,2}\s*\[[^\]]*\]\s*=\s*$", before):
            yield match.start(), "a structured binding of co_await: take the value first, bind its parts on the next line"
        if captures:
            yield match.start(), "a capturing lambda beside co_await is destroyed twice: name it on a line above"
        elif "{" in expression:
            yield match.start(), "a braced value beside co_await is destroyed twice: name it on a line above"


def main():
    repository = pathlib.Path(sys.argv[1]).resolve()
    files = [f for folder in ("include", "tests", "examples") for f in sorted((repository / folder).rglob("*"))
             if f.suffix in {".hpp", ".cpp", ".cu"}]
    readme = repository / "README.md"
    if readme.is_file():
        files.append(readme)
    wrong = 0
    for file in files:
        code = code_of(file)
        found = list(problems(code))
        if file.is_relative_to(repository / "include"):
            found += [(m.start(), "thread_local: a coroutine may resume on another thread")
                      for m in re.finditer(r"\bthread_local\b", code)]
            if not ({"node"} & set(file.relative_to(repository / "include").parts)):
                found += [(m.start(), "system_clock: it jumps; only logs, which are node's, say what time it is")
                          for m in re.finditer(r"\bsystem_clock\b", code)]
            found += [(m.start(), "override without a body or inline: g++ takes it for the key function of its class, and "
                       "compiles all that the class calls wherever this header is included")
                      for m in re.finditer(r"^(?!.*\binline\b).*\boverride\s*;", code, re.MULTILINE)]
        for position, sentence in sorted(found):
            print(f"{file.relative_to(repository)}:{code.count(chr(10), 0, position) + 1}: {sentence}")
            wrong += 1
    print(f"{len(files)} files, {wrong} wrong")
    return 1 if wrong or not files else 0


sys.exit(main())
