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
    """The joint distribution of the columns of one group."""

    def values(self, uniform: Tensor) -> Tensor:
        """(n, columns) from uniform numbers (n,)."""


@dataclass(frozen=True)
class RowsMarginal:
    """Some given rows, each as likely as the others, so that integers stay integers and one-hot blocks one-hot.

    Attributes:
        rows: (m, columns), sorted, so that rising uniform numbers give rising values of the first column.
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
    """One column, uniform between two values."""

    low: float
    high: float

    def values(self, uniform: Tensor) -> Tensor:
        return (self.low + (self.high - self.low) * uniform)[:, None]


@dataclass(frozen=True)
class NormalMarginal:
    """One column, normal."""

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
