"""Contributions stream through the network: what a run holds at once is bounded by `compute.memory`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.causal_jobs import effects, job_of
from helpers.peaks import PEAKS


def growth(*jobs):
    """MiB by which the peak of a process of its own grows from each run to the next."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", PEAKS, *map(str, jobs)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return np.diff(json.loads(done.stdout.splitlines()[-1])).tolist()


def many(folder, estimator, evaluations, memory):
    """A job with 500 outputs, each of so many evaluations."""
    folder.mkdir()
    x = np.random.default_rng(0).normal(size=(200, 10)).astype(np.float32)
    options = {"estimator": estimator, "samples": 8, "max_evaluations": evaluations, "rtol": 1e-6}
    compute = {"memory": memory, "threads": 1}
    return job_of(folder, "many_outputs", x, features="", options=options, compute=compute)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is counted in other units elsewhere")
def test_runs_stay_within_the_memory_that_is_given(tmp_path):
    """2¹⁸ evaluations of 500 outputs are 1000 MiB, and a batch as large as it may be 250 MiB."""
    first = many(tmp_path / "first", "exact", 2**13, "32MiB")
    subsets = many(tmp_path / "subsets", "exact", 2**18, "32MiB")
    walks = many(tmp_path / "walks", "walk", 2**18, "32MiB")
    generous = many(tmp_path / "generous", "walk", 2**18, "1GiB")
    grown = growth(first, subsets, walks, generous)
    assert max(grown[:2]) < 80 < 128 < grown[2]  # the allocator keeps some of what was freed
    for job in (subsets, walks):
        assert 2**17 <= effects(job.parent)["evaluations"] <= 2**18
    a, b = (effects(job.parent)["shapley"] for job in (walks, generous))
    np.testing.assert_allclose(a, b, atol=1e-6)
