"""The experiments of the paper on intrinsic contributions: known models, do-Shapley values, and COMPAS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from scripts.networks import compas
from scripts.papers.icc import icc_claims, icc_classes, icc_oracle, icc_theorems
from scripts.papers.icc.icc_do_shapley import do_shapley, set_inputs
from scripts.papers.icc.icc_outcome import Outcome
from scripts.papers.icc.scms import MODELS
from xattr_cli.causal.graph.graph import Graph
from xattr_cli.causal.model import GraphModel

needs_compas = pytest.mark.skipif(not compas.is_there(), reason="the table has not been fetched")


@dataclass(frozen=True)
class Chain(GraphModel):
    """B = A + n, C = 2 B + n; noise from rows and rows from noise."""

    def inputs(self, noise):
        a, n, m = noise.T
        return torch.stack([a, a + n, 2 * (a + n) + m], dim=1)

    def noise(self, rows, seed):
        a, b, c = rows.T
        return torch.stack([a, b - a, c - 2 * b], dim=1)


@pytest.fixture
def chain():
    return Chain(Graph(("A", "B", "C"), ((), (0,), (1,)), ((0,), (1,), (2,))))


def test_what_is_set_stays_and_its_effects_follow(chain):
    noise = torch.randn(5, 3, dtype=torch.float64)
    wanted = torch.full((5, 3), 7.0, dtype=torch.float64)
    moved = set_inputs(chain, noise, wanted, [1])
    natural = chain.inputs(noise)
    assert torch.equal(moved[:, 0], natural[:, 0])
    assert torch.equal(moved[:, 1], wanted[:, 1])
    assert torch.allclose(moved[:, 2], 14 + noise[:, 2])
    both = set_inputs(chain, noise, wanted, [0, 2])
    assert torch.allclose(both, torch.stack([wanted[:, 0], 7 + noise[:, 1], wanted[:, 2]], dim=1))


def test_do_shapley_values_of_a_linear_chain(chain):
    """f = C. Of the change 2 a + … setting A moves C by 2 a unless B or C is set; order by order, by hand."""
    net = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[0.0, 0.0, 1.0]]))
    rows = np.array([[1.0, 3.0, 10.0]], np.float32)
    found = do_shapley(chain, net, rows, 0, explained=1, draws=4096)
    # v(∅) = 0, v(A) = 2, v(B) = 6 = v(AB), v(S with C) = 10, over all six orders
    assert found[0] == pytest.approx([2 * 2 / 6, (2 * 6 + 4) / 6, 10 - 2 * 2 / 6 - (2 * 6 + 4) / 6], abs=0.15)
    assert found.sum() == pytest.approx(10, abs=0.15)


@pytest.mark.parametrize("name", ["linear chain", "diamond"])
def test_contributions_are_those_of_dowhy(tmp_path, name):
    own, error, _ = icc_oracle.contributions(name, tmp_path)
    theirs, their_error, _ = icc_oracle.dowhy_shares(name)
    assert own.sum() == pytest.approx(1, abs=1e-6)
    assert (np.abs(own - theirs) < 3.5 * np.hypot(error, their_error)).all()
    if name == "linear chain":
        assert own == pytest.approx([1 / 9, 4 / 9, 4 / 9], abs=1e-3)


def test_models_are_triangular():
    for model in MODELS.values():
        noise = torch.zeros(1, len(model.parents))
        base = model.values(list(noise.T))
        for place, node in enumerate(model.parents):
            moved = noise.clone()
            moved[0, place] = 1
            changed = [bool(a != b) for a, b in zip(model.values(list(moved.T)), base, strict=True)]
            assert not any(changed[:place]), node
            assert changed[place], node


@needs_compas
def test_compas_is_the_known_table():
    inputs, again, risk = compas.compas()
    assert inputs.shape == (6167, 8)
    assert again.mean() == pytest.approx(0.4553, abs=0.001)
    assert inputs[:, 0].mean() == pytest.approx(0.81, abs=0.01)  # men
    assert [int((risk == k).sum()) for k in range(3)] == sorted((risk == k).sum() for k in range(3))[::-1]


@needs_compas
def test_columns_that_are_not_to_be_read_are_not():
    torch.manual_seed(0)
    inputs, labels = torch.randn(96, len(compas.COLUMNS)), torch.arange(96) % 3
    network = icc_classes._trained(inputs, labels, seed=0, epochs=2, unread=("age", "priors"))
    moved = inputs.clone()
    moved[:, [[*compas.COLUMNS].index(name) for name in ("age", "priors")]] += 100
    assert torch.equal(network(moved), network(inputs))
    moved[:, 0] += 1
    assert not torch.equal(network(moved), network(inputs))


# --- what the paper proves ------------------------------------------------------------------------


def test_contributions_of_independent_inputs_are_shapley_effects(tmp_path):
    found = icc_theorems.independent(tmp_path)
    for kind in ("ICC, topological", "ICC, Shapley"):
        assert found[kind] == pytest.approx(icc_theorems.ISHIGAMI["Shapley effect"], abs=0.002)
    for kind in ("first-order Sobol' index", "total Sobol' index"):
        assert found[kind] == pytest.approx(icc_theorems.ISHIGAMI[kind], abs=0.002)
    assert icc_theorems._enclosed(found).holds == "yes"
    outside = {**found, "ICC, Shapley": found["total Sobol' index"] + 0.01}
    assert icc_theorems._enclosed(outside).holds == "no"


def test_rows_and_the_graph_give_the_contributions_of_a_linear_chain(tmp_path):
    found = icc_theorems.fitted("linear chain", tmp_path, seed=0, rows=1000)
    assert found == pytest.approx([1 / 9, 4 / 9, 4 / 9], abs=0.05)  # 1 / 33, 8 / 33, 24 / 33 without the graph


# --- which ranking --------------------------------------------------------------------------------


def outcome_of(shares, read, pgu, noise):
    rankings = {"icc": np.array(shares), "icc_shapley": np.array(shares), "sobol": np.array(read)}
    rivals = ("integrated_gradients", "gradient_shap", "permutation")
    gaps = {"icc": noise[0], "icc_shapley": noise[0] + 0.01, "sobol": noise[1]}
    return Outcome(rankings, {"icc": pgu[0], **dict.fromkeys(rivals, pgu[1])}, gaps, 0.9)


def test_ranks_that_differ_from_what_is_read_explain_a_larger_gap():
    assert icc_claims.apart(outcome_of([8, 2], [1, 4], (0, 0), (0, 0))) == pytest.approx(0.6)
    runs = {
        "far": [outcome_of([1, 0], [0, 1], (0.9, 0.5), (0.1, 0.3)) for _ in range(3)],
        "near": [outcome_of([0.4, 0.6], [0.3, 0.7], (0.5, 0.5), (0.30, 0.30)) for _ in range(3)],
        "middle": [outcome_of([0.7, 0.3], [0.3, 0.7], (0.6, 0.5), (0.4, 0.3)) for _ in range(3)],
    }
    paper, noise = icc_claims.paper_claim(runs), icc_claims.noise_claim(runs)
    assert paper.holds == "no"
    assert "it is on 1 of 3: near" in paper.found
    assert "rank correlation of 1.00" in paper.found
    assert noise.holds == "in part"
    assert "lower gap than all other rankings on 1 of 3" in noise.found
    assert "best on 1." in noise.found
