# SPDX-License-Identifier: Apache-2.0
"""A program that ends, in whatever way, leaves no process behind: neither workers nor what their functions started.

Usage: lost_program.py PROGRAM [ROUNDS], which is how often the program is killed
"""
import os
import re
import signal
import subprocess
import sys
import time

program = sys.argv[1]
rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 20
passed = failed = 0


def check(what, holds, seen=""):
    global passed, failed
    passed, failed = passed + bool(holds), failed + (not holds)
    if not holds:
        print(f"FAILED: {what} {seen}")


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def gone(pids, seconds=5):
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(map(is_running, pids)):
        time.sleep(0.01)
    return not any(map(is_running, pids))


def started(*words):
    """The program with a call that stays, and the processes that it has started."""
    running = subprocess.Popen([program, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    line = running.stdout.readline()
    pids = [int(n) for n in re.fullmatch(r"\[.*stay\] worker (\d+) child (\d+)\n", line).groups()]
    check("they run", all(map(is_running, pids)), line)
    return running, pids


for _ in range(rounds):
    running, pids = started("stay")
    running.kill()
    running.wait()
    check("after SIGKILL of the program nothing is left", gone(pids), pids)

running, pids = started("stay")
os.kill(pids[0], signal.SIGSTOP)
running.kill()
running.wait()
check("nor is a worker that was stopped", gone(pids), pids)

running, pids = started("exit")
check("exit() in the middle of a call", running.wait(10) == 5)
check("leaves nothing", gone(pids), pids)

for number in (signal.SIGINT, signal.SIGTERM):
    running, pids = started("stay")
    running.send_signal(number)
    err = running.communicate(timeout=10)[1]
    check("an interrupt cancels the root task, whose error is printed", running.returncode == 1 and "cancelled" in err, err)
    check("and leaves nothing", gone(pids), pids)

# In the middle of other things than one call; with one worker, so that there is but one that stays.
os.environ["RUNHOUSE_WORKERS"] = "1"
for word in ("map", "chain", "queue"):
    running, pids = started(word)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=20)
    check(f"an interrupt in the middle of a {word} too", running.returncode == 1 and "cancelled" in err, err)
    check("nothing more of it began, and nothing is left", "stay" not in out and gone(pids), out)
del os.environ["RUNHOUSE_WORKERS"]

for first, second in ((signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM)):
    running, pids = started("ignore")
    running.send_signal(first)
    check("an interrupt can be ignored", running.stdout.readline() == "ignored\n" and running.poll() is None)
    running.send_signal(second)
    try:
        code = running.wait(20)
    except subprocess.TimeoutExpired:
        code = running.kill()
        running.wait()
    check("but not two", code == -second, (first, second, code))
    check("which leave nothing", gone(pids), pids)

running, pids = started("stay")
os.kill(pids[0], signal.SIGKILL)
err = running.communicate(timeout=10)[1]
check("the death of a worker is the program's error", "signal 9" in err and running.returncode == 1, err)
check("what the worker had started is gone", gone(pids), pids)


def said(*words, env=None):
    done = subprocess.run([program, *words], capture_output=True, text=True, timeout=20, env={**os.environ, **(env or {})})
    return done.returncode, done.stdout, done.stderr


check("a plain call", said("add") == (0, "5\n", ""), said("add"))
check("--cluster local", said("add", "--cluster", "local")[:2] == (0, "5\n"))
code, out, err = said("add", "--cluster", "moon")
check("an unknown cluster is named", code == 1 and "moon" in err, err)
code, out, err = said("add", "--cluster")
check("--cluster without a name", code == 1 and "needs a name" in err, err)
check("RUNHOUSE_CLUSTER", said("add", env={"RUNHOUSE_CLUSTER": "moon"})[0] == 1)
check("RUNHOUSE_WORKERS", said("add", env={"RUNHOUSE_WORKERS": "1"})[:2] == (0, "5\n"))
code, out, err = said("add", env={"RUNHOUSE_WORKERS": "many"})
check("a wrong RUNHOUSE_WORKERS is named", code == 1 and "many" in err, err)
check("the program's own exit code", said("code")[0] == 7)
code, out, err = said("throw")
check("its exception is printed", code == 1 and "what the program threw" in err, err)
code, out, err = said("unserved")
check("without rh::main nothing starts", code == 0 and out.startswith("not_served"), out)
# While exit() runs, the calls that they have made begin: so more than once.
for _ in range(rounds):
    code, out, err = said("static")
    check("handles in static objects do no harm", code == 0 and err == "", (code, err))
    check("and what they had started is gone", gone([int(n) for n in re.findall(r"\d+", out)]), out)
code, out, err = said("add", env={"RUNHOUSE_WORKER": ""})
check("a stray RUNHOUSE_WORKER is refused", code == 2 and "RUNHOUSE_WORKER" in err, err)

print(f"{passed} passed, {failed} failed")
sys.exit(failed > 0)
