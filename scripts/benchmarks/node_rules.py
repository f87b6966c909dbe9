"""Ways of placing nodes on a path, each of them a few lines: fixed rules, and rules by which a row stops alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from scripts.benchmarks.node_paths import Paths
from xattr_cli.numerics.paths.error_bar import adaptive_error
from xattr_cli.numerics.paths.node_record import NodeRecord

__all__ = [
    "Bar",
    "Placement",
    "Rule",
    "clenshaw_curtis",
    "gap",
    "gauss",
    "midpoint",
    "own_count",
    "placed",
    "reported_error",
    "second_differences",
    "simpson",
    "since_last_level",
    "trapezoid",
]

EVENLY = 0.05
"""Share of the nodes of a fitted density that are spread evenly in u, t = u²."""


@dataclass(frozen=True)
class Rule:
    """∫₀¹ h(t) dt ≈ Σ_k weights[k] h(t[k]).

    Attributes:
        t, weights: (rows or 1, n) float64; a node of weight zero is not evaluated.
    """

    t: Tensor
    weights: Tensor

    @property
    def gradients(self) -> float:
        """Mean per row."""
        return float((self.weights != 0).double().sum(dim=1).mean())

    def integrand(self, paths: Paths) -> Tensor:
        """(rows, n, D) Δ ⊙ ∇f at the nodes."""
        return paths.at(self.t)

    def maps(self, integrand: Tensor) -> Tensor:
        """(rows, D) float64."""
        return torch.einsum("rn,rnd->rd", self.weights.expand(len(integrand), -1).double(), integrand.double())


Placement = Callable[[Paths, int], Rule]
"""The rule of a size."""


# --- the same nodes for every network --------------------------------------------------------------


def trapezoid(paths: Paths, intervals: int, power: float = 1.0) -> Rule:
    """Equal cells in u, t = u^power; constants are integrated exactly."""
    u = torch.linspace(0, 1, intervals + 1, dtype=torch.float64)
    weights = power * u ** (power - 1)
    weights[[0, -1]] /= 2
    return Rule((u**power)[None], (weights / weights.sum())[None])


def midpoint(paths: Paths, nodes: int, power: float = 1.0) -> Rule:
    """Middles of equal cells in u."""
    u = (torch.arange(nodes, dtype=torch.float64) + 0.5) / nodes
    weights = power * u ** (power - 1)
    return Rule((u**power)[None], (weights / weights.sum())[None])


def simpson(paths: Paths, intervals: int, power: float = 1.0) -> Rule:
    """(4 T_n − T_{n/2}) / 3 of an even number n of intervals."""
    fine, coarse = trapezoid(paths, intervals, power), trapezoid(paths, intervals // 2, power)
    weights = fine.weights * 4 / 3
    weights[:, ::2] -= coarse.weights / 3
    return Rule(fine.t, weights)


def gauss(paths: Paths, nodes: int, power: float = 1.0) -> Rule:
    """Gauss–Legendre in u: as captum does with power 1."""
    x, w = (torch.from_numpy(each) for each in np.polynomial.legendre.leggauss(nodes))
    u = (x + 1) / 2
    return Rule((u**power)[None], (w / 2 * power * u ** (power - 1))[None])


def clenshaw_curtis(paths: Paths, intervals: int) -> Rule:
    """Nodes (1 − cos kπ/n) / 2; those of n are nodes of 2n, for n even."""
    k = np.arange(intervals + 1)
    order = np.arange(1, intervals // 2 + 1)
    share = np.where(2 * order == intervals, 1, 2) / (4 * order**2 - 1)
    weights = 2 / intervals * (1 - np.cos(2 * np.outer(k, order) * np.pi / intervals) @ share)
    weights[[0, -1]] /= 2
    t = (1 - np.cos(k * np.pi / intervals)) / 2
    return Rule(torch.from_numpy(t)[None], torch.from_numpy(weights)[None] / 2)


# --- nodes fitted to what is known of the paths ----------------------------------------------------

Roughness = Callable[[Paths], Tensor]
"""(rows or 1, cells) what a node density is fitted to."""


def placed(roughness: Roughness, paths: Paths, nodes: int) -> Rule:
    """Middles of cells of equal content of the density that makes the error smallest.

    A cell of width h in which squared jumps have density s has a mean squared error s h³ / 12: the sum over
    cells is smallest for a node density ∝ s^{1/3}. The same holds for curvature, of error |G''| h³ / 12.
    """
    content = _content(roughness(paths))
    edges = torch.arange(nodes + 1, dtype=torch.float64) / nodes
    middles = (torch.arange(nodes, dtype=torch.float64) + 0.5) / nodes
    return Rule(_quantiles(content, middles), torch.diff(_quantiles(content, edges), dim=1))


def own_count(paths: Paths, size: int) -> Rule:
    """Density and number of nodes of every row as its own squared jumps ask for them: the limit.

    The expected error of n nodes is Z^{3/2} / (√12 n), Z = ∫ s^{1/3} dt; `size` is one over the error aimed at.
    """
    cells = paths.jumps.shape[1]
    width = torch.diff(torch.linspace(0, 1, cells + 1, dtype=torch.float64).square())
    error = (paths.jumps ** (1 / 3) @ width) ** 1.5 / math.sqrt(12)
    counts = (error * size).ceil().clamp(min=1).long()
    most = int(counts.max())
    t, weights = (
        torch.ones(paths.rows, most, dtype=torch.float64),
        torch.zeros(paths.rows, most, dtype=torch.float64),
    )
    for row, count in enumerate(counts.tolist()):
        rule = placed(lambda _, row=row: paths.jumps[row : row + 1], paths, count)
        t[row, :count], weights[row, :count] = rule.t[0], rule.weights[0]
    return Rule(t, weights)


def _content(roughness: Tensor) -> Tensor:
    """(rows, cells + 1) share of the nodes before the end of each fine cell."""
    u = torch.linspace(0, 1, roughness.shape[1] + 1, dtype=torch.float64)
    content = roughness ** (1 / 3) * torch.diff(u.square())
    content = content / content.sum(dim=1, keepdim=True).clamp(min=1e-300)
    content = (1 - EVENLY) * content + EVENLY / roughness.shape[1]
    content = torch.nn.functional.pad(content.cumsum(dim=1), (1, 0))
    return content / content[:, -1:]


def _quantiles(content: Tensor, shares: Tensor) -> Tensor:
    """(rows, n) positions t before which these shares of the nodes lie."""
    fine = np.linspace(0, 1, content.shape[1]) ** 2
    found = [np.interp(shares.numpy(), row.numpy(), fine) for row in content]
    return torch.from_numpy(np.stack(found))


# --- error bars ------------------------------------------------------------------------------------


class Bar(Protocol):
    """Reported relative errors (rows,) of the maps of a rule."""

    def __call__(self, paths: Paths, rule: Rule, integrand: Tensor, before: Tensor | None) -> Tensor:
        """`integrand` (rows, n, D) at the nodes; `before` (rows, D): maps of the level before."""


def second_differences(
    paths: Paths, rule: Rule, integrand: Tensor, before: Tensor | None, power: float = 1.0
) -> Tensor:
    """The adopted formula, of a trapezoid rule in u, t = u^power."""
    u = rule.t.expand(paths.rows, -1) ** (1 / power)
    return reported_error(paths, u, integrand * (power * u ** (power - 1))[:, :, None], rule.maps(integrand))[0]


def reported_error(paths: Paths, u: Tensor, integrand: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
    """What the adopted formula says of a trapezoid rule, and the squared error of each cell.

    Arguments:
        paths: of the rows.
        u: (rows, n) positions, increasing.
        integrand: (rows, n, D) Δ ⊙ φ'(u) ∇f there.
        maps: (rows, D) float64.
    """
    rows, count, dim = integrand.shape
    record = NodeRecord(paths.path.delta)
    record.expect(u.contiguous())
    record.add(
        torch.arange(rows).repeat_interleave(count),
        torch.arange(count).repeat(rows),
        integrand.float().reshape(-1, dim),
    )
    errors = record.errors()
    rounding = 4 * torch.finfo(torch.float32).eps * paths.change.abs()
    reported = adaptive_error(errors, maps, paths.change, rounding, smooth=paths.smooth, dtype=torch.float32)
    return reported, errors.squares


def since_last_level(paths: Paths, rule: Rule, integrand: Tensor, before: Tensor | None) -> Tensor:
    """‖Q_n − Q_{n'}‖ / ‖Q_n‖, n' the level before."""
    maps = rule.maps(integrand)
    if before is None:
        return torch.full((paths.rows,), torch.inf, dtype=torch.float64)
    return (maps - before).norm(dim=1) / maps.norm(dim=1)


def gap(paths: Paths, rule: Rule, integrand: Tensor, before: Tensor | None) -> Tensor:
    """|Σ map − (f(x) − f(x'))| / |f(x) − f(x')|: what other libraries report."""
    return (rule.maps(integrand).sum(dim=1) - paths.change).abs() / paths.change.abs()
