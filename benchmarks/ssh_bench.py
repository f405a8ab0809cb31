#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What runs over the ssh program, beside what ssh itself does, on a real sshd on loopback: at its own speed, and through a proxy
that delays each way by 25 ms. Builds its programs in a temporary folder, and prints a table with the bars.

    python3 benchmarks/ssh_bench.py [ROW...]     only rows whose names contain one of the words
"""
import contextlib
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/support"))
sys.path.insert(0, str(ROOT / "tests/support/faults"))
import byte_proxy
import sshd

ROUNDS = 5
MIB = 1 << 20
WANTED = sys.argv[1:]


def flags():
    return ["-std=c++20", "-O2", f"-I{ROOT / 'include'}", f"-I{ROOT / 'benchmarks/ssh'}", "-DASIO_STANDALONE", "-DASIO_HAS_CO_AWAIT=1",
            "-DASIO_HAS_STD_COROUTINE=1"]


def build(folder, name, *definitions):
    """One program; `definitions` as of the preprocessor."""
    program = folder / name
    subprocess.run(["g++", *flags(), *(f"-D{d}" for d in definitions), str(ROOT / "benchmarks/ssh/program.cpp"), "-o", str(program), "-pthread",
                    "-lcrypto"], check=True)
    return program


def seconds(run):
    start = time.monotonic()
    run()
    return time.monotonic() - start


def median_pair(ours, theirs, rounds=ROUNDS):
    """Of two things that are done in turn."""
    a, b = [], []
    for _ in range(rounds):
        a.append(ours())
        b.append(theirs())
    return statistics.median(a), statistics.median(b)


class Bench:
    def __init__(self, far, folder, transport="program"):
        self.far, self.folder, self.transport = far, folder, transport
        self.failed = 0

    def program(self, program, *words, host=None, **variables):
        done = subprocess.run([str(program), "--cluster", host or self.far.host, *map(str, words)], env=self.far.environment(RUNHOUSE_SSH=self.transport, **variables),
                              capture_output=True, text=True, timeout=600)
        if done.returncode != 0:
            raise RuntimeError(f"{program.name} {words}: {done.returncode} {done.stdout} {done.stderr}")
        return [float(w) for w in done.stdout.split()]

    def ssh(self, command, host=None, **more):
        return subprocess.run(["ssh", "-T", "-o", "BatchMode=yes", "--", host or self.far.host, command], env=self.far.environment(), check=True,
                              capture_output="stdout" not in more, **more)

    def row(self, name, ours, theirs, unit, bar=None, higher_is_better=False):
        ratio = ours / theirs
        if bar is None:
            print(f"{name:62} {ours:12.2f} {theirs:12.2f} {unit:6} {ratio:6.2f}", flush=True)
            return
        met = ratio >= bar if higher_is_better else ratio <= bar
        self.failed += not met
        sign = ">=" if higher_is_better else "<="
        print(f"{name:62} {ours:12.2f} {theirs:12.2f} {unit:6} {ratio:6.2f} {sign} {bar:<5} {'' if met else 'NOT MET'}", flush=True)


def wanted(name):
    return not WANTED or any(w in name for w in WANTED)


def main():
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="runhouse-bench-")))
        os.chmod(folder, 0o755)
        far = stack.enter_context(sshd.Machine(server=["Subsystem sftp internal-sftp"]))
        slow = stack.enter_context(sshd.Line([far.server.port]))
        slow.each = [byte_proxy.Fault("delay", amount=0.025, seconds=1e6)]
        far.add_host("slow", slow.port)
        b = Bench(far, folder)
        program = build(folder, "program")
        print(f"{'':62} {'ours':>12} {'ssh':>12} {'':6} {'ratio':>6}    bar")

        if wanted("round trip"):
            b.program(program)
            subprocess.run(["scp", "-q", "-F", far.folder / "config", program, f"{far.host}:relay"], env=far.environment(), check=True)
            ours, theirs = median_pair(lambda: b.program(program, "trip", 3000)[0],
                                       lambda: float(subprocess.run([str(program), "ping", "3000", "ssh", "-T", far.host, "./relay relay"], check=True,
                                                                    env=far.environment(), capture_output=True, text=True).stdout))
            b.row("round trip of a tiny call / echo by ssh and one hop more", ours, theirs, "us", 1.3)

        for host, where in ((far.host, "loopback"), ("slow", "25 ms each way")):
            name = f"connect to a warm host, and a first result ({where})"
            if wanted(name):
                b.program(program, host=host)
                ours, theirs = median_pair(lambda: seconds(lambda: b.program(program, host=host)), lambda: seconds(lambda: b.ssh("true", host=host)))
                b.row(name, ours * 1e3, theirs * 1e3, "ms", 1.3)

        pads = {}
        for megabytes in (20, 100):
            pads[megabytes] = folder / f"pad{megabytes}"
            pads[megabytes].write_bytes(os.urandom(megabytes * 1000 * 1000))
        for host, where in ((far.host, "loopback"), ("slow", "25 ms each way")):
            name = f"first use of a host, 20 MB ({where})"
            if wanted(name):
                large = build(folder, "large", f'PAD="{pads[20]}"')
                stripped = folder / "stripped"
                subprocess.run(["strip", "-o", str(stripped), str(large)], check=True)

                def first_use():
                    b.ssh("rm -rf .runhouse")
                    b.ssh("pkill -f '[r]unhouse-node'; sleep 0.3; true")
                    return seconds(lambda: b.program(large, host=host))

                def scp():
                    return seconds(lambda: b.ssh("true", host=host)) + seconds(
                        lambda: subprocess.run(["scp", "-q", "-F", far.folder / "config", stripped, f"{host}:copied"], env=far.environment(), check=True))
                ours, theirs = median_pair(first_use, scp, 3)
                b.row(name, ours * 1e3, theirs * 1e3, "ms", 1.5)

        if wanted("relink"):
            first = build(folder, "relinked", f'PAD="{pads[100]}"')
            b.program(first)
            size = first.stat().st_size

            def shipped(program):
                done = subprocess.run([str(program), "--cluster", far.host], env=far.environment(RUNHOUSE_VERBOSE="1", RUNHOUSE_SSH="program"), capture_output=True, text=True,
                                      check=True)
                return int(re.search(r"copied (\d+) bytes", done.stderr)[1])
            again = shipped(first)
            second = build(folder, "relinked", f'PAD="{pads[100]}"', "CHANGED=3")
            changed = shipped(second)
            print(f"second run of the same program: {again} bytes shipped; relink of {size / 1e6:.0f} MB with one function changed: "
                  f"{changed} bytes, {changed / size * 100:.2f} % (bar 5 %)", flush=True)
            b.failed += again != 0 or changed > 0.05 * size

        big = 1024 * MIB
        if wanted("argument"):
            for size, host, where in ((big, None, "1 GiB"), (big // 4, "slow", "256 MiB at 25 ms each way")):
                source = pathlib.Path("/dev/shm") / f"runhouse-bench-{os.getpid()}"
                try:
                    with open(source, "wb") as out:
                        for _ in range(size // MIB):
                            out.write(os.urandom(MIB))
                    os.chmod(source, 0o644)

                    def copy_up():
                        with open(source, "rb") as data:
                            took = seconds(lambda: b.ssh(f"cat > {source}.far", host=host, stdin=data))
                        b.ssh(f"rm {source}.far")
                        return size / (took - seconds(lambda: b.ssh("true", host=host)))

                    def copy_down():
                        took = seconds(lambda: b.ssh(f"cat {source}", host=host, stdout=subprocess.DEVNULL))
                        return size / (took - seconds(lambda: b.ssh("true", host=host)))
                    for name, verb, theirs in ((f"argument of {where}", "up", copy_up),
                                               (f"argument of {where} that is given away", "give", copy_up),
                                               (f"result of {where}", "down", copy_down),
                                               (f"result of {where} that is held there", "fetch", copy_down)):
                        a, c = median_pair(lambda: b.program(program, verb, size, host=host)[0], theirs, 3)
                        b.row(name, a / MIB, c / MIB, "MiB/s", 0.8, higher_is_better=True)
                finally:
                    for left in (source, pathlib.Path(f"{source}.far")):
                        left.unlink(missing_ok=True)

        if wanted("chain"):
            chain = b.program(program, "chain", 10, host="slow")[0]
            b.row("chain of 10 dependent sends at 50 ms / one round trip", chain, 50, "ms", 1.2)
        if wanted("map"):
            near, slowly = b.program(program, "map", 10000)[0], b.program(program, "map", 10000, host="slow")[0]
            b.row("map of 10,000 at 50 ms, round trips more than at 0 ms / 1", (slowly - near) / 50, 1, "", 3)
        if wanted("beside"):
            alone, median, worst, rate = b.program(program, "beside", 2048 * MIB)
            chunk = 128 * 1024 / rate * 1e3
            print(f"a 1 KiB reply beside 2 GiB: {alone:.3f} ms alone, {median:.3f} ms (worst {worst:.3f}) beside it at {rate / MIB:.0f} MiB/s, where a "
                  f"chunk takes {chunk:.3f} ms: delayed by {(median - alone) / chunk:.1f} chunks (bar: 1)", flush=True)
        return 1 if b.failed else 0


if __name__ == "__main__":
    sys.exit(main())
