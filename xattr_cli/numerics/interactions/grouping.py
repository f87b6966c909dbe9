"""Groups of coordinates as directions of second derivatives: u_G = Δ ⊙ 1_G, and forms u_Gᵀ H u_G'."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..paths.field import Part

__all__ = ["DisplacedPoints", "Forms", "Grouping", "HessianField"]


class DisplacedPoints(Protocol):
    """Many points, each on the way of a displacement Δ, made on demand; see `numerics.paths.field.Points`."""

    @property
    def row(self) -> Tensor:
        """(points,) int64, the row of the block whose target, context and groups each point belongs to."""

    def take(self, part: Part) -> Tensor:
        """The points of `part`, (k, D)."""

    def delta(self, part: slice) -> Tensor:
        """Δ at the points of `part`, (k, D)."""


@dataclass(frozen=True)
class Forms:
    """What some consecutive points have.

    Attributes:
        part: which points.
        values: (k,) scores f(point).
        gradients: (k, D), ∇f(point).
        forms: (k, R, groups), u_Gᵀ ∇²f(point) u_G' for the chosen groups G and all groups G'.

    Example:
        >>> from xattr_cli.numerics.examples import ProductField
        >>> from xattr_cli.numerics.interactions.fan import Fan
        >>> fan = Fan(torch.tensor([[2.0, 3.0]]), torch.zeros(1, 2), is_shared=False)
        >>> groups = Grouping(torch.arange(2), 2, torch.arange(2), 2)
        >>> [forms] = ProductField().forms(fan.at(torch.tensor([0]), torch.tensor([1.0])), groups)
        >>> forms.forms.tolist()  # Δ₀ Δ₁ ∂²f / ∂x₀ ∂x₁
        [[[0.0, 6.0], [6.0, 0.0]]]
    """

    part: slice
    values: Tensor
    gradients: Tensor
    forms: Tensor


class HessianField(Protocol):
    """Scores, gradients and second derivatives at any points; packing them is the field's business."""

    def forms(self, points: DisplacedPoints, groups: Grouping) -> Iterator[Forms]:
        """Evaluate all points, in order, some at a time."""

    def values(self, points: DisplacedPoints) -> Tensor:
        """(points,) scores alone, without gradients."""


@dataclass(frozen=True)
class Grouping:
    """To which group each coordinate belongs.

    Attributes:
        index: (D,) int64, the same for all rows, or (rows, D); every coordinate belongs to one group.
        count: number of groups; some may be empty.
        chosen: (R,) int64, the groups that are directions: rows of the matrices.
        shown: C, how many of the first groups are columns of the matrices; the others count in row sums only.

    Example:
        >>> halves = Grouping(torch.tensor([0, 0, 1]), count=2, chosen=torch.arange(2), shown=2)
        >>> halves.directions(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([0]), slice(None))[:, 0].tolist()
        [[1.0, 2.0, 0.0], [0.0, 0.0, 3.0]]
    """

    index: Tensor
    count: int
    chosen: Tensor
    shown: int

    @property
    def is_complete(self) -> bool:
        """Whether every group is a row and a column, so that all entries sum to f(x) − f(x')."""
        return len(self.chosen) == self.count == self.shown

    @property
    def is_single(self) -> bool:
        """Whether every coordinate is a group of its own, in order."""
        index = self.index
        return index.ndim == 1 and self.count == len(index) and bool((index.diff() == 1).all())

    def directions(self, delta: Tensor, row: Tensor, part: slice) -> Tensor:
        """(c, k, D): u_G of some of the chosen groups at points of rows `row` (k,) with Δ `delta` (k, D)."""
        belongs = self._index_of(row) == self.chosen[part, None, None]
        return torch.where(belongs, delta, 0)

    def project(self, delta: Tensor, row: Tensor, products: Tensor) -> Tensor:
        """(k, c, groups): sums over each group of Δ ⊙ `products`, (c, k, D)."""
        weighted = products * delta
        if not bool(torch.isfinite(weighted).all()):
            # a feature that does not change may not spoil the sum with an infinite derivative
            weighted = weighted.masked_fill(delta == 0, 0)
        if self.is_single:
            return weighted.transpose(0, 1)
        index = self._index_of(row).expand(weighted.shape)
        sums = weighted.new_zeros(*weighted.shape[:2], self.count)
        return sums.scatter_add_(2, index, weighted).transpose(0, 1)

    def _index_of(self, row: Tensor) -> Tensor:
        return self.index if self.index.ndim == 1 else self.index[row]
