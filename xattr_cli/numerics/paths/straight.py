"""Straight paths from baseline to input, and the warped coordinate in which nodes are placed on them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .field import Part

__all__ = ["PathPoints", "PowerWarp", "StraightPath", "group_equal"]


@dataclass(frozen=True)
class PowerWarp:
    """t = u^p: equidistant nodes in u crowd near the baseline, where saturating networks do their work.

    With p > 1 the node at the baseline has weight zero, so a gradient that is infinite there is harmless.

    Example:
        >>> warp = PowerWarp(2.0)
        >>> warp.t(torch.tensor([0.0, 0.5, 1.0])).tolist(), warp.density(torch.tensor(0.5)).item()
        ([0.0, 0.25, 1.0], 1.0)
    """

    power: float

    def t(self, u: Tensor) -> Tensor:
        """(*shape) path coordinate t in [0, 1] at warped coordinate u."""
        return u**self.power

    def density(self, u: Tensor) -> Tensor:
        """(*shape) dt/du, the weight that a gradient at u carries in an integral over u."""
        return self.power * u ** (self.power - 1)

    def inverse(self, t: Tensor) -> Tensor:
        """(*shape) warped coordinate u of a path coordinate t."""
        return t ** (1 / self.power)


@dataclass(frozen=True)
class StraightPath:
    """γ(t) = x' + t (x − x') for a block of rows.

    Attributes:
        baseline: x', (rows, D).
        input: x, (rows, D).
        sample: (rows,) int64, equal for rows whose paths are the same, as they differ in the target alone;
            None if no two are.
        start: (rows,) int64, equal for rows whose baselines are the same point; None if no two are.

    Example:
        >>> path = StraightPath(torch.zeros(1, 2), torch.tensor([[2.0, 4.0]]))
        >>> path.delta.tolist()
        [[2.0, 4.0]]
    """

    baseline: Tensor
    input: Tensor
    sample: Tensor | None = None
    start: Tensor | None = None

    @property
    def delta(self) -> Tensor:
        """Δ = x − x', (rows, D)."""
        return self.input - self.baseline

    def at(self, row: Tensor, t: Tensor, place: Tensor | None = None) -> PathPoints:
        """Points γ_row(t) for `row` (k,) and `t` (k,)."""
        return PathPoints(self, row, t, place)


@dataclass(frozen=True)
class PathPoints:
    """Points on the paths of several rows, interpolated only when they are taken.

    Example:
        >>> path = StraightPath(torch.zeros(1, 2), torch.tensor([[2.0, 4.0]]))
        >>> path.at(torch.tensor([0]), torch.tensor([0.25])).take(slice(None)).tolist()
        [[0.5, 1.0]]
    """

    path: StraightPath
    row: Tensor
    t: Tensor
    place: Tensor | None = None

    def take(self, part: Part) -> Tensor:
        """(k, D) points; exactly x at t = 1 and exactly x' at t = 0."""
        row, t = self.row[part], self.t[part, None]
        start, stop = self.path.baseline[row], self.path.input[row]
        # lerp rounds to the end points themselves, x' + t (x - x') does not: a network with a kink
        # at x would otherwise be differentiated on the wrong side of it
        return start.lerp(stop, t.to(start.dtype))


def group_equal(identity: Tensor) -> tuple[Tensor, Tensor] | None:
    """An order in which equal points are group_equal, those that are wanted most often first.

    Arguments:
        identity: (k,) int64, equal for points that are the same.

    Returns:
        (k,) the order, and (k,) the number of each point's place in it, from 0 on; None if all points differ.

    Example:
        >>> order, place = group_equal(torch.tensor([7, 5, 7]))
        >>> order.tolist(), place.tolist()
        ([0, 2, 1], [0, 0, 1])
    """
    _, place, count = torch.unique(identity, return_inverse=True, return_counts=True)
    if len(count) == len(identity):
        return None
    order = torch.argsort((count.max() - count[place]) * len(count) + place, stable=True)
    _, numbered = torch.unique_consecutive(place[order], return_inverse=True)
    return order, numbered
