#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Builds the program of link_variants/ in the ways that programs are linked, and runs each, which calls every kind of
function in a worker: link_variants.py COMPILER FLAGS... -- LIBRARIES...

main.cpp, which is slow to compile, is compiled once; so are other files whose flags are the same in two variants.
"""

import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

SOURCES = pathlib.Path(__file__).parent / "link_variants"
# name: flags of a, b and libstatic; of libshared and plugin; of the link
VARIANTS = {
    "pie, -O0": (["-O0", "-fPIE"], ["-O0", "-fPIC"], ["-pie"]),
    "pie, -O0, hidden visibility in the shared library": (
        ["-O0", "-fPIE"], ["-O0", "-fPIC", "-fvisibility=hidden", "-fvisibility-inlines-hidden"], ["-pie"]),
    "pie, -O0, every symbol exported": (["-O0", "-fPIE"], ["-O0", "-fPIC"], ["-pie", "-rdynamic"]),
    "no pie, -O2": (["-O2", "-fno-pie"], ["-O0", "-fPIC"], ["-no-pie"]),
    "pie, -O2 -flto, all hidden": (
        ["-O2", "-flto", "-fPIE", "-fvisibility=hidden"], ["-O2", "-flto", "-fPIC", "-fvisibility=hidden"],
        ["-pie", "-O2", "-flto"]),
    "no pie, -O2, lld --icf=all --gc-sections": (
        ["-O2", "-fno-pie", "-ffunction-sections", "-fdata-sections"], ["-O0", "-fPIC"],
        ["-no-pie", "-fuse-ld=lld", "-Wl,--icf=all", "-Wl,--gc-sections"]),
}


def call(command, **more):
    done = subprocess.run(command, capture_output=True, text=True, **more)
    # Without make, -flto=auto links as well, and remarks that it does so on one core.
    remarks = [line for line in done.stderr.splitlines() if not line.startswith("lto-wrapper: ")]
    if done.returncode != 0 or remarks:
        raise RuntimeError(f"{' '.join(map(str, command))}\nended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


class build:
    def __init__(self, compiler, flags, libraries, folder, pool):
        self.compiler, self.flags, self.libraries, self.folder, self.pool = compiler, flags, libraries, folder, pool
        version = re.search(r"clang version (\d+)", call([compiler, "--version"]))
        self.clang = version and int(version[1])
        self.objects = {}

    def compile(self, name, flags):
        """The object file, in the future."""
        key = (name, *flags)
        if key not in self.objects:
            out = self.folder / f"{name}.{len(self.objects)}.o"
            command = [self.compiler, *self.flags, *flags, "-c", SOURCES / f"{name}.cpp", "-o", out]
            self.objects[key] = self.pool.submit(lambda: (call(command), out)[1])
        return self.objects[key]

    def start(self, variant):
        own, shared, _ = VARIANTS[variant]
        return {name: self.compile(name, flags) for name, flags in (
            ("main", ["-O0", "-fPIE"]), ("a", own), ("b", own), ("libstatic", own), ("libshared", shared),
            ("plugin", shared))}

    def finish(self, variant, objects):
        """Links and runs it."""
        _, shared, link = VARIANTS[variant]
        if "-flto" in link:
            # Clang's needs its own linker. G++ 12's remarks on -flto without a number of jobs, and numbers what a
            # coroutine keeps anew in every file, so that it takes one coroutine in two files for two (-Wodr).
            own = [f"-fuse-ld=lld-{self.clang}"] if self.clang else ["-flto=auto", "-Wno-odr"]
            shared, link = shared + own, link + own
        folder = self.folder / variant.replace(" ", "_").replace(",", "").replace("=", "_")
        folder.mkdir()
        file = {name: object.result() for name, object in objects.items()}
        library = [self.compiler, *shared, "-shared", "-Wl,-z,defs"]
        call([*library, file["libshared"], "-o", folder / "libshared.so", *self.libraries])
        call([*library, file["plugin"], "-o", folder / "plugin.so", *self.libraries])
        archive = folder / "libstatic.a"
        # llvm-ar and gcc-ar list the symbols of LTO objects; the linker reads them either way when it is told to.
        ar = shutil.which(f"llvm-ar-{self.clang}" if self.clang else "gcc-ar") or "ar"
        call([ar, "rcs", archive, file["libstatic"]])
        call([self.compiler, *link, file["main"], file["a"], file["b"], archive, "-L", folder, "-lshared", "-ldl",
              "-Wl,-rpath,$ORIGIN", "-o", folder / "program", *self.libraries])
        environment = {**os.environ, "LD_LIBRARY_PATH": ""}
        said = call([folder / "program", folder / "plugin.so"], timeout=60, env=environment)
        if said != "right\n":
            raise RuntimeError(f"the program printed {said!r}")
        if variant == next(iter(VARIANTS)):
            before = [call([folder / "program", "identity"]) for _ in range(2)]
            with open(folder / "libshared.so", "ab") as shared_object:
                shared_object.write(b"1")
            after = call([folder / "program", "identity"])
            if before[0] != before[1] or before[0] == after:
                raise RuntimeError(f"the program's identity was {before}, and {after!r} when its library had changed")


def main():
    split = sys.argv.index("--")
    compiler, flags, libraries = sys.argv[1], sys.argv[2:split], sys.argv[split + 1:]
    wrong = 0
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(2) as pool:
        b = build(compiler, flags, libraries, pathlib.Path(folder), pool)
        chosen = [v for v in VARIANTS if ("lld" not in v or shutil.which("ld.lld")) and
                  ("-flto" not in v or not b.clang or shutil.which(f"ld.lld-{b.clang}"))]
        for variant in VARIANTS.keys() - set(chosen):
            print(f"{variant}: left out, since the linker for it is not installed")
        started = {variant: b.start(variant) for variant in chosen}
        for variant, objects in started.items():
            begin = time.monotonic()
            try:
                b.finish(variant, objects)
                print(f"{variant}: right ({time.monotonic() - begin:.1f} s)", flush=True)
            except (RuntimeError, subprocess.TimeoutExpired) as e:
                wrong += 1
                print(f"{variant}: {e}", flush=True)
    print(f"{len(chosen)} variants, {wrong} wrong")
    return 1 if wrong else 0


sys.exit(main())
