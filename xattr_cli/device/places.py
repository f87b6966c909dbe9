"""SharedPoints of a batch of points: those that several targets share go through the network once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..numerics.paths.field import Part, Points

__all__ = ["MOST_SHARED", "SharedPoints"]

MOST_SHARED = 16
"""Targets that share a forward pass: more of them would save little, and their gradients fill the memory."""


@dataclass(frozen=True)
class SharedPoints:
    """Consecutive points of the same place.

    Attributes:
        first: (places,) int64, number of the first point of each place.
        count: (places,) int64, points of each place, at most `MOST_SHARED` and never increasing; None if all
            places have a single point.
    """

    first: Tensor
    count: Tensor | None

    @classmethod
    def of(cls, points: Points) -> SharedPoints:
        """The places of some points; one that more targets want than may share a pass is cut up."""
        every = torch.arange(len(points.row), device=points.row.device)
        if points.place is None:
            return cls(every, None)
        _, count = torch.unique_consecutive(points.place, return_counts=True)
        begin = count.cumsum(0) - count
        within = every - begin.repeat_interleave(count)
        first = every[within % MOST_SHARED == 0]
        size = torch.diff(first, append=every[-1:] + 1)
        order = torch.argsort(size, descending=True, stable=True)
        return cls(first[order], size[order])

    def __len__(self) -> int:
        return len(self.first)

    def members(self, part: slice) -> list[Part]:
        """The first points of some places, then the second ones of those that have them, and so on."""
        if self.count is None:
            return [part]
        first, count = self.first[part], self.count[part]
        most = int(count[0])
        return [first[count > number] + number for number in range(most)]
