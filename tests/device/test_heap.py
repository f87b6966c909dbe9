"""Memory that is freed between device calls: kept while a job is open, and given back."""

from __future__ import annotations

import os
import platform
import resource
from pathlib import Path

import pytest
import torch
from helpers.cli import digits_job

from xattr_cli.device import freed_memory_kept
from xattr_cli.device.execution.heap import SETTINGS
from xattr_cli.job.config import load_job
from xattr_cli.pipeline.opening import open_session

pytestmark = [
    pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's allocator"),
    pytest.mark.skipif(any(name in os.environ for name in SETTINGS), reason="the allocator is set from outside"),
]
NUMBERS = 12 * 2**20  # 48 MiB: more than glibc keeps by itself
PAGES = NUMBERS * 4 // resource.getpagesize()


def fetched(times=8):
    """Pages that the system hands out while as much memory is taken and freed again and again."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.full((NUMBERS,), 1.0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(
    tuple(map(int, (platform.libc_ver()[1] or "0").split("."))) < (2, 35),
    reason="larger blocks than this glibc keeps",
)
def test_what_is_freed_is_handed_out_again_while_a_job_is_open(tmp_path):
    with open_session(load_job(str(digits_job(tmp_path, 4, engines={"integrated_gradients": {}})))):
        fetched(3)
        assert fetched() <= 2 * PAGES  # of 8 * PAGES
    assert fetched() > 6 * PAGES


def test_at_the_end_it_goes_back_to_the_system():
    before = resident()
    with freed_memory_kept():
        blocks = [torch.full((NUMBERS // 4,), 1.0) for _ in range(8)]
        del blocks
        assert resident() - before > 4 * NUMBERS  # of 8 * NUMBERS bytes
    assert resident() - before < NUMBERS
