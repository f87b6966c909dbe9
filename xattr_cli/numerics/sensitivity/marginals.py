"""Independent inputs: what turns uniform numbers into columns, each group of columns by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .polynomial_chaos import Family

__all__ = ["IndependentInputs", "Marginal", "NormalMarginal", "RowsMarginal", "UniformMarginal"]


class Marginal(Protocol):
    """The joint distribution of the columns of one group.

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
class IndependentInputs:
    """Rows of inputs whose groups of columns are independent.

    Attributes:
        members: per group, its columns; each column is in one group.
        marginals: per group.

    Example:
        >>> both = IndependentInputs([[1], [0]], [UniformMarginal(0, 1), UniformMarginal(0, 4)])
        >>> both.rows(torch.tensor([[0.5, 0.25]])).tolist()
        [[1.0, 0.5]]
    """

    members: Sequence[Sequence[int]]
    marginals: Sequence[Marginal]

    @property
    def families(self) -> tuple[Family, ...]:
        """Per group, the polynomials that suit it."""
        # those of Hermite suit no data, not even normal ones, whose tails end too early
        return tuple("hermite" if isinstance(each, NormalMarginal) else "legendre" for each in self.marginals)

    @property
    def owner(self) -> Tensor:
        """(D,) int64, the group of every column."""
        owner = torch.empty(sum(map(len, self.members)), dtype=torch.int64)
        for group, columns in enumerate(self.members):
            owner[list(columns)] = group
        return owner

    def rows(self, uniform: Tensor) -> Tensor:
        """(n, D) from independent uniform numbers (n, groups)."""
        rows = uniform.new_empty(len(uniform), len(self.owner))
        for group, (columns, marginal) in enumerate(zip(self.members, self.marginals, strict=True)):
            rows[:, list(columns)] = marginal.values(uniform[:, group])
        return rows
