# SPDX-License-Identifier: Apache-2.0
"""What comes of calls where the system has too little of something, or the program's file is replaced: each ends, with
the error that docs/errors.md promises, and what comes after works.

Usage: faults.py PROGRAM, which is faults_program
"""
import os
import resource
import shutil
import subprocess
import sys
import tempfile

program = sys.argv[1]
is_sanitized = b"__asan_init" in open(program, "rb").read() or b"__tsan_init" in open(program, "rb").read()
passed = failed = skipped = 0


def check(what, holds, seen=""):
    global passed, failed
    passed, failed = passed + bool(holds), failed + (not holds)
    if not holds:
        print(f"FAILED: {what}\n{seen}")


def run(word, **how):
    """Lines of what it printed as a table, and what it said on stderr. A hang is a failure."""
    try:
        done = subprocess.run([program, word], capture_output=True, text=True, timeout=120, **how)
    except subprocess.TimeoutExpired as e:
        check(f"{word} ends", False, e)
        return {}
    check(f"{word}: the program lives", done.returncode == 0, done.stderr[-2000:])
    return dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line and not line.startswith("["))


got = run("gigabyte")
check("a gigabyte of output comes whole", got.get("a gigabyte of output") == "ok" and got.get("lines") == str(1 << 20), got)
check("in bounded memory", is_sanitized or got.get("memory") == "bounded", got)

got = run("crash")
said = got.get("a crash behind half a line", "")
check("a crash behind half a line", said.startswith("worker_died, may have run: ") and "signal 6" in said, got)

got = run("early", env={**os.environ, "FAIL_EARLY": "1"})
for what in ("a worker that ends early", "another"):
    said = got.get(what, "")
    check("a worker that ends before it serves", said.startswith("worker_not_started, not started: ") and "code 3" in said
          and "no device found" in said, got)

got = run("early_again")
said = got.get("a call that began, and has no worker any more", "")
check("a call that is tried again where no worker can be started may have run",
      said.startswith("worker_not_started, may have run: ") and "no device found" in said, got)

if is_sanitized:
    skipped += 1  # a sanitizer needs terabytes of address space
else:
    got = run("memory")
    check("an allocation that fails is the function's std::bad_alloc", got.get("too large an allocation") == "bad_alloc", got)
    check("and harms nothing", got.get("a small one after it") == "ok", got)
    said = got.get("too large an argument", "")
    check("an argument for which a worker has no memory", said == "bad_alloc" or said.startswith("payload_too_large, not started"), got)
    check("and that harms nothing", got.get("a small one after that") == "ok", got)

if is_sanitized:
    skipped += 1  # UBSan itself takes descriptors, to look at whether memory is readable
else:
    got = run("descriptors")
    said = got.get("no descriptors", "")
    check("without descriptors no worker starts", said.startswith("worker_not_started, not started: ") and "Too many open files" in said, got)
    check("with some again it does", got.get("descriptors again") == "ok", got)
    check("a large argument needs none", got.get("a large argument without descriptors") == "ok", got)
    check("and may have one", got.get("and with them") == "ok", got)


def become_nobody():
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    resource.setrlimit(resource.RLIMIT_NPROC, (4096, 4096))


with tempfile.TemporaryDirectory() as folder:
    os.chmod(folder, 0o755)
    copy = os.path.join(folder, "program")
    shutil.copy(program, copy)
    original, program = program, copy
    # The limit does not bind root, so this runs as another user, whose processes are only these.
    if os.getuid() == 0 and not is_sanitized:
        got = run("processes", preexec_fn=become_nobody, cwd="/")
        said = got.get("no more processes", "")
        check("a worker before", got.get("warm") == "ok", got)
        check("a fork that is refused", said.startswith("worker_not_started, not started: ") and "temporarily unavailable" in said, got)
        check("one that is not", got.get("processes again") == "ok", got)
    else:
        skipped += 1

    running = subprocess.Popen([program, "late"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    check("ready", running.stdout.readline() == "ready\n")
    with open(os.path.join(folder, "new"), "w") as new:
        new.write("another program\n")
    os.replace(os.path.join(folder, "new"), program)
    out = running.communicate("go\n", timeout=60)[0]
    check("a worker is the program that runs, not what its path means by now", "replaced: ok" in out, out)

print(f"{passed} passed, {failed} failed, {skipped} skipped")
sys.exit(failed > 0)
