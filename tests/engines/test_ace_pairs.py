"""Interventions on two features at once, against closed forms and brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.ace import Formula, study
from helpers.cli import invoke, run, samples, write_data, write_job

RNG = np.random.default_rng(5)
POINTS = torch.from_numpy(RNG.normal(size=(60, 4)) * (1, 2, 1, 1) + (0, 1, 0, 2))


def polynomial(x):
    """f₀ = a²b + 3c + ad, f₁ = a + b², whose two features never act together."""
    a, b, c, d = x.T
    return torch.stack([a**2 * b + 3 * c + a * d, a + b**2], dim=1)


def test_the_joint_expectation_of_a_polynomial_is_its_closed_form():
    """E[f₀ | do(a = α, b = β)] = α²β + 3 E c + α E d; the interaction is (α² − mean α²)(β − mean β)."""
    options = {"pairs": [["a", "b"]], "pair_alphas": 7, "estimator": "empirical", "alphas": 25}
    values = study(Formula(polynomial), POINTS, options=options, names="abcd")
    alpha, beta = values["pair/alpha"][0]
    assert alpha.tolist() == pytest.approx(np.linspace(POINTS[:, 0].min().item(), POINTS[:, 0].max().item(), 7))
    mean_c, mean_d = POINTS[:, 2].mean().item(), POINTS[:, 3].mean().item()
    expected = alpha[:, None] ** 2 * beta + 3 * mean_c + alpha[:, None] * mean_d
    np.testing.assert_allclose(values["pair/interventional"][0, ..., 0], expected, atol=1e-10)
    np.testing.assert_allclose(values["pair/interventional"][0, ..., 1], alpha[:, None] + beta**2, atol=1e-10)
    weights = np.r_[0.5, np.ones(5), 0.5] / 6
    together = np.outer(alpha**2 - weights @ alpha**2, beta - weights @ beta)
    np.testing.assert_allclose(values["pair/interaction"][0, ..., 0], together, atol=1e-10)
    np.testing.assert_allclose(values["pair/interaction"][0, ..., 1], 0, atol=1e-10)
    effect = expected - weights @ expected @ weights
    size = np.sqrt([weights @ grid**2 @ weights for grid in (together, effect)])
    np.testing.assert_allclose(values["pair/strength"][0], [size[0] / size[1], 0], atol=1e-10)
    # the spread over samples is that of 3c + αd
    spread = (3 * POINTS[:, 2] + alpha[3] * POINTS[:, 3]).std().item() / np.sqrt(60)
    np.testing.assert_allclose(values["pair/standard_error"][0, 3, :, 0], spread, rtol=0.05)
    assert values["pair/samples"].tolist() == [60]


def test_groups_levels_and_grids_of_other_sizes_by_brute_force():
    points = POINTS.clone()
    points[:, 3] = torch.arange(60) % 3
    options = {
        "pairs": [["both", "d"], ["c", 3]],
        "groups": {"both": ["a", "b"]},
        "levels": {"d": [0, 1, 2]},
        "pair_alphas": 5,
        "alphas": 9,
        "estimator": "empirical",
    }
    values = study(Formula(polynomial), points, options=options, names="abcd")
    shares, levels = values["pair/alpha"][0, 0, :5], values["pair/alpha"][0, 1, :3]
    assert shares.tolist() == [0, 0.25, 0.5, 0.75, 1] and levels.tolist() == [0, 1, 2]
    assert np.isnan(values["pair/alpha"][0, 1, 3:]).all() and values["pair/interventional"].shape == (2, 5, 3, 2)
    low, high = points.min(0).values, points.max(0).values
    for i, share in enumerate(shares):
        for j, level in enumerate(levels):
            moved = points.clone()
            moved[:, :2] = (low + share * (high - low))[:2]
            moved[:, 3] = level
            found = values["pair/interventional"][0, i, j]
            np.testing.assert_allclose(found, polynomial(moved).mean(0), rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"pairs": [["x0", "x0"]]}, "cannot be paired with itself"),
        ({"pairs": [["x0"]]}, "engines.ace.pairs"),
        ({"pairs": [["x0", "x9"]]}, "pairs: 'x9' is none of the features that are studied. Allowed: x0, x1"),
        ({"pairs": [["x0", "x1"]], "features": ["x0"]}, "pairs: 'x1' is none of the features"),
    ],
)
def test_pairs_that_cannot_be_meant(tmp_path, options, text):
    x, y = samples(40)
    write_data(tmp_path, x, y)
    names = [f"x{k}" for k in range(x.shape[1])]
    job = write_job(tmp_path, engines={"ace": options}, dataset={"features": names}, target={"index": 0})
    outcome = invoke("plan", job)
    assert outcome.exit_code == 2 and text in outcome.stderr, outcome.stderr


def test_a_job_draws_its_pairs_in_original_units(tmp_path):
    x, y = samples(40)
    write_data(tmp_path, x, y)
    names = [f"x{k}" for k in range(x.shape[1])]
    dataset = {"features": names, "mean": [5.0] * len(names), "std": [2.0] * len(names)}
    engines = {"ace": {"pairs": [["x0", "x1"]], "pair_alphas": 6, "range": [-1, 1]}}
    run(write_job(tmp_path, engines=engines, dataset=dataset, target={"index": 0}), "--quiet")
    outcome = invoke("plot", tmp_path / "out.h5", "--kind", "causal_effects")
    assert outcome.exit_code == 0 and "causal-pair-ace-x0-x1.png" in outcome.stdout, outcome.output
