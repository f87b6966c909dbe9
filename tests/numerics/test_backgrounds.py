"""Expected gradients over a whole background: closed forms, brute force, and errors that cover the true ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.blocks import explain
from helpers.interactions import random_quadratic

from xattr_cli.engines.path.expected_gradients import ExpectedGradients
from xattr_cli.models.zoo import mlp
from xattr_cli.numerics.backgrounds.pairing import alike, opposite_positions


def doubles(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("count", [2, 7, 16, 33])
def test_positions_are_even_half_a_path_apart_in_pairs_and_uniform_for_each(count):
    order = np.random.default_rng(0).permutation(count)
    found = np.stack([opposite_positions(np.random.default_rng(seed), order) for seed in range(4000)])
    pairs = count // 2
    first, second = found[:, order[0 : 2 * pairs : 2]], found[:, order[1 : 2 * pairs : 2]]
    np.testing.assert_allclose((first - second) % 1, 0.5)
    start = np.sort(first % 0.5, axis=1)
    gaps = np.diff(np.concatenate([start, start[:, :1] + 0.5], axis=1), axis=1)
    assert gaps.max() <= 1 / pairs  # two strata of half the path
    assert np.abs(found.mean(axis=0) - 0.5).max() < 4.5 * np.sqrt(1 / 12 / 4000)
    assert np.abs((found**2).mean(axis=0) - 1 / 3).max() < 4.5 * np.sqrt(4 / 45 / 4000)


def test_pairs_that_are_alike_are_far_apart():
    found = np.stack([opposite_positions(np.random.default_rng(seed), np.arange(64)) for seed in range(100)])
    apart = np.abs(found[:, 0::4] - found[:, 2::4]) % 0.5
    assert np.minimum(apart, 0.5 - apart).min() > 0.2  # a quarter of the path, but for the strata


def test_neighbours_are_alike():
    random = np.random.default_rng(1)
    centres = random.normal(size=(8, 5))
    points = np.repeat(centres, 2, axis=0) + 1e-3 * random.normal(size=(16, 5))
    shuffled = random.permutation(16)
    order = alike(points[shuffled])
    assert sorted(order.tolist()) == list(range(16))
    assert {tuple(sorted(pair // 2)) for pair in shuffled[order].reshape(8, 2)} == {(i, i) for i in range(8)}


@pytest.mark.parametrize("count", [5, 40])
def test_a_quadratic_has_no_sampling_error(count):
    """Its gradient is the line between both ends of every path."""
    module, x, background = random_quadratic(4), doubles(6, 4), doubles(count, 4, seed=1)
    found = explain(ExpectedGradients(), module, x, background=background)
    truth = torch.stack([module.interactions(x, one.expand_as(x)).sum(dim=2) for one in background]).mean(dim=0)
    torch.testing.assert_close(found.attribution, truth, rtol=1e-12, atol=1e-12)
    assert (found.relative_error < 1e-12).all()


def brute_force(network, x, background, nodes=400):
    """(rows, D) by midpoints on the path from every baseline."""
    t = (torch.arange(nodes, dtype=x.dtype) + 0.5) / nodes
    found = []
    for row in x:
        delta = row - background
        points = (background[:, None] + t[None, :, None] * delta[:, None]).flatten(0, 1).requires_grad_()
        (gradient,) = torch.autograd.grad(network(points).sum(), points)
        found.append((delta * gradient.view(len(background), nodes, -1).mean(dim=1)).mean(dim=0))
    return torch.stack(found)


@pytest.mark.parametrize("rtol", [0.3, 0.05])
@pytest.mark.parametrize("twins", [None, 1e-4])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize(("size", "count"), [(3, 12), (8, 48)])
def test_the_reported_error_covers_the_true_one(activation, size, count, rtol, twins):
    """Baselines that are nearly the same come in pairs, whose positions could tell nothing of each other's."""
    inside, missed = [], []
    for seed in range(6):
        torch.manual_seed(seed)
        network = mlp(size, [16, 16], 1, activation).double().requires_grad_(False)
        x, background = doubles(20, size, seed=seed + 100), doubles(count, size, seed=seed + 200)
        if twins is not None:
            background[1::2] = background[0::2] + twins * background[1::2]
        found = explain(ExpectedGradients(rtol=rtol), network, x, background=background, seed=seed)
        truth = brute_force(network, x, background)
        true = (found.attribution - truth).norm(dim=1) / found.attribution.norm(dim=1)
        inside += (true <= 1.25 * found.relative_error).tolist()
        missed += ((true > rtol) & (found.status == 0)).tolist()
    assert np.mean(inside) >= 0.95
    assert np.mean(missed) <= 0.05


def test_a_row_depends_on_its_sample_and_target_alone():
    torch.manual_seed(0)
    network = mlp(5, [16, 16], 3).double().requires_grad_(False)
    x, background, sample = doubles(6, 5), doubles(21, 5, seed=1), torch.tensor([7, 3, 9, 1, 4, 3])
    target = torch.tensor([0, 1, 2, 0, 1, 1])
    engine = ExpectedGradients(rtol=0.02, max_draws=512)
    together = explain(engine, network, x, background=background, sample=sample, target=target)
    for row in range(6):
        here = slice(row, row + 1)
        alone = explain(
            engine, network, x[here], background=background, sample=sample[here], target=target[here], rows=16
        )
        torch.testing.assert_close(alone.attribution[0], together.attribution[row], rtol=1e-10, atol=1e-12)
        assert alone.evaluations[0] == together.evaluations[row]


def test_the_error_falls_like_the_number_of_gradients_where_they_jump():
    torch.manual_seed(0)
    network = mlp(8, [16, 16], 1).double().requires_grad_(False)
    x, background = doubles(40, 8), doubles(48, 8, seed=1)
    spent = [
        float(explain(ExpectedGradients(rtol=rtol, max_draws=2**16), network, x, background=background)
              .evaluations.double().mean())
        for rtol in (0.04, 0.01)
    ]  # fmt: skip
    assert 2.5 < spent[1] / spent[0] < 6  # of independent draws it would be 16
