"""The rules that are compared do what their names say."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from helpers.blocks import NETWORKS, digits, explain, trained

from scripts.benchmarks import bench_nodes
from scripts.benchmarks.bench_nodes import CELLS, FIXED, GRADIENTS, RTOL
from scripts.benchmarks.node_paths import CASES, Paths, StoredField, paths_of
from xattr_cli.engines.path.integrated_gradients import IntegratedGradients
from xattr_cli.numerics.paths.straight import StraightPath

DEGREES = {"trapezoid in t": 1, "trapezoid in u²": 0, "midpoint in t": 1, "Gauss–Legendre in t (captum)": 7}


@pytest.mark.parametrize("name", FIXED)
def test_fixed_rules_are_exact_for_polynomials_up_to_their_degree(name):
    rule, degree = FIXED[name](4), DEGREES[name]
    assert len(rule.nodes) == 4
    for power in range(degree + 1):
        assert float(rule.weights @ rule.nodes**power) == pytest.approx(1 / (power + 1), abs=1e-12)
    assert float(rule.weights @ rule.nodes ** (degree + 1)) != pytest.approx(1 / (degree + 2), abs=1e-9)


def test_the_smallest_fixed_rule_is_good_enough_and_one_node_less_is_not():
    paths = paths_of("ReLU MLP", trained("relu_mlp"), digits()[2][:12])
    for rule in FIXED.values():
        smallest = bench_nodes.smallest_of(rule, paths)
        assert smallest.error <= RTOL
        if smallest.evaluations > 2:
            assert bench_nodes.worst(paths.error(paths.maps(rule(int(smallest.evaluations) - 1)))) > RTOL


def test_panels_are_those_of_the_engine_and_cells_keep_to_the_tolerance():
    network, images = trained("gelu_mlp"), digits()[2][:12]
    paths = paths_of("GELU MLP", network, images)
    outcomes = bench_nodes.outcomes_of(paths)
    engine = IntegratedGradients(rtol=RTOL, rule="gradient")
    theirs = explain(engine, network, images, target=network(images).argmax(dim=1))
    assert outcomes[GRADIENTS].evaluations == float((theirs.evaluations - 1).double().mean())
    assert outcomes[GRADIENTS].error == pytest.approx(bench_nodes.worst(paths.error(theirs.attribution)), rel=1e-3)
    assert outcomes[CELLS].error <= RTOL


def test_a_store_answers_with_the_nearest_node():
    u = np.linspace(0, 1, 1025)
    sketches = np.stack([(u[:, None] * [1.0, 2.0]).astype(np.float32)])
    like = torch.ones(1, 2)
    path = StraightPath(torch.zeros_like(like), like)
    paths = Paths("stored", StoredField(sketches), path, smooth=False)
    some = path.at(torch.zeros(2, dtype=torch.long), torch.tensor([0.25, (10.4 / 1024) ** 2]))
    (evaluation,) = paths.field.gradients(some)
    assert evaluation.gradients.numpy() == pytest.approx(np.array([[0.5, 1.0], [10 / 1024, 20 / 1024]]))
    assert paths.truth.numpy() == pytest.approx(np.array([[2 / 3, 4 / 3]]), rel=1e-5)


def test_quick_run_compares_every_rule(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench_nodes.py", "--quick"])
    bench_nodes.main()
    printed = capsys.readouterr().out
    for name in (*FIXED, GRADIENTS, CELLS):
        assert f"| {name} " in printed
    assert set(NETWORKS) >= {"relu_cnn_maxpool", "relu_mlp", "gelu_mlp"}
    assert set(bench_nodes.QUICK) <= set(CASES)
