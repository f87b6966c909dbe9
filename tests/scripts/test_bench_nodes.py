"""The placements of nodes that are compared do what their names say."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from helpers.blocks import NETWORKS, digits, explain, trained
from torch import nn

from scripts.benchmarks import bench_nodes
from scripts.benchmarks.node_candidates import ADOPTED, CANDIDATES, LIMIT
from scripts.benchmarks.node_fields import NetworkField, StoredField
from scripts.benchmarks.node_panels import Panelled, panels_with
from scripts.benchmarks.node_paths import CASES, Paths
from scripts.benchmarks.node_rows import Cells, Levels
from scripts.benchmarks.node_rules import (
    clenshaw_curtis,
    gap,
    gauss,
    midpoint,
    own_count,
    placed,
    simpson,
    trapezoid,
)
from xattr_cli.engines.path.integrated_gradients import IntegratedGradients
from xattr_cli.numerics.paths import integrate as integrator
from xattr_cli.numerics.paths import panels
from xattr_cli.numerics.paths.straight import StraightPath


class Kink(nn.Module):
    """Σ relu(x − 0.7): every gradient jumps at 0.7 on the way to 1."""

    def forward(self, x):
        return (x - 0.7).relu().sum(dim=1, keepdim=True)


def paths_of(module, inputs, smooth=False):
    flat = inputs.flatten(1)
    return Paths("a network", NetworkField(module, inputs), StraightPath(torch.zeros_like(flat), flat), smooth)


KINK = paths_of(Kink(), torch.ones(2, 3))


# --- rules ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "size", "degree"),
    [(trapezoid, 5, 1), (midpoint, 5, 1), (simpson, 4, 3), (gauss, 4, 7), (clenshaw_curtis, 6, 7)],
)
def test_rules_are_exact_for_polynomials(rule, size, degree):
    found = rule(KINK, size)
    for power in range(degree + 1):
        assert float(found.weights[0] @ found.t[0] ** power) == pytest.approx(1 / (power + 1), abs=1e-12)
    assert float(found.weights[0] @ found.t[0] ** (degree + 1)) != pytest.approx(1 / (degree + 2), abs=1e-9)


def test_a_node_without_weight_costs_nothing():
    assert trapezoid(KINK, 6).gradients == 7
    assert trapezoid(KINK, 6, power=2.0).gradients == 6


def test_a_fitted_density_puts_its_nodes_where_the_jump_is():
    rule = placed(lambda paths: paths.jumps, KINK, 20)
    assert rule.weights.sum(dim=1) == pytest.approx(torch.ones(2).double())
    assert float(((rule.t - 0.7).abs() < 0.05).double().mean()) > 0.9
    assert bench_nodes.worst(KINK.error(rule.maps(KINK.at(rule.t)))) < 0.01


def test_the_number_of_nodes_of_the_limit_goes_with_the_accuracy():
    few, many = own_count(KINK, 200), own_count(KINK, 2000)
    assert many.gradients == pytest.approx(10 * few.gradients, rel=0.2)


# --- rules by which rows stop ---------------------------------------------------------------------


def test_levels_pay_a_node_once():
    nested = Levels(trapezoid, (4, 8, 16), lambda paths, *_: torch.full((paths.rows,), 1.0))
    assert nested.run(KINK, 0.5).gradients.tolist() == [17, 17]
    apart = Levels(midpoint, (4, 8), gap)
    assert apart.run(KINK, 1e-9).gradients.tolist() == [12, 12]


def test_a_jump_to_the_predicted_level_leaves_some_out():
    rule = Levels(
        trapezoid, (5, 7, 10, 11), lambda paths, found, *_: torch.full((2,), 10.0 / found.gradients), jump=True
    )
    assert rule.run(KINK, 0.95).gradients.tolist() == [11, 11]


def test_cells_close_in_on_the_jump():
    one_by_one = Cells(6, share=0.0).run(KINK, 0.02)
    everywhere = Levels(trapezoid, (6, 12, 24, 48, 96, 192), gap).run(KINK, 0.02)
    assert (one_by_one.true <= 0.02).all()
    assert (one_by_one.gradients < 20).all()
    assert (everywhere.gradients > 20).all()


def test_panels_are_taken_as_far_as_asked():
    squares, cells = torch.tensor([[8.0, 1.0, 4.0, 3.0]]), torch.tensor([[1, 1, 1, 1]])
    share, budget = torch.tensor([0.1]), torch.tensor([10])
    assert panels_with(0.0, squares, cells, share, budget).tolist() == [[True, False, False, False]]
    assert panels_with(0.7, squares, cells, share, budget).tolist() == [[True, False, True, False]]
    assert panels_with(1.0, squares, cells, share, budget).all()
    assert int(panels_with(1.0, squares, cells, share, torch.tensor([2])).sum()) == 2


def test_the_adopted_rule_is_that_of_the_engine():
    network, images = trained("gelu_mlp"), digits()[2][:12]
    paths = paths_of(network, images, smooth=True)
    found = explain(IntegratedGradients(rtol=0.003), network, images, target=network(images).argmax(dim=1))
    ours = Panelled().run(paths, 0.003)
    assert (ours.gradients == found.evaluations - 1).all()
    assert ours.reported.numpy() == pytest.approx(found.relative_error.numpy(), rel=1e-4)


def test_the_package_is_itself_again_after_an_altered_run():
    before = integrator.panels_to_refine, panels.MOST_PANELS
    Panelled(16, share=0.5, panels=16).run(KINK, 0.1)
    assert (integrator.panels_to_refine, panels.MOST_PANELS) == before


# --- photographs ----------------------------------------------------------------------------------


def test_a_store_answers_with_the_nearest_node():
    u = np.linspace(0, 1, 1025)
    sketches = np.stack([(u[:, None] * [1.0, 2.0]).astype(np.float32)])
    like = torch.ones(1, 2)
    paths = Paths("stored", StoredField(sketches), StraightPath(torch.zeros_like(like), like), smooth=False)
    assert paths.at(torch.tensor([[0.25, (10.4 / 1024) ** 2]])).numpy() == pytest.approx(
        np.array([[[0.5, 1.0], [10 / 1024, 20 / 1024]]])
    )
    assert paths.truth.numpy() == pytest.approx(np.array([[2 / 3, 4 / 3]]), rel=1e-5)
    assert float(paths.change) == pytest.approx(2, rel=1e-5)


# --- the table ------------------------------------------------------------------------------------


def test_quick_run_compares_every_candidate(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench_nodes.py", "--quick"])
    bench_nodes.main()
    printed = capsys.readouterr().out
    for candidate in CANDIDATES:
        assert f"| {candidate.name} " in printed
    assert printed.count("| yes") == 2  # in both tables that say so


def test_one_candidate_is_adopted_and_names_differ():
    assert len({candidate.name for candidate in CANDIDATES}) == len(CANDIDATES)
    assert ADOPTED in CANDIDATES
    assert LIMIT in CANDIDATES
    assert set(NETWORKS) >= {"relu_cnn_maxpool", "relu_mlp", "gelu_mlp"}
    assert set(bench_nodes.QUICK) <= set(CASES)
