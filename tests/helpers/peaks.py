"""A program that runs jobs one after the other and prints the peak of its memory after each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

PROGRAM = """
import json, re, sys
from pathlib import Path
from helpers.cli import run

peaks = []
for job in sys.argv[1:]:
    run(job, "--quiet")
    status = Path("/proc/self/status").read_text()  # what a large parent had before the exec does not count
    peaks.append(int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) / 1024)
print(json.dumps(peaks))
"""

# glibc gives back what is freed, but for 16 MiB: else its arenas made 20 to 83 MiB of the same run's growth
ALLOCATOR = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "16777216", "MALLOC_TRIM_THRESHOLD_": "16777216"}


def growth(*jobs: Path, folders: tuple[Path, ...] = ()) -> list[float]:
    """MiB by which the peak of a process of its own grows from each run to the next.

    Arguments:
        jobs: job files.
        folders: where modules are found that the jobs name.
    """
    path = os.pathsep.join(map(str, (*folders, Path(__file__).parents[1])))
    environment = {**os.environ, **ALLOCATOR, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROGRAM, *map(str, jobs)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return np.diff(json.loads(done.stdout.splitlines()[-1])).tolist()
