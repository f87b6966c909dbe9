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


LIST = [{"kind": "zero"}, {"kind": "constant", "value": 1.0}, {"kind": "gaussian", "sigma": 0.5}]


@pytest.mark.parametrize(
    "name", ["integrated_gradients", "shapley", "deeplift", "occlusion", "interior_gradients"]
)
def test_the_map_of_a_list_is_the_mean_of_the_maps(tmp_path, name):
    options = {"rtol": 1e-3} if name.endswith("_gradients") else {}
    engines = {f"{name}-{k}": {"engine": name, "baseline": one, **options} for k, one in enumerate(LIST)}
    several = {"kind": "several", "baselines": LIST, "keep": True}
    run(job(tmp_path, {**engines, name: {"baseline": several, **options}}, stability={"weights": 0.01}))
    found = datasets(tmp_path / "out.h5")
    each = np.stack([found[f"engines/{label}/attribution"] for label in engines], axis=1)
    at = f"engines/{name}"
    np.testing.assert_allclose(found[f"{at}/attribution"], each.mean(1), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(found[f"{at}/baseline_deviation"], each.std(1, ddof=1), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found[f"{at}/baselines"], each)
    assert (found[f"{at}/stability/weights"] > 0).all()
    if name != "occlusion":
        drop = found[f"{at}/score_input"] - found[f"{at}/score_baseline"]
        np.testing.assert_allclose(found[f"{at}/attribution"].sum(1), drop, atol=5e-3 * np.abs(drop).max())


def test_a_list_where_one_is_meant(tmp_path):
    for engines, text in (
        ({"integrated_hessians": {"baseline": LIST}}, "integrated_hessians takes a single one"),
        ({"shapley": {"baseline": LIST[:1]}}, "engines.shapley.baseline"),
        ({"shapley": {"baseline": [{"kind": "zero"}, {"kind": "zeor"}]}}, "Did you mean 'zero'?"),
    ):
        outcome = invoke("plan", job(tmp_path, engines))
        assert outcome.exit_code == 2 and text in outcome.stderr, outcome.stderr
