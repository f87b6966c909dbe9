"""The gradient field of a score: what the mathematics asks of whoever evaluates the network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

__all__ = ["CellField", "Cells", "Chains", "Evaluation", "Field", "Part", "PlainPoints", "Points"]

Part = slice | Tensor


class PlainPoints(Protocol):
    """Many points of the input space, made on demand so that they never lie in memory all at once."""

    @property
    def row(self) -> Tensor:
        """(points,) int64, the row of the block whose target and context each point belongs to."""

    def take(self, part: Part) -> Tensor:
        """The points of `part`, (k, D)."""


class Points(PlainPoints, Protocol):
    """Points of which several may be the same, wanted for several targets."""

    @property
    def place(self) -> Tensor | None:
        """(points,) int64, from 0 on and never decreasing; None if all points differ.

        Points of the same place are one point of the input space: their rows differ in the target alone.
        """


@dataclass(frozen=True)
class Evaluation:
    """The score and its gradient at some of the points.

    Attributes:
        part: which points, a slice or their numbers.
        values: (k,) scores f(point).
        gradients: (k, D), ∇f(point).

    Example:
        >>> import torch
        >>> Evaluation(slice(0, 1), torch.tensor([8.0]), torch.tensor([[12.0]])).values.tolist()
        [8.0]
    """

    part: Part
    values: Tensor
    gradients: Tensor


class Chains(Points, Protocol):
    """Points that lie one after another on paths; the points of a place are followed by those of the next one.

    Every place but the last one of a path is followed by a place with as many points, of the same rows.
    """

    @property
    def last(self) -> Tensor:
        """(points,) bool, the last ones of their paths: no cell begins there."""


@dataclass(frozen=True)
class Cells:
    """What some cells of paths add to the difference of scores between their ends.

    Attributes:
        part: (k,) int64, the points at which the cells begin.
        left, right: (k,) scores at both ends.
        gradients: (k, D), G with G · (right point − left point) = right − left.
        exact: (k,) bool, whether G is the mean of the gradient from one end to the other.

    Example:
        >>> import torch
        >>> ends = torch.tensor([1.0]), torch.tensor([7.0])
        >>> cells = Cells(torch.tensor([0]), *ends, torch.tensor([[2.0, 4.0]]), exact=torch.tensor([False]))
        >>> step = torch.tensor([[1.0, 1.0]])  # from the left point to the right one
        >>> ((cells.gradients * step).sum(1) == cells.right - cells.left).tolist()
        [True]
    """

    part: Tensor
    left: Tensor
    right: Tensor
    gradients: Tensor
    exact: Tensor


class CellField(Protocol):
    """Scores at the ends of the cells of paths, and the gradient of each cell, made of secants."""

    def cells(self, chains: Chains) -> Iterator[Cells]:
        """Evaluate all cells between neighbouring points, each once, some at a time."""


class Field(Protocol):
    """Scores and gradients at any points, of any mix of rows; packing them is the field's business."""

    def gradients(self, points: Points) -> Iterator[Evaluation]:
        """Evaluate all points, each once, some at a time."""

    def values(self, points: PlainPoints, place: Tensor | None = None) -> Tensor:
        """(points,) scores alone, without gradients; `place` as in `Points`."""
