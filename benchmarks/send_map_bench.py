#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tasks per second of tiny tasks over two workers: ours (send_map_bench), Ray's and dask.distributed's, from PyPI, in a
virtual environment that this script makes. Bar: at least 10 times theirs."""

import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ["ray", "dask[distributed]"]
THEIRS = {
    "ray": """
import json, sys, time, ray
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
@ray.remote
def plus_one(x):
    return x + 1
ray.get([plus_one.remote(i) for i in range(200)])
begin = time.perf_counter()
results = ray.get([plus_one.remote(i) for i in range(int(sys.argv[1]))])
seconds = time.perf_counter() - begin
assert results[-1] == int(sys.argv[1])
print(json.dumps(len(results) / seconds))
""",
    "dask": """
import json, sys, time
from dask.distributed import Client, LocalCluster
def plus_one(x):
    return x + 1
if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        client.gather(client.map(plus_one, range(200)))
        begin = time.perf_counter()
        results = client.gather(client.map(plus_one, range(1000, 1000 + int(sys.argv[1]))))
        seconds = time.perf_counter() - begin
        assert len(results) == int(sys.argv[1])
        print(json.dumps(len(results) / seconds))
""",
}
TASKS = 10_000  # of theirs; 100,000 take minutes


def ours():
    out = subprocess.run([ROOT / "build/release/benchmarks/send_map_bench"], check=True, capture_output=True, text=True).stdout
    return next(float(line.split()[1]) for line in out.splitlines() if line.startswith("map_of_100000 "))


def main():
    with tempfile.TemporaryDirectory() as folder:
        python = pathlib.Path(folder, "venv/bin/python")
        try:
            subprocess.run([sys.executable, "-m", "venv", pathlib.Path(folder, "venv")], check=True, capture_output=True)
            subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES], check=True, capture_output=True, timeout=600)
        except (subprocess.SubprocessError, OSError) as e:
            print(f"skipped: Ray and dask could not be installed from PyPI: {e}")
            return
        mine = ours()
        print(f"map_of_100000 {mine:.4g} calls/s")
        for name, program in THEIRS.items():
            script = pathlib.Path(folder, f"{name}_tasks.py")
            script.write_text(program, encoding="utf-8")
            done = subprocess.run([python, script, str(TASKS)], check=True, capture_output=True, text=True, timeout=300, cwd=folder)
            theirs = json.loads(done.stdout.splitlines()[-1])
            print(f"{name}_{TASKS} {theirs:.4g} tasks/s")
            print(f"map_to_{name} {mine / theirs:.4g} ratio")


if __name__ == "__main__":
    main()
