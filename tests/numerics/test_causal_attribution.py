"""Reported errors of effects by causal regressors against true ones, on functions whose effects are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.ace import population_of
from torch import nn

from xattr_cli.engines.ace.engine import AverageCausalEffects
from xattr_cli.numerics.interventions.attribution import CausalAttribution, misfit
from xattr_cli.numerics.interventions.interventions import Intervention, Interventions
from xattr_cli.numerics.interventions.regression import fit_regressors

SMOOTH = {
    "sine": (lambda a, k: np.sin(3 * k * a), lambda a, k: -np.cos(3 * k * a) / (3 * k)),
    "exponential": (lambda a, k: np.exp(k * a), lambda a, k: np.exp(k * a) / k),
    "sigmoid": (lambda a, k: 1 / (1 + np.exp(-4 * a + k)), lambda a, k: np.logaddexp(0, 4 * a - k) / 4),
}
KINKED = {
    "hinge": (lambda a, k: np.maximum(a - k, 0), lambda a, k: np.maximum(a - k, 0) ** 2 / 2),
    "angle": (lambda a, k: np.abs(a - k), lambda a, k: (a - k) * np.abs(a - k) / 2),
}
STEEP = {
    "step": (lambda a, k: (a > k) * 1.0, lambda a, k: np.maximum(a - k, 0)),
    "switch": (lambda a, k: 1 / (1 + np.exp(-60 * (a - k))), lambda a, k: np.logaddexp(0, 60 * (a - k)) / 60),
}
KINDS = {"smooth": SMOOTH, "kinked": KINKED, "steep": STEEP, "mixed": SMOOTH | KINKED | STEEP}


class Additive:
    """Σ_i c_i h_i(x_i) of random parts: the effect of x_i = α is c_i h_i(α) less its mean over the range."""

    def __init__(self, random, kind, size):
        parts = list(KINDS[kind].values())
        self.parts = [parts[random.integers(len(parts))] for _ in range(size)]
        self.places, self.weights = random.uniform(0.1, 0.8, size), random.normal(size=size)

    def values(self, alpha):
        """(n, features) of each part."""
        of = zip(self.parts, self.places, alpha.T, strict=True)
        return np.stack([part[0](a, k) for part, k, a in of], axis=1) * self.weights

    def means(self, lower, upper):
        """(features,) of each part over its range, by its integral in closed form."""
        of = zip(self.parts, self.places, lower, upper, strict=True)
        return np.array([(p[1](b, k) - p[1](a, k)) / (b - a) for p, k, a, b in of]) * self.weights


def explained(function, points, alphas=100, noise=None):
    """Effects of samples by regressors on their range, and the true ones."""
    lower, upper = points.min(axis=0), points.max(axis=0)
    grid = np.linspace(lower, upper, alphas)
    curves = function.values(grid).T[:, :, None]
    if noise is not None:
        curves = curves + noise(curves.shape)
    regressors = fit_regressors(curves, lower, upper)
    features = [Intervention(str(i), np.array([i]), grid[:, i], grid[None, :, i]) for i in range(points.shape[1])]
    ace = curves - regressors.baseline[:, None]
    attribution = CausalAttribution(Interventions.of(features), regressors, ace)
    found = attribution.effects(points, np.zeros(len(points), np.int64))
    truth = function.values(points) - function.means(lower, upper)
    return found, truth


def covered(found, truth):
    """(n,) whether the reported error of each sample covers the true one; and reported over true."""
    true = np.linalg.norm(found.effect - truth, axis=1) / np.linalg.norm(found.effect, axis=1)
    # the closed form has a rounding of its own
    return true <= found.relative_error + 1e-13, found.relative_error / np.maximum(true, 1e-13)


@pytest.mark.parametrize("size", [1, 3, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_the_reported_error_of_a_sample_covers_the_true_one(kind, size):
    random = np.random.default_rng([3, size])
    inside, ratios = [], []
    for spread in ("normal", "even") * 20:
        shape = (100, size)
        points = random.normal(size=shape) if spread == "normal" else random.uniform(-1, 1, size=shape)
        found, truth = explained(Additive(random, kind, size), points)
        known, ratio = covered(found, truth)
        inside.append(known)
        ratios.append(ratio)
    assert np.mean(inside) >= 0.95
    assert np.median(ratios) < 4


@pytest.mark.parametrize("size", [1, 3, 8])
def test_noise_of_the_curves_is_covered(size):
    random = np.random.default_rng(size)
    inside = []
    for _ in range(40):
        function = Additive(random, "smooth", size)
        noise = random.uniform(0.01, 0.3)
        found, truth = explained(
            function, random.normal(size=(100, size)), noise=lambda shape, s=noise: s * random.normal(size=shape)
        )
        inside.append(covered(found, truth)[0])
    assert np.mean(inside) >= 0.95


def test_the_error_is_large_where_the_step_is_and_nowhere_else():
    grid = np.linspace(0.0, 1.0, 101)
    curve = (grid > 0.705).astype(float)[None, :, None]
    regressors = fit_regressors(curve, np.zeros(1), np.ones(1))
    ace = curve - regressors.baseline[:, None]
    alpha = np.array([[0.2], [0.703]])
    _, deviation = regressors.effect(alpha, np.zeros(2, np.int64))
    far, near = misfit(regressors, ace[:, :, 0], alpha, deviation, 0)[:, 0]
    assert near > 0.3
    assert far < 0.1


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_rows_of_a_network_have_an_error_that_covers_the_mean_over_the_data(activation):
    """Against the mean over the samples at the row's own value, and at 4001 points of the range."""
    torch.manual_seed(5)
    act = {"relu": nn.ReLU, "tanh": nn.Tanh}[activation]
    points = torch.randn(60, 3, dtype=torch.float64)
    inside = []
    for _ in range(6):
        network = nn.Sequential(nn.Linear(3, 12), act(), nn.Linear(12, 12), act(), nn.Linear(12, 1)).double()
        population = population_of(network, points)
        values = AverageCausalEffects(estimator="empirical").study(population).values
        effects = {name: v for name, v in values.items() if isinstance(v, np.ndarray)}
        found = CausalAttribution.load(values["features"], effects).effects(points.numpy(), np.zeros(60, np.int64))
        inside.append(covered(found, brute_force(network, points))[0])
    assert np.mean(inside) >= 0.95


@torch.no_grad()
def brute_force(network, points):
    """(n, features) E f with x_i set to the sample's own value, less the mean of that over the range.

    That mean is by Gauss and Legendre on 200 pieces of the range: exact for smooth networks.
    """
    nodes, weights = (torch.from_numpy(array) for array in np.polynomial.legendre.leggauss(10))
    share = ((nodes + 1) / 2 + torch.arange(200.0, dtype=torch.float64)[:, None]).flatten() / 200
    found = np.empty(points.shape)
    for i in range(points.shape[1]):
        lower, upper = points[:, i].min(), points[:, i].max()
        own, everywhere = (
            mean_with(network, points, i, a) for a in (points[:, i], lower + share * (upper - lower))
        )
        found[:, i] = own - everywhere @ weights.repeat(200) / 400
    return found


def mean_with(network, points, feature, alpha):
    """(alphas,) mean over the samples of f with a feature set to each of some values."""
    rows = points.repeat(len(alpha), 1)
    rows[:, feature] = alpha.repeat_interleave(len(points))
    return network(rows).view(len(alpha), len(points)).mean(dim=1)
