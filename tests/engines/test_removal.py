"""Engines without gradients, noise around one, maps without the factor x − x': against captum and brute force."""

from __future__ import annotations

from itertools import permutations
from math import comb

import captum.attr
import numpy as np
import pytest
import torch
from helpers.any_networks import CLASSES, FEATURES, fold, seeded
from helpers.cli import datasets, invoke, run, write_data, write_job

from xattr_cli.randomness import Purpose, sample_generator

X = np.random.default_rng(8).normal(size=(5, FEATURES)).astype(np.float32)
IMAGES = np.random.default_rng(9).normal(size=(4, 2, 4, 6)).astype(np.float32)
TARGET = 2


def network():
    """Smooth, (n, 6) → (n, 4)."""
    return seeded(fold, 21).eval()


def steps():
    """Piecewise constant, so that its gradient is zero everywhere: (n, 6) → (n, 4)."""

    class Steps(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network()

        def forward(self, x):
            return torch.round(self.inner(torch.round(2 * x)) * 8)

    return Steps()


def of_images():
    return torch.nn.Sequential(
        torch.nn.Flatten(), seeded(lambda: torch.nn.Linear(48, CLASSES), 4), torch.nn.Tanh()
    )


def maps(folder, engine, options, x=X, factory="network", **sections):
    write_data(folder, X=x)
    job = write_job(
        folder,
        model={"factory": f"test_removal:{factory}"},
        dataset={"labels": None},
        target={"index": TARGET},
        engines={engine: options},
        **sections,
    )
    run(job, "--overwrite", "--quiet")
    at = f"engines/{engine}/"
    return {name.removeprefix(at): values for name, values in datasets(folder / "out.h5").items() if at in name}


@pytest.mark.parametrize("factory", ["network", "steps"])
def test_occlusion_is_captums(tmp_path, factory):
    found = maps(tmp_path, "occlusion", {"baseline": {"kind": "constant", "value": 0.25}}, factory=factory)
    x = torch.from_numpy(X)
    theirs = captum.attr.Occlusion(globals()[factory]()).attribute(
        x, sliding_window_shapes=(1,), baselines=0.25, target=TARGET
    )
    np.testing.assert_allclose(found["attribution"], theirs, atol=1e-5)


def test_occlusion_of_patches_is_captums(tmp_path):
    sections = {"dataset": {"labels": None, "axes": ["channel", "height", "width"]}}
    write_data(tmp_path, X=IMAGES)
    job = write_job(
        tmp_path,
        model={"factory": "test_removal:of_images"},
        target={"index": TARGET},
        engines={"occlusion": {"groups": {"patches": 2}}},
        **sections,
    )
    run(job, "--quiet")
    found = datasets(tmp_path / "out.h5")["engines/occlusion/attribution"]
    theirs = captum.attr.Occlusion(of_images()).attribute(
        torch.from_numpy(IMAGES), sliding_window_shapes=(2, 2, 2), strides=(2, 2, 2), target=TARGET
    )
    np.testing.assert_allclose(found, theirs.detach(), atol=1e-5)


def shapley_by_definition(module, x, groups):
    """(groups,) mean gains over all orders, one by one."""
    gains = np.zeros(len(groups))
    orders = list(permutations(range(len(groups))))
    for order in orders:
        point = torch.zeros(1, FEATURES)
        before = module(point)[0, TARGET].item()
        for player in order:
            point[0, groups[player]] = torch.from_numpy(x)[groups[player]]
            now = module(point)[0, TARGET].item()
            gains[player] += (now - before) / len(orders)
            before = now
    return gains


@pytest.mark.parametrize("factory", ["network", "steps"])
def test_shapley_values_of_few_groups_are_exact(tmp_path, factory):
    groups = {"left": [0, 1], "middle": [2], "right": [3, 4, 5]}
    found = maps(tmp_path, "shapley", {"groups": groups}, factory=factory)
    for row in range(len(X)):
        wanted = shapley_by_definition(globals()[factory](), X[row], list(groups.values()))
        np.testing.assert_allclose(found["group_effect"][row], wanted, atol=1e-5)
        np.testing.assert_allclose(
            found["attribution"][row], wanted[[0, 0, 1, 2, 2, 2]] / [2, 2, 1, 3, 3, 3], atol=1e-5
        )
    assert found["status"].tolist() == [0] * len(X)
    np.testing.assert_allclose(found["completeness_gap"], 0, atol=1e-4)


SHAPIQ = {
    "network": [
        [-0.0999425, 0.0273829, -0.0918051, -0.0381793, -0.1321005, 0.0176683],
        [-0.0555057, -0.0237045, 0.0676648, 0.1373282, 0.0657681, 0.0066242],
    ],
    "steps": [
        [-1.45, 0.55, -1.45, -0.95, -1.7, 0.0],
        [-1.0833333, -0.5833333, 1.0, 2.0833333, 1.5833333, 0.0],
    ],
}
"""Of the first two rows, by `shapiq.ExactComputer(n_players=6, game=game)("SV")` of shapiq 1.4.1."""


@pytest.mark.parametrize("factory", SHAPIQ)
def test_shapley_values_are_those_of_shapiq(tmp_path, factory):
    exact = maps(tmp_path, "shapley", {}, factory=factory)
    np.testing.assert_allclose(exact["attribution"][:2], SHAPIQ[factory], atol=2e-6)
    sampled = maps(
        tmp_path, "shapley", {"exact_up_to": 2, "rtol": 0.01, "max_evaluations": 65536}, factory=factory
    )
    size = np.linalg.norm(SHAPIQ[factory], axis=1)
    error = np.linalg.norm(sampled["attribution"][:2] - SHAPIQ[factory], axis=1)
    assert (error < 0.02 * size).all()


def test_shapley_values_of_twelve_players_by_all_coalitions(tmp_path):
    """Weights 1 / (12 · C(11, s)) over all 4,096 coalitions of patches of a picture."""
    players, module = 12, of_images()
    options = {"groups": {"patches": 2}, "exact_up_to": 12}
    dataset = {"labels": None, "axes": ["channel", "height", "width"]}
    given = {"exact": options, "sampled": {**options, "exact_up_to": 2, "rtol": 0.05}}
    engines = {label: {"engine": "shapley", **each} for label, each in given.items()}
    images = IMAGES.reshape(len(IMAGES), 1, 8, 6)  # one channel, so that there are twelve patches
    write_data(tmp_path, X=images)
    model = {"factory": "test_removal:of_images"}
    run(write_job(tmp_path, model=model, dataset=dataset, target={"index": TARGET}, engines=engines), "--quiet")
    found = datasets(tmp_path / "out.h5")
    owner = np.arange(4).repeat(2)[:, None] * 3 + np.arange(3).repeat(2)
    member = (np.arange(2**players)[:, None] >> np.arange(players) & 1).astype(bool)
    for row in range(len(images)):
        kept = torch.from_numpy(member[:, owner].reshape(-1, 1, 8, 6) * images[row])
        with torch.no_grad():
            worth = module(kept.float())[:, TARGET].double().numpy()
        values = np.zeros(players)
        for player in range(players):
            without = np.flatnonzero(~member[:, player])
            weights = 1 / (players * np.array([comb(players - 1, s) for s in member[without].sum(1)]))
            values[player] = weights @ (worth[without | 1 << player] - worth[without])
        np.testing.assert_allclose(found["engines/exact/group_effect"][row], values, atol=1e-5)
        error = np.linalg.norm(found["engines/sampled/group_effect"][row] - values) / np.linalg.norm(values)
        assert error < 1.5 * found["engines/sampled/relative_error"][row] <= 0.075


def test_sampled_shapley_values_are_within_their_error(tmp_path):
    options = {"exact_up_to": 2, "rtol": 0.04}
    found = maps(tmp_path, "shapley", options)
    exact = maps(tmp_path, "shapley", {"exact_up_to": 8})["group_effect"]
    error = np.linalg.norm(found["group_effect"] - exact, axis=1) / np.linalg.norm(exact, axis=1)
    assert (found["relative_error"] <= 0.04).all() and (found["relative_error"] > 0).any()
    assert (error <= found["relative_error"]).mean() >= 0.8
    np.testing.assert_allclose(found["completeness_gap"], 0, atol=1e-4)


def test_a_row_of_shapley_values_does_not_depend_on_its_company(tmp_path):
    options = {"exact_up_to": 2, "rtol": 0.1}
    together = maps(tmp_path, "shapley", options)["attribution"]
    alone = maps(tmp_path, "shapley", options, output={"part_rows": 1})["attribution"]
    np.testing.assert_allclose(alone, together, rtol=1e-5)


def test_too_many_groups_are_refused_with_the_way_out(tmp_path):
    write_data(tmp_path, X=IMAGES)
    job = write_job(
        tmp_path,
        model={"factory": "test_removal:of_images"},
        dataset={"labels": None},
        engines={"shapley": {"max_evaluations": 100}},
    )
    outcome = invoke("plan", job)
    assert outcome.exit_code == 2
    assert "engines.shapley.max_evaluations: 100: 48 groups take 190 scores" in outcome.stderr


# --- noise, signs, and maps without the factor --------------------------------------------------


def noise(draws, sigma):
    """(rows, draws, 6) what the engine draws for each sample."""
    return np.stack(
        [
            [sample_generator(0, row, Purpose.PLUGIN, draw).standard_normal(FEATURES) for draw in range(draws)]
            for row in range(len(X))
        ]
    ) * np.broadcast_to(np.reshape(sigma, (-1, 1, 1)), (len(X), 1, 1))


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("over", ["mean", "square", "variance"])
def test_smoothgrad_is_captums_gradient_at_equal_noise(tmp_path, over, relative):
    draws = 20
    found = maps(tmp_path, "smooth_grad", {"draws": draws, "sigma": 0.3, "relative": relative, "over": over})
    sigma = 0.3 * np.ptp(X, axis=1) if relative else 0.3
    points = torch.from_numpy((X[:, None] + noise(draws, sigma)).reshape(-1, FEATURES).astype(np.float32))
    each = captum.attr.Saliency(network()).attribute(points.requires_grad_(), target=TARGET, abs=False)
    each = each.detach().view(len(X), draws, FEATURES)
    wanted = {"mean": each.mean(1), "square": each.square().mean(1), "variance": each.var(1)}[over]
    np.testing.assert_allclose(found["attribution"], wanted, rtol=1e-4, atol=1e-5)
    if over == "mean":
        np.testing.assert_allclose(found["standard_error"], each.std(1) / draws**0.5, rtol=1e-3, atol=1e-6)


def test_noise_around_integrated_gradients(tmp_path):
    options = {"draws": 5, "sigma": 0.2, "relative": False, "of": "integrated_gradients", "nodes": 20}
    found = maps(tmp_path, "smooth_grad", options)
    points = torch.from_numpy((X[:, None] + noise(5, 0.2)).reshape(-1, FEATURES).astype(np.float32))
    each = captum.attr.IntegratedGradients(network()).attribute(
        points, target=TARGET, n_steps=20, method="riemann_middle"
    )
    np.testing.assert_allclose(found["attribution"], each.view(len(X), 5, FEATURES).mean(1), atol=1e-5)


def test_a_signed_gradient_keeps_its_sign(tmp_path):
    found = maps(tmp_path, "saliency", {"signed": True})["attribution"]
    theirs = captum.attr.Saliency(network()).attribute(
        torch.tensor(X, requires_grad=True), target=TARGET, abs=False
    )
    np.testing.assert_allclose(found, theirs, atol=1e-6)
    assert (found < 0).any()
    np.testing.assert_allclose(maps(tmp_path, "saliency", None)["attribution"], np.abs(found), atol=1e-6)


def test_integrated_gradients_without_the_factor_are_captums(tmp_path):
    options = {"rule": "midpoint", "nodes": 50, "multiply_by_inputs": False}
    found = maps(tmp_path, "integrated_gradients", options)
    theirs = captum.attr.IntegratedGradients(network(), multiply_by_inputs=False).attribute(
        torch.from_numpy(X), target=TARGET, n_steps=50, method="riemann_middle"
    )
    np.testing.assert_allclose(found["attribution"], theirs, atol=1e-5)
    assert found["status"].tolist() == [4] * len(X) and np.isnan(found["relative_error"]).all()


def test_hypothetical_contributions_are_those_of_other_categories(tmp_path):
    hot = np.eye(3, dtype=np.float32)[[[0, 1], [2, 0], [1, 1]]]  # (3, places 2, categories 3)
    start = {"kind": "constant", "value": 1 / 3}
    options = {"baseline": start, "rule": "midpoint", "nodes": 64, "hypothetical": 1}
    found = maps(tmp_path, "integrated_gradients", options, hot, "of_letters")
    wanted = np.zeros_like(hot)
    module = of_letters()
    for row in range(3):
        total = torch.zeros(1, 2, 3)
        for k in range(64):
            point = (1 / 3 + (k + 0.5) / 64 * (torch.from_numpy(hot[row : row + 1]) - 1 / 3)).requires_grad_()
            total += torch.autograd.grad(module(point)[0, TARGET], point)[0] / 64
        for place in range(2):
            for category in range(3):
                one = torch.eye(3)[category] - 1 / 3
                wanted[row, place, category] = float((one * total[0, place]).sum())
    np.testing.assert_allclose(found["hypothetical"], wanted, atol=1e-5)
    there = found["hypothetical"][hot == 1]
    np.testing.assert_allclose(found["attribution"].sum(2).ravel(), there, atol=1e-5)


def of_letters():
    return torch.nn.Sequential(torch.nn.Flatten(), network())
