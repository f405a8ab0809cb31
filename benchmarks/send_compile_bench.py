#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How long g++ -O2 takes, in user time: a file that sends twenty functions beside one that calls the same with cereal
and a socket, written by hand (bar: at most 2 times that), and <runhouse/send.hpp> alone beside all of the library
(bar: at most 0.6). Medians of 5, in turn."""

import os
import resource
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
FLAGS = ["-std=c++20", "-O2", "-I", os.path.join(HERE, "..", "include"), "-DASIO_STANDALONE", "-DASIO_HAS_CO_AWAIT=1",
         "-DASIO_HAS_STD_COROUTINE=1"]
ROUNDS = 5


def seconds(source):
    """User and system time of one compilation: what other work the machine does adds little to it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([os.environ.get("CXX", "g++"), *FLAGS, "-c", source, "-o", os.devnull], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    with tempfile.TemporaryDirectory() as folder:
        sources = {"send_20_functions": os.path.join(HERE, "send_compile", "by_send.cpp"),
                   "by_hand_20_functions": os.path.join(HERE, "send_compile", "by_hand.cpp")}
        for name in ("send", "runhouse"):
            sources[name + "_hpp"] = path = os.path.join(folder, name + ".cpp")
            with open(path, "w") as out:
                out.write(f"#include <runhouse/{name}.hpp>\n")
        taken = {name: [] for name in sources}
        for _ in range(ROUNDS):
            for name, source in sources.items():
                taken[name].append(seconds(source))
    median = {name: statistics.median(all_of) for name, all_of in taken.items()}
    for name, value in median.items():
        print(f"compile_{name} {value:.4g} s")
    print(f"compile_send_to_by_hand {median['send_20_functions'] / median['by_hand_20_functions']:.4g} ratio")
    print(f"compile_send_hpp_to_runhouse_hpp {median['send_hpp'] / median['runhouse_hpp']:.4g} ratio")


if __name__ == "__main__":
    sys.exit(main())
