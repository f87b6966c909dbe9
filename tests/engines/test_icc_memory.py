"""Contributions stream through the network: what a run holds at once is bounded by `compute.memory`."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from helpers.causal_jobs import effects, job_of
from helpers.peaks import growth


def many(folder, estimator, evaluations, memory):
    """A job with 500 outputs, each of so many evaluations."""
    folder.mkdir()
    x = np.random.default_rng(0).normal(size=(200, 10)).astype(np.float32)
    options = {"estimator": estimator, "samples": 8, "max_evaluations": evaluations, "rtol": 1e-6}
    compute = {"memory": memory, "threads": 1}
    return job_of(folder, "many_outputs", x, features="", options=options, compute=compute)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is counted in other units elsewhere")
def test_runs_stay_within_the_memory_that_is_given(tmp_path):
    """2¹⁷ evaluations of 500 outputs are 500 MiB, and a batch as large as it may be 125 MiB."""
    first = many(tmp_path / "first", "exact", 2**13, "32MiB")
    subsets = many(tmp_path / "subsets", "exact", 2**17, "32MiB")
    walks = many(tmp_path / "walks", "walk", 2**17, "32MiB")
    generous = many(tmp_path / "generous", "walk", 2**17, "1GiB")
    grown = growth(first, subsets, walks, generous)
    assert max(grown[:2]) < min(96, grown[2])  # 26, 0 and 138 MiB with one thread, 64 with two
    for job in (subsets, walks):
        assert 2**16 <= effects(job.parent)["evaluations"] <= 2**17
    a, b = (effects(job.parent)["shapley"] for job in (walks, generous))
    np.testing.assert_allclose(a, b, atol=1e-6)
