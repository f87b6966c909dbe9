"""The experiments on pictures: their sums, ranks and networks against cases with known answers."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from scripts.benchmarks.error_bars_photos import Outcome, details, doubt, summed
from scripts.benchmarks.photo_reference import (
    BLACK,
    INTERVALS,
    LEVELS,
    folded,
    gradients_at,
    open_photos,
    weights_of,
)
from scripts.networks.image_networks import small_googlenet, strided
from scripts.networks.real_networks import photos
from scripts.papers.ig.ig_faults import (
    FAULTY,
    NETWORKS,
    REPAIRED,
    SATURATED,
    fault_claims,
    fault_table,
    networks_found,
)
from scripts.papers.ig.ig_images import fall
from scripts.papers.ig.ig_steps import STEPS, Steps, needed, riemann_sums, steps_claim, steps_table
from scripts.papers.interior.interior_images import DIGIT_LAYERS, Network, digits, layer_claim, layer_table
from xattr_cli.reports.drawing.words import legend_name


class Quadratic(nn.Module):
    """(n, 3, h, w) to two outputs: 0, and half the weighted sum of squares."""

    def __init__(self, weights):
        super().__init__()
        self.weights = weights

    def forward(self, points):
        squares = (self.weights * points.square()).flatten(1).sum(dim=1) / 2
        return torch.stack([torch.zeros_like(squares), squares], dim=1)


@pytest.fixture
def quadratic():
    generator = torch.Generator().manual_seed(0)
    return Quadratic(torch.randn(3, 4, 5, generator=generator)), torch.randn(3, 4, 5, generator=generator)


def test_right_sums_are_those_of_the_paper(quadratic):
    network, image = quadratic
    sums = riemann_sums(network, torch.zeros_like(image), image, 1, steps=(2, 3, 6), rows=4)
    exact = (network.weights * image.square() / 2).flatten()
    for steps, found in zip((2, 3, 6), sums, strict=True):
        # the mean of k / m over k = 1 ... m, instead of 1/2
        assert torch.allclose(found.float(), exact * (steps + 1) / steps, atol=1e-6)


def test_trapezoids_of_all_levels(quadratic):
    network, image = quadratic
    nodes = torch.arange(INTERVALS + 1)
    weights = weights_of(nodes)
    assert weights.shape == (len(LEVELS), INTERVALS + 1)
    assert torch.allclose(weights.sum(dim=1), torch.ones(len(LEVELS), dtype=torch.float64))
    assert (weights != 0).sum(dim=1).tolist() == list(LEVELS)  # the first node weighs nothing
    t = (nodes.double() / INTERVALS).square()
    # ∫ 2u · u² du = 1/2; the trapezoid rule errs by h² / 12 · [6u²] = h² / 2
    assert torch.allclose(weights @ t, 0.5 + 0.5 / torch.tensor(LEVELS).double() ** 2)
    points = torch.zeros_like(image).lerp(image, t.float()[:, None, None, None])
    _, gradients = gradients_at(network, points, 1)
    found = weights[-1] @ (gradients * image.flatten()).double()
    assert torch.allclose(found.float(), (network.weights * image.square() / 2).flatten(), atol=1e-5)


def test_steps_that_are_enough():
    errors = np.array([[0.1, 0.04, 0.06, 0.01], [0.01, 0.01, 0.01, 0.01], [0.2, 0.2, 0.2, 0.2]])
    assert needed(errors, [10, 20, 30, 60]).tolist() == [60, 10, np.inf]
    assert [step for step in (20, 50, 300) if step in STEPS] == [20, 50, 300]
    assert all(300 % step == 0 for step in STEPS)


def test_claim_and_table_of_steps():
    ramp = 1.2 / np.array(STEPS)[None]
    found = Steps(gap=ramp.repeat(2, axis=0), error=30 * ramp.repeat(2, axis=0))
    claim = steps_claim(found)
    assert claim.holds == "yes"
    assert "from 25 steps on (median; 25 at most)" in claim.found
    assert "the map itself from more than 300 steps on for most" in claim.found
    rows = steps_table(found, np.array([55, 40]), np.array([0.03, 0.04])).rows
    assert [row[1:] for row in rows] == [(25, None, 55, 0.03), (25, None, 40, 0.04)]


def test_fall_is_that_of_the_chosen_pixels():
    image = torch.rand(1, 3, 10, 10, generator=torch.Generator().manual_seed(1))
    network = nn.Sequential(nn.Flatten(), nn.Linear(300, 2, bias=False))
    ranks = np.arange(100.0).reshape(1, 10, 10)
    found = fall(network, image.numpy(), np.array([1]), ranks, share=0.03)
    weight = network[1].weight[1].detach().view(3, 100)
    wanted = (weight * (image.view(3, 100) - BLACK))[:, -3:].sum()
    assert found == pytest.approx([float(wanted)], rel=1e-4)


def test_faults_are_found(tmp_path):
    found = networks_found(tmp_path, epochs=3)
    faulty, repaired, saturated = (found[name] for name in (FAULTY, REPAIRED, SATURATED))
    last = np.zeros((8, 8), bool)
    last[7], last[:, 7] = True, True
    assert np.array_equal(faulty.unread, last.ravel())
    assert np.array_equal(faulty.dead, faulty.varying & last.ravel())
    assert not repaired.unread.any()
    assert saturated.without_gradient == 1.0
    assert saturated.without_credit < 0.05
    assert [claim.holds for claim in fault_claims(found)] == ["yes", "yes"]
    rows = fault_table(found).rows
    assert [row[0] for row in rows] == list(NETWORKS)
    assert rows[0][3:6] == (13, 13, 0)


def test_networks_take_the_pictures_that_they_are_for():
    assert small_googlenet().eval()(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert strided(0)(torch.zeros(2, 1, 8, 8)).shape == strided(1)(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_layers_that_have_settled():
    alpha = np.linspace(0, 1, 5)
    early, late = np.array([[0, 0.8, 0.95, 1, 1]]), np.array([[0, 0.25, 0.5, 0.75, 1]])
    network = Network("a network", {}, alpha, {"early": early, "_late": late})
    claim = layer_claim(network)
    assert claim.holds == "in part"
    assert "1 of 2 layers" in claim.found
    assert "the least settled is _late, with 0.50" in claim.found
    assert layer_table(network).rows[0] == ("early", pytest.approx(0.32), 0.8, 0.95, 1.0)


def test_layers_that_begin_with_an_underscore_are_in_the_legend():
    axes = Figure().subplots()
    for name in ("_stem", "head"):
        axes.plot([0, 1], [0, 1], label=legend_name(name))
    assert [text.get_text().strip() for text in axes.legend().get_texts()] == ["_stem", "head"]


def test_outcomes_are_summed_up():
    true = np.array([0.02, 0.04, 0.01])
    reported = np.array([0.04, 0.035, 0.02])
    outcome = Outcome(0.05, reported, true, true / 2, np.array([33, 65, 33]), np.array([True, True, False]))
    rtol, within, below, least, middle, most, *_, evaluations, unsettled = summed(outcome)
    assert (rtol, within, unsettled) == (0.05, 1.0, 1)
    assert below == pytest.approx(2 / 3)
    assert (least, middle, most) == pytest.approx((0.875, 2.0, 2.0))
    assert evaluations == pytest.approx(131 / 3)
    assert details(outcome).rows[1][1:] == (0.035, 0.04, 0.02, 65)
    levels = np.zeros((1, len(LEVELS), 4))
    levels[:, LEVELS.index(512)] = [1.0, 0, 0, 0.1]
    assert doubt(levels, np.array([[1.0, 0, 0, 0]])) == pytest.approx(0.1)


def test_folded_normalisation_is_the_same_function(tmp_path):
    """In float64 to rounding; in float32 closer to it than the network as it is."""
    (tmp_path / "photos").mkdir()
    photos(tmp_path / "photos")
    network, images = open_photos(1, tmp_path / "photos")
    point = torch.from_numpy(images) * 0.3
    whole = copy.deepcopy(network).double()
    _, exact = gradients_at(whole, point.double(), 285)
    _, found = gradients_at(folded(whole), point.double(), 285)
    assert float((found - exact).norm() / exact.norm()) < 1e-10
    of_both = [gradients_at(each, point, 285)[1] for each in (network, folded(network))]
    plain, better = (float((found - exact).norm() / exact.norm()) for found in of_both)
    assert better < plain < 0.02


@pytest.mark.slow
def test_digits_on_the_way_from_black(tmp_path):
    network = digits(tmp_path / "digits", quick=True)
    assert list(network.cosine) == list(DIGIT_LAYERS)
    assert all(np.allclose(values[:, -1], 1, atol=1e-5) for values in network.cosine.values())
    assert network.paths["logit"].score.shape[1] == len(network.alpha) == 17
    trained = (tmp_path / "trained.txt").read_text()
    assert trained in network.name
    assert float(trained.partition("%")[0]) > 60
