"""Units: the scalar random variables that a node's columns stand for, and how they are written as numbers.

A unit has one noise coordinate. A continuous column is standardised. An integer column k is made continuous
by k + U with U uniform on [0, 1), and what is generated is floored. A category is a number 0 … K − 1, whatever
its columns hold: one code, or a one-hot block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Categorical", "Continuous", "Integer", "Unit", "plain_unit", "unit_of_plain"]


@dataclass(frozen=True)
class Continuous:
    """A real column, standardised.

    Attributes:
        columns: the one column, in a row.
        mean, deviation: of the column in the data.
    """

    columns: tuple[int, ...]
    mean: float
    deviation: float

    @property
    def features(self) -> int:
        """How many numbers tell its children what it is."""
        return 1

    def target(self, values: Tensor, uniform: Tensor) -> Tensor:
        """(n,) what the flow models, from values (n, 1); the uniform noise is not needed."""
        return (values[:, 0] - self.mean) / self.deviation

    def feature(self, values: Tensor) -> Tensor:
        """(n, 1) what its children see of values (n, 1)."""
        return (values - self.mean) / self.deviation

    def decode(self, target: Tensor) -> Tensor:
        """(n, 1) values of the column, from what the flow gives."""
        return (self.mean + self.deviation * target)[:, None]


@dataclass(frozen=True)
class Integer:
    """A column on a regular grid, start + step·k: integers, or integers that were scaled.

    Attributes:
        columns: the one column, in a row.
        start, step: of the grid.
        top: largest k in the data; what is generated stays between 0 and it.
        mean, deviation: of k + U in the data.
    """

    columns: tuple[int, ...]
    start: float
    step: float
    top: int
    mean: float
    deviation: float

    @property
    def features(self) -> int:
        """How many numbers tell its children what it is."""
        return 1

    def target(self, values: Tensor, uniform: Tensor) -> Tensor:
        """(n,) k + U, standardised, from values (n, 1) and U (n,) in [0, 1)."""
        return (self._number(values)[:, 0] + uniform - self.mean) / self.deviation

    def feature(self, values: Tensor) -> Tensor:
        """(n, 1) what its children see: the value itself, not the noise that makes it continuous."""
        return (self._number(values) + 0.5 - self.mean) / self.deviation

    def decode(self, target: Tensor) -> Tensor:
        """(n, 1) values of the column on the grid, from what the flow gives."""
        number = (self.mean + self.deviation * target).floor().clamp(0, self.top)
        return (self.start + self.step * number)[:, None]

    def _number(self, values: Tensor) -> Tensor:
        return ((values - self.start) / self.step).round()


@dataclass(frozen=True)
class Categorical:
    """A category: one column of codes, or several that are one-hot, perhaps with the first category left out.

    Attributes:
        columns: in a row.
        levels: per category, the values of those columns.
        shares: per category, its share of the data.
    """

    columns: tuple[int, ...]
    levels: tuple[tuple[float, ...], ...]
    shares: tuple[float, ...]

    @property
    def features(self) -> int:
        """How many numbers tell its children what it is: an indicator per category but the first."""
        return len(self.levels) - 1

    def number(self, values: Tensor) -> Tensor:
        """(n,) int64, the category nearest to values (n, columns)."""
        distance = [(values - values.new_tensor(level)).abs().sum(dim=1) for level in self.levels]
        return torch.stack(distance, dim=1).argmin(dim=1)

    def feature(self, values: Tensor) -> Tensor:
        """(n, categories − 1) what its children see: indicators, centred."""
        indicator = torch.nn.functional.one_hot(self.number(values), len(self.levels))[:, 1:]
        return indicator.to(values.dtype) - values.new_tensor(self.shares[1:])

    def decode(self, number: Tensor) -> Tensor:
        """(n, columns) values of the columns, from numbers of categories (n,)."""
        return torch.tensor(self.levels, dtype=torch.float64, device=number.device)[number]


Unit = Continuous | Integer | Categorical

_KINDS: dict[str, type[Unit]] = {"continuous": Continuous, "integer": Integer, "categorical": Categorical}


def plain_unit(unit: Unit) -> dict[str, Any]:
    """The unit as plain values, for a file."""
    kind = next(name for name, cls in _KINDS.items() if isinstance(unit, cls))
    return {"kind": kind, **asdict(unit)}


def unit_of_plain(plain: Mapping[str, Any]) -> Unit:
    """The unit that `plain_unit` wrote, lists for tuples as JSON has them.

    Raises:
        KeyError, TypeError: it is not of that form.
    """
    values = {name: _tuples(value) for name, value in plain.items() if name != "kind"}
    return _KINDS[plain["kind"]](**values)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
