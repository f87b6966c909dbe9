"""Independent inputs: what turns uniform numbers into columns, each piece of them by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .polynomial_chaos import Family

__all__ = [
    "ExponentialMarginal",
    "IndependentInputs",
    "LogNormalMarginal",
    "LogUniformMarginal",
    "Marginal",
    "NormalMarginal",
    "RowsMarginal",
    "TriangularMarginal",
    "TruncatedNormalMarginal",
    "UniformMarginal",
]


class Marginal(Protocol):
    """The joint distribution of the columns of one piece.

    Example:
        >>> die: Marginal = RowsMarginal.of(torch.arange(1, 7)[:, None])
        >>> die.values(torch.tensor([0.1, 0.99])).tolist()
        [[1], [6]]
    """

    def values(self, uniform: Tensor) -> Tensor:
        """(n, columns) from uniform numbers (n,)."""


@dataclass(frozen=True)
class RowsMarginal:
    """Some given rows, each as likely as the others, so that integers stay integers and one-hot blocks one-hot.

    Attributes:
        rows: (m, columns), sorted, so that rising uniform numbers give rising values of the first column.

    Example:
        >>> RowsMarginal.of(torch.tensor([[3], [1]])).values(torch.tensor([0.2, 0.7])).tolist()
        [[1], [3]]
    """

    rows: Tensor

    @classmethod
    def of(cls, rows: Tensor) -> RowsMarginal:
        """The rows (m, columns), in any order."""
        order = torch.arange(len(rows))
        for column in reversed(range(rows.shape[1])):
            order = order[rows[order, column].argsort(stable=True)]
        return cls(rows[order])

    def values(self, uniform: Tensor) -> Tensor:
        return self.rows[(uniform * len(self.rows)).long().clamp(max=len(self.rows) - 1)]


@dataclass(frozen=True)
class UniformMarginal:
    """One column, uniform between two values.

    Example:
        >>> UniformMarginal(-1.0, 3.0).values(torch.tensor([0.5])).tolist()
        [[1.0]]
    """

    low: float
    high: float

    def values(self, uniform: Tensor) -> Tensor:
        return (self.low + (self.high - self.low) * uniform)[:, None]


@dataclass(frozen=True)
class NormalMarginal:
    """One column, normal.

    Example:
        >>> NormalMarginal(2.0, 3.0).values(torch.tensor([0.5])).tolist()
        [[2.0]]
    """

    mean: float
    deviation: float

    def values(self, uniform: Tensor) -> Tensor:
        normal: Tensor = torch.special.ndtri(uniform)
        return (self.mean + self.deviation * normal)[:, None]


@dataclass(frozen=True)
class LogNormalMarginal:
    """One column whose logarithm is normal.

    Example:
        >>> LogNormalMarginal(0.0, 2.0).values(torch.tensor([0.5])).tolist()
        [[1.0]]
    """

    mean: float
    deviation: float

    def values(self, uniform: Tensor) -> Tensor:
        return NormalMarginal(self.mean, self.deviation).values(uniform).exp()


@dataclass(frozen=True)
class LogUniformMarginal:
    """One column whose logarithm is uniform.

    Example:
        >>> LogUniformMarginal(1.0, 100.0).values(torch.tensor([0.5])).round().tolist()
        [[10.0]]
    """

    low: float
    high: float

    def values(self, uniform: Tensor) -> Tensor:
        return UniformMarginal(math.log(self.low), math.log(self.high)).values(uniform).exp()


@dataclass(frozen=True)
class TriangularMarginal:
    """One column whose density rises from `low` to `mode` and falls to `high`.

    Example:
        >>> TriangularMarginal(0.0, 1.0, 2.0).values(torch.tensor([0.125, 0.5, 0.875])).tolist()
        [[0.5], [1.0], [1.5]]
    """

    low: float
    mode: float
    high: float

    def values(self, uniform: Tensor) -> Tensor:
        width, rising = self.high - self.low, self.mode - self.low
        below = self.low + (uniform * width * rising).sqrt()
        above = self.high - ((1 - uniform) * width * (self.high - self.mode)).sqrt()
        return torch.where(uniform * width < rising, below, above)[:, None]


@dataclass(frozen=True)
class TruncatedNormalMarginal:
    """One column, normal within bounds.

    Example:
        >>> TruncatedNormalMarginal(5.0, 1.0, 4.0, 6.0).values(torch.tensor([0.0, 0.5, 1.0])).flatten().tolist()
        [4.0, 5.0, 6.0]
    """

    mean: float
    deviation: float
    low: float
    high: float

    def values(self, uniform: Tensor) -> Tensor:
        ends = torch.tensor([self.low, self.high], dtype=uniform.dtype, device=uniform.device)
        first, last = torch.special.ndtr((ends - self.mean) / self.deviation).unbind()
        inside = NormalMarginal(self.mean, self.deviation).values(first + (last - first) * uniform)
        return inside.clamp(self.low, self.high)


@dataclass(frozen=True)
class ExponentialMarginal:
    """One column, exponential.

    Example:
        >>> ExponentialMarginal(2.0).values(torch.tensor([0.0])).tolist()
        [[0.0]]
    """

    mean: float

    def values(self, uniform: Tensor) -> Tensor:
        return -self.mean * torch.log1p(-uniform)[:, None]


@dataclass(frozen=True)
class IndependentInputs:
    """Rows of inputs, made of pieces that are drawn independently; those of a group are one input.

    Attributes:
        members: per piece, its columns; each column is in one piece.
        marginals: per piece.
        groups: per piece, the number of its group; None if every piece is one.

    Example:
        >>> both = IndependentInputs([[1], [0]], [UniformMarginal(0, 1), UniformMarginal(0, 4)])
        >>> both.rows(torch.tensor([[0.5, 0.25]])).tolist()
        [[1.0, 0.5]]
    """

    members: Sequence[Sequence[int]]
    marginals: Sequence[Marginal]
    groups: Sequence[int] | None = None

    @property
    def families(self) -> tuple[Family, ...]:
        """Per piece, the polynomials that suit it."""
        # those of Hermite suit no data, not even normal ones, whose tails end too early
        unbounded = (NormalMarginal, LogNormalMarginal)
        return tuple("hermite" if isinstance(each, unbounded) else "legendre" for each in self.marginals)

    @property
    def noise_owner(self) -> Tensor:
        """(pieces,) int64, the group of every piece."""
        return torch.tensor(range(len(self.members)) if self.groups is None else list(self.groups))

    @property
    def owner(self) -> Tensor:
        """(D,) int64, the group of every column."""
        owner = torch.empty(sum(map(len, self.members)), dtype=torch.int64)
        for group, columns in zip(self.noise_owner.tolist(), self.members, strict=True):
            owner[list(columns)] = group
        return owner

    def rows(self, uniform: Tensor) -> Tensor:
        """(n, D) from independent uniform numbers (n, pieces)."""
        rows = uniform.new_empty(len(uniform), len(self.owner))
        for piece, (columns, marginal) in enumerate(zip(self.members, self.marginals, strict=True)):
            rows[:, list(columns)] = marginal.values(uniform[:, piece])
        return rows
