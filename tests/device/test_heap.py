"""Memory that is freed between device calls: kept while a job is open, and given back.

Measured in processes of their own: one that has done much else has room for any block.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest
from helpers.cli import digits_job

from xattr_cli.device.execution.heap import SETTINGS

pytestmark = [
    pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's allocator"),
    pytest.mark.skipif(any(name in os.environ for name in SETTINGS), reason="the allocator is set from outside"),
]
NUMBERS = 12 * 2**20  # 48 MiB: more than glibc keeps by itself
FETCHED = f"""
import resource, sys, torch
from xattr_cli.job.config import load_job
from xattr_cli.pipeline.opening import open_session

def fetched(times=8):
    "Memory that the system hands out while a block is taken and freed again and again, in blocks."
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.full(({NUMBERS},), 1.0)
    pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return pages * resource.getpagesize() / {4 * NUMBERS}

with open_session(load_job(sys.argv[1])):
    fetched(3)
    print(fetched())
print(fetched())
"""
RESIDENT = f"""
import resource, torch
from pathlib import Path
from xattr_cli.device import freed_memory_kept

def resident():
    "In bytes, of all blocks together."
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / {8 * NUMBERS}

torch.full((1000,), 1.0)
before = resident()
with freed_memory_kept():
    blocks = [torch.full(({NUMBERS // 4},), 1.0) for _ in range(8)]
    del blocks
    print(resident() - before)
print(resident() - before)
"""


def alone(code, *arguments):
    """The numbers that a process prints."""
    outcome = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    return [float(line) for line in outcome.stdout.split()]


@pytest.mark.skipif(
    tuple(map(int, (platform.libc_ver()[1] or "0").split("."))) < (2, 35),
    reason="larger blocks than this glibc keeps",
)
def test_what_is_freed_is_handed_out_again_while_a_job_is_open(tmp_path):
    while_open, afterwards = alone(FETCHED, digits_job(tmp_path, 4, engines={"integrated_gradients": {}}))
    assert while_open <= 2  # of 8
    assert afterwards > 6


def test_at_the_end_it_goes_back_to_the_system():
    while_open, afterwards = alone(RESIDENT)
    assert while_open > 1 / 2
    assert afterwards < 1 / 8
