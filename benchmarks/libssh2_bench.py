#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What runs over libssh2, beside a bare channel of libssh2 that is tuned by hand, and beside what goes over the ssh program, on
a real sshd on loopback. Builds its programs in a temporary folder, and prints a table with the bars.

    python3 benchmarks/libssh2_bench.py [ROW...]     only rows whose names contain one of the words
"""
import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile

import ssh_bench as s

SIZE = 512 * s.MIB


def main():
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="runhouse-bench-")))
        os.chmod(folder, 0o755)
        far = stack.enter_context(s.sshd.Machine(server=["Subsystem sftp internal-sftp"]))
        b = s.Bench(far, folder, "libssh2")
        by_program = s.Bench(far, folder, "program")
        program = s.build(folder, "program")
        bare = folder / "bare"
        subprocess.run(["g++", *s.flags(), str(s.ROOT / "benchmarks/ssh/libssh2_bare.cpp"), "-o", bare, "-lssh2"], check=True)
        b.program(program)

        def alone(*words):
            done = subprocess.run([bare, str(far.server.port), far.account.name, far.user_key, *map(str, words)], check=True, capture_output=True, text=True)
            return float(done.stdout)
        print(f"{'':62} {'ours':>12} {'beside':>12} {'':6} {'ratio':>6}    bar")
        if s.wanted("round trip"):
            subprocess.run(["scp", "-q", "-F", far.folder / "config", program, f"{far.host}:relay"], env=far.environment(), check=True)
            ours, theirs = s.median_pair(lambda: b.program(program, "trip", 3000)[0], lambda: alone("trip", 3000, "./relay relay"))
            b.row("round trip / echo by a bare channel and one hop more", ours, theirs, "us", 1.3)
            ours, theirs = s.median_pair(lambda: b.program(program, "trip", 3000)[0], lambda: by_program.program(program, "trip", 3000)[0])
            b.row("round trip / the same by the ssh program", ours, theirs, "us")
        if s.wanted("connect"):
            ours, theirs = s.median_pair(lambda: s.seconds(lambda: b.program(program)) * 1e3, lambda: s.seconds(lambda: b.ssh("true")) * 1e3)
            b.row("connect to a warm host, and a first result / ssh host true", ours, theirs, "ms", 1.0)
        if s.wanted("bulk"):
            for name, verb, words in (("argument", "give", ("up", SIZE, "cat > /dev/shm/runhouse-bench-$$; rm /dev/shm/runhouse-bench-$$")),
                                      ("result", "fetch", ("down", SIZE, f"head -c {SIZE} /dev/zero"))):
                ours, theirs = s.median_pair(lambda: b.program(program, verb, SIZE)[0] / s.MIB, lambda: alone(*words) / s.MIB, 3)
                b.row(f"bulk {name} of 512 MiB / a bare channel", ours, theirs, "MiB/s", 0.9, higher_is_better=True)
                ours, theirs = s.median_pair(lambda: b.program(program, verb, SIZE)[0] / s.MIB, lambda: by_program.program(program, verb, SIZE)[0] / s.MIB, 3)
                b.row(f"bulk {name} of 512 MiB / the same by the ssh program", ours, theirs, "MiB/s")
        return 1 if b.failed else 0


if __name__ == "__main__":
    sys.exit(main())
