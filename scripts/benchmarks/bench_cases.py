"""The networks and rows of the benchmarks: those of the tests, on scikit-learn's digits."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from scripts.benchmarks.benchlib import ROOT
from xattr_cli.engines.base import Explanation, LocalEngine
from xattr_cli.engines.block import Block
from xattr_cli.engines.path.integrated_gradients import IntegratedGradients
from xattr_cli.numerics.paths.quadrature import FixedRule

sys.path.append(str(ROOT / "tests"))

from helpers.blocks import KINKED, NETWORKS, block_of, digits, trained

__all__ = ["NETWORKS", "Case", "case_of", "network", "share_covered", "trapezoid", "true_error"]

ROWS_PER_CALL = 512
REFERENCE_INTERVALS = 2048
ROUNDING = 1e-6  # of maps in float32


@dataclass(frozen=True)
class Case:
    """A trained network, some rows of digits, and what is explained about them.

    Attributes:
        name: of the network.
        score: of the predicted class.
        origin: where every path starts, "zero" or "mean".
        network: trained, frozen.
        images: (rows, 1, 8, 8).
        targets: (rows,) predicted classes.
    """

    name: str
    score: str
    origin: str
    network: nn.Module
    images: Tensor
    targets: Tensor

    @property
    def kinked(self) -> bool:
        """Whether the network has kinks."""
        return self.name in KINKED

    @cached_property
    def truth(self) -> Tensor:
        """(rows, D) maps of integrated gradients from 2048 intervals."""
        return self.explain(IntegratedGradients(rtol=1e-9, max_nodes=REFERENCE_INTERVALS + 1)).attribution

    def explain(self, engine: LocalEngine, **options: object) -> Explanation:
        """The maps of all rows by `engine`, computed as a job computes them."""
        return engine.explain(self.block(engine, **options))

    def block(self, engine: LocalEngine, **options: object) -> Block:
        """The block that `engine` explains; `options` are those of `block_of` in the tests."""
        mean = digits()[0].mean(dim=0)
        start = mean if self.origin == "mean" else torch.zeros_like(mean)
        return block_of(
            self.network,
            self.images,
            **{"baseline": start.expand_as(self.images), **options},
            target=self.targets,
            engines=[engine],
            score=self.score,
            rows=ROWS_PER_CALL,
        )


def case_of(name: str, rows: int, *, score: str = "logit", origin: str = "zero") -> Case:
    """The first `rows` digits, held-out ones first, and the network of that name."""
    training, _, test, _ = digits()
    images = torch.cat([test, training])[:rows]
    return Case(name, score, origin, trained(name), images, trained(name)(images).argmax(dim=1))


def network(name: str) -> nn.Module:
    """An untrained network: the factory that the benchmarks' jobs name."""
    return NETWORKS[name]()


def trapezoid(nodes: int, power: float = 1.0) -> FixedRule:
    """Even in u, t = u^power, but for nodes of weight 0; constants are integrated exactly."""
    u = np.linspace(0, 1, nodes if power == 1 else nodes + 1)
    weights = power * u ** (power - 1)
    weights[[0, -1]] /= 2
    kept = weights > 0
    return FixedRule(u[kept] ** power, weights[kept] / weights.sum())


def true_error(found: Tensor, truth: Tensor) -> Tensor:
    """(rows,) float64, relative L2 error of each map."""
    found, truth = found.double(), truth.double()
    return (found - truth).norm(dim=1) / truth.norm(dim=1)


def share_covered(error: Tensor, reported: Tensor) -> float:
    """Share of the rows whose true error is at most 1.25 times the reported one."""
    return float((error <= 1.25 * reported + ROUNDING).double().mean())
