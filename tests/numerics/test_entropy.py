"""Contributions to the entropy of a class, against enumeration of small discrete causal models."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from xattr_cli.numerics.sensitivity.entropy import EntropyRule, entropy_evaluations, estimate_entropies
from xattr_cli.numerics.sensitivity.linear_extensions import DownSets, topological_values
from xattr_cli.numerics.sensitivity.pick_freeze import Response
from xattr_cli.numerics.sensitivity.shapley import last_gains, shapley_values, single_worths

FAIR = (0.5, 0.5)


def exclusive_or(level):
    return level[:, 0] ^ level[:, 1]


def both(level):
    return level[:, 0] & level[:, 1]


def three_classes(level):
    """A cause of three levels, an effect that may be flipped, a third that matters only with the second."""
    effect = (level[:, 0] >= 1).long() ^ level[:, 1]
    return torch.where(level[:, 2] * effect > 0, 2, effect)


def of_four(level):
    return (level.sum(dim=1) + level[:, 0] * level[:, 3]).clamp(max=3)


CASES = {
    "exclusive or": (exclusive_or, (FAIR, FAIR), ((), (0,)), 2),
    "and": (both, (FAIR, FAIR), ((), (0,)), 2),
    "three classes": (three_classes, ((0.2, 0.5, 0.3), (0.9, 0.1), (0.25, 0.5, 0.25)), ((), (0,), (1,)), 3),
    "four nodes, two chains": (of_four, ((0.7, 0.3), FAIR, (0.1, 0.9), FAIR), ((), (0,), (), (2,)), 4),
}


def entropies(mass, classes, label):
    """Entropy of the class, and of whether it is each class, of weighted outcomes."""
    share = np.array([mass[label == one].sum() for one in range(classes)])
    terms = [-sum(p * np.log(p) for p in share if p > 0)]
    terms += [-sum(q * np.log(q) for q in (p, 1 - p) if q > 0) for p in share]
    return np.array(terms)


def enumerated(name):
    """(2^d, 1 + classes) exact worths: what the levels of a subset tell about the class."""
    function, levels, _, classes = CASES[name]
    outcomes = np.array(list(itertools.product(*[range(len(p)) for p in levels])))
    mass = np.prod([np.array(p)[outcomes[:, j]] for j, p in enumerate(levels)], axis=0)
    label = function(torch.from_numpy(outcomes)).numpy()
    worth = np.zeros((2 ** len(levels), 1 + classes))
    for subset in range(len(worth)):
        members = [j for j in range(len(levels)) if subset >> j & 1]
        _, group = np.unique(outcomes[:, members], axis=0, return_inverse=True)
        group = group.reshape(-1) if members else np.zeros(len(outcomes), int)
        for one in np.unique(group):
            here = group == one
            worth[subset] -= mass[here].sum() * entropies(mass[here] / mass[here].sum(), classes, label[here])
    return torch.from_numpy(worth - worth[:1])


def expected(name):
    parents, worth = CASES[name][2], enumerated(name)
    values = {
        "shapley": shapley_values(worth),
        "topological": topological_values(worth, DownSets.of(parents)),
        "first_order": single_worths(worth),
        "total": last_gains(worth),
    }
    return {key: value / worth[-1] for key, value in values.items()}, worth[-1]


def found(name, *, exact=True, draws=32, rtol=0.01, most=2**22, seed=0):
    function, levels, parents, classes = CASES[name]
    edges = [torch.tensor(p, dtype=torch.float64).cumsum(0)[:-1] for p in levels]

    def outputs(u):
        level = torch.stack([torch.bucketize(u[:, j].contiguous(), edge) for j, edge in enumerate(edges)], dim=1)
        return function(level)[:, None].double()

    nodes = torch.arange(len(levels))
    response = Response(parents, nodes, nodes, lambda u: u, outputs, targets=1, row_bytes=16, epsilon=1e-16)
    rule = EntropyRule(exact, replicates=8, draws=draws, rtol=rtol, max_evaluations=most, memory_bytes=2**22)
    streams = lambda stream: np.random.default_rng([seed, stream])  # noqa: E731
    return estimate_entropies(response, rule, streams, classes=classes, targets=range(classes))


@pytest.mark.parametrize("exact", [True, False], ids=["all subsets", "random orders"])
@pytest.mark.parametrize("name", CASES)
def test_contributions_are_those_of_enumeration(name, exact):
    truth, whole = expected(name)
    result = found(name, exact=exact)
    for key, value in truth.items():
        np.testing.assert_allclose(result.weighted[key].value, value[:, 0], atol=0.03)
        share = result.shares[key]  # a class of 2 % is known less well, and the interval says so
        assert ((share.value - value[:, 1:]).abs() < 2 * 1.96 * share.standard_error + 0.005).all()
    np.testing.assert_allclose(result.variance.value, whole[1:], rtol=0.05)
    np.testing.assert_allclose(result.weighted["shapley"].value.sum(), 1, atol=1e-12)
    assert result.evaluations <= 2**22


def test_exclusive_or_in_the_words_of_the_paper():
    """Neither bit tells anything alone; in the only causal order, the second one tells all."""
    truth, whole = expected("exclusive or")
    assert truth["shapley"][:, 0].tolist() == [0.5, 0.5] and truth["topological"][:, 0].tolist() == [0, 1]
    assert whole[0] == pytest.approx(np.log(2))
    # and: H = 0.5623 nats; the first bit tells 0.2158 of them, the second the rest
    shares = expected("and")[0]["topological"][:, 0]
    assert shares.tolist() == pytest.approx([0.38369, 0.61631], abs=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_the_intervals_cover_the_truth(name):
    truth = expected(name)[0]
    inside = []
    for seed in range(12):
        result = found(name, draws=16, rtol=0.9, seed=seed)
        for key, value in truth.items():
            error = (result.weighted[key].value - value[:, 0]).abs()
            inside.append((error <= 1.96 * result.weighted[key].standard_error + 1e-12).numpy())
    assert np.mean(inside) > 0.9


def test_draws_double_until_it_is_known_or_too_dear():
    assert found("three classes", draws=16, rtol=0.5).draws == 16 * 8
    short = found("three classes", draws=16, rtol=1e-9, most=2**17)
    assert not short.converged
    assert short.evaluations == entropy_evaluations(3, 32, 8, exact=True, has_arrows=True) == 2**15
