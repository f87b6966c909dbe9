"""The gradient field of a score: what the mathematics asks of whoever evaluates the network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

__all__ = ["Evaluation", "Field", "Points"]


class Points(Protocol):
    """Many points of the input space, made on demand so that they never lie in memory all at once."""

    @property
    def row(self) -> Tensor:
        """(points,) int64, the row of the block whose target and context each point belongs to."""

    def take(self, part: slice) -> Tensor:
        """The points of `part`, (k, D)."""


@dataclass(frozen=True)
class Evaluation:
    """The score and its gradient at some consecutive points.

    Attributes:
        part: which points.
        values: (k,) scores f(point).
        gradients: (k, D), ∇f(point).
    """

    part: slice
    values: Tensor
    gradients: Tensor


class Field(Protocol):
    """Scores and gradients at any points, of any mix of rows; packing them is the field's business."""

    def gradients(self, points: Points) -> Iterator[Evaluation]:
        """Evaluate all points, in order, some at a time."""

    def values(self, points: Points) -> Tensor:
        """(points,) scores alone, without gradients."""
