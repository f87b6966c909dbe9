"""Responses to independent noise whose contributions are known exactly, and studies of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from xattr_cli.numerics.sensitivity.contributions import Rule, estimate_contributions
from xattr_cli.numerics.sensitivity.pick_freeze import Response
from xattr_cli.numerics.sensitivity.sums import Sampling

__all__ = [
    "TABLE",
    "Problem",
    "contributions",
    "mean_over_orders",
    "multilinear",
    "normal",
    "response_of",
    "to_bits",
]


@dataclass(frozen=True)
class Problem:
    """A response with exact contributions.

    Attributes:
        function: uniform noise (n, nodes) -> (n,).
        parents: direct causes per node.
        exact: estimate's name -> its exact value per node.
        variance: of the response.
    """

    function: Callable[[Tensor], Tensor]
    parents: tuple[tuple[int, ...], ...]
    exact: dict[str, tuple[float, ...]]
    variance: float


def normal(uniform):
    return torch.special.ndtri(uniform)


def to_bits(uniform):
    return uniform > 0.5


def _chain(u):
    n = normal(u) * torch.tensor([1.0, 2.0, 1.0], dtype=u.dtype)
    x1 = n[:, 0]
    x2 = 2 * x1 + n[:, 1]
    return x1 - x2 + 2 * (x2 - x1 + n[:, 2])


def _independent_chain(u):
    n = normal(u) * torch.tensor([1.0, 8.0, 6.0], dtype=u.dtype).sqrt()
    return n[:, 0] - n[:, 1] + 2 * n[:, 2]


def _ishigami(u):
    x = math.pi * (2 * u - 1)
    return x[:, 0].sin() + 7 * x[:, 1].sin() ** 2 + 0.1 * x[:, 2] ** 4 * x[:, 0].sin()


_HEAVY = (1 - math.exp(-0.25)) / 2
CAUSE_FIRST = ((), (0,))

TABLE = {
    "linear chain": Problem(
        _chain,
        ((), (0,), (0, 1)),
        {"shapley": (1 / 9, 4 / 9, 4 / 9), "topological": (1 / 9, 4 / 9, 4 / 9)},
        9.0,
    ),
    "linear chain, taken as independent": Problem(
        _independent_chain,
        ((), (), ()),
        {"shapley": (1 / 33, 8 / 33, 24 / 33), "topological": (1 / 33, 8 / 33, 24 / 33)},
        33.0,
    ),
    "Ishigami": Problem(
        _ishigami,
        ((), (), ()),
        {
            "shapley": (0.435747, 0.442411, 0.121842),
            "topological": (0.435747, 0.442411, 0.121842),
            "first_order": (0.313905, 0.442411, 0.0),
            "total": (0.557589, 0.442411, 0.243684),
        },
        13.844588,
    ),
    "exclusive or": Problem(
        lambda u: (to_bits(u[:, 0]) ^ to_bits(u[:, 1])).to(u),
        CAUSE_FIRST,
        {"shapley": (0.5, 0.5), "topological": (0.0, 1.0), "first_order": (0.0, 0.0), "total": (1.0, 1.0)},
        0.25,
    ),
    "and": Problem(
        lambda u: (to_bits(u[:, 0]) & to_bits(u[:, 1])).to(u),
        CAUSE_FIRST,
        {"shapley": (0.5, 0.5), "topological": (1 / 3, 2 / 3), "first_order": (1 / 3, 1 / 3)},
        3 / 16,
    ),
    "product": Problem(
        lambda u: normal(u).prod(dim=1), CAUSE_FIRST, {"shapley": (0.5, 0.5), "topological": (0.0, 1.0)}, 1.0
    ),
    "heavy tail": Problem(
        lambda u: normal(u[:, 1]) * (normal(u[:, 0]) / 2).exp(),
        CAUSE_FIRST,
        {"shapley": (_HEAVY, 1 - _HEAVY), "topological": (0.0, 1.0)},
        math.exp(0.5),
    ),
}
"""The exact cases of Janzing et al. and of Sobol' analysis; Ishigami with a = 7, b = 0.1."""


# --- random cases -------------------------------------------------------------------------------


def multilinear(nodes, parents=None, *, terms=8, seed=0):
    """Σ a_S Π_{j in S} N_j over random subsets S, whose part of the variance is a_S² each."""
    random = np.random.default_rng(seed)
    coefficients: dict[tuple[int, ...], float] = {}
    while len(coefficients) < min(terms, 2**nodes - 2):
        size = int(random.integers(1, min(nodes, 4) + 1))
        subset = tuple(sorted(random.choice(nodes, size, replace=False).tolist()))
        coefficients[subset] = float(random.normal())

    def function(u):
        n = normal(u)
        return 3.0 + sum(a * n[:, list(subset)].prod(dim=1) for subset, a in coefficients.items())

    parts = {subset: a**2 for subset, a in coefficients.items()}
    variance = sum(parts.values())
    parents = parents or ((),) * nodes

    def worth(members):
        return sum(part for subset, part in parts.items() if set(subset) <= set(members)) / variance

    everyone = set(range(nodes))
    exact = {
        "shapley": [sum(p / len(s) for s, p in parts.items() if j in s) / variance for j in range(nodes)],
        "first_order": [worth({j}) for j in range(nodes)],
        "total": [1 - worth(everyone - {j}) for j in range(nodes)],
        "second_order": [[worth({i, j}) for j in range(nodes)] for i in range(nodes)],
        "topological": mean_over_orders(worth, parents),
    }
    return Problem(function, parents, exact, variance)


def mean_over_orders(worth, parents):
    """Mean gain per node over all topological orders, one after the other."""
    nodes = len(parents)
    gains, count = np.zeros(nodes), 0
    for order in itertools.permutations(range(nodes)):
        place = {node: i for i, node in enumerate(order)}
        if all(place[cause] < place[node] for node in range(nodes) for cause in parents[node]):
            count += 1
            for i, node in enumerate(order):
                gains[node] += worth(order[: i + 1]) - worth(order[:i])
    return (gains / count).tolist()


# --- studies ------------------------------------------------------------------------------------


def response_of(function, parents, *, owner=None):
    """A response to uniform noise with one output, or several along the last axis of what `function` gives."""
    owner = torch.arange(len(parents)) if owner is None else torch.tensor(owner)
    targets = function(torch.rand(2, len(owner), dtype=torch.float64)).reshape(2, -1).shape[1]
    return Response(
        tuple(map(tuple, parents)),
        owner,
        owner,
        prepare=lambda uniform: uniform,
        outputs=lambda points: function(points).reshape(len(points), -1),
        targets=targets,
        row_bytes=8 * len(owner),
        epsilon=2e-16,
    )


def contributions(
    function,
    parents,
    *,
    exact=True,
    draws=1024,
    replicates=8,
    rtol=1e-9,
    most=0,
    second_order=False,
    seed=0,
    memory=2**26,
    owner=None,
    surrogate=None,
    **options,
):
    """Contributions, `draws` of each replicate in the first round, `most` evaluations with further ones."""
    rule = Rule(Sampling(exact, second_order, replicates, memory, surrogate), draws, rtol, most)
    response = response_of(function, parents, owner=owner)
    return estimate_contributions(response, rule, lambda k: np.random.default_rng([seed, k]), **options)
