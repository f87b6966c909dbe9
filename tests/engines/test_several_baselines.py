"""Baselines are judged by what they hold: one for all, several for all, or one of each sample."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.cli import datasets, invoke, run, write_data, write_job

ROWS, FEATURES = 40, 6
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, FEATURES)).astype(np.float32)


def job(folder, engines, **more):
    write_data(folder, X=X, y=np.arange(ROWS) % 4)
    model = {"factory": "helpers.any_networks:logits"}
    compute = {"precision": "float64"}
    return write_job(folder, model=model, engines=engines, target={"index": 1}, compute=compute, **more)


def exact(baseline):
    return {"engine": "integrated_gradients", "baseline": baseline, "rule": "gauss_legendre", "nodes": 100}


@pytest.mark.parametrize(
    "baseline", [{"kind": "zero"}, {"kind": "samples", "count": 1}], ids=["zero", "one sample"]
)
def test_over_one_baseline_expected_gradients_are_integrated_gradients(tmp_path, baseline):
    run(job(tmp_path, {"ig": exact(baseline), "expected_gradients": {"baseline": baseline}}))
    found = datasets(tmp_path / "out.h5")
    truth, maps = (found[f"engines/{k}/attribution"] for k in ("ig", "expected_gradients"))
    error = np.linalg.norm(maps - truth, axis=1) / (np.linalg.norm(maps, axis=1) + 1e-30)
    reported = found["engines/expected_gradients/relative_error"]
    # copies of one baseline have no spread between them: once, that was reported as no error at all
    assert np.mean(error <= reported) > 0.85 and np.median(reported) > 1e-3


def test_a_baseline_of_each_sample_is_no_set_that_all_share(tmp_path):
    outcome = invoke("plan", job(tmp_path, {"expected_gradients": {"baseline": {"kind": "uniform"}}}))
    assert outcome.exit_code == 2
    assert (
        "engines.expected_gradients" in outcome.stderr
        and "'uniform' gives every sample a baseline" in outcome.stderr
    )
