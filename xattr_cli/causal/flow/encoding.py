"""From rows of inputs to what a flow models and what its mechanisms see, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..graph.graph import Graph
from .units import Categorical, Continuous, Integer, Unit

__all__ = ["Encoding", "Targets"]


@dataclass(frozen=True)
class Targets:
    """What the mechanisms model.

    Attributes:
        values: (n, numeric units) standardised.
        numbers: (n, categorical units) int64 numbers of categories.
    """

    values: Tensor
    numbers: Tensor

    def __getitem__(self, rows: Tensor) -> Targets:
        return Targets(self.values[rows], self.numbers[rows])


@dataclass(frozen=True)
class Encoding:
    """How the columns of a row make up units, and which unit belongs to which node.

    Attributes:
        graph: over the nodes.
        units: in the order of the nodes; the noise has one coordinate per unit, in this order.
        owner: per unit, its node.
    """

    graph: Graph
    units: tuple[Unit, ...]
    owner: tuple[int, ...]

    # --- layout ---

    @cached_property
    def numeric(self) -> tuple[int, ...]:
        """Units that are continuous or integer."""
        return tuple(i for i, unit in enumerate(self.units) if not isinstance(unit, Categorical))

    @cached_property
    def categorical(self) -> tuple[int, ...]:
        """Units that are categories."""
        return tuple(i for i, unit in enumerate(self.units) if isinstance(unit, Categorical))

    @cached_property
    def numbers(self) -> tuple[Continuous | Integer, ...]:
        """The numeric units themselves."""
        return tuple(unit for unit in self.units if not isinstance(unit, Categorical))

    @cached_property
    def categories(self) -> tuple[Categorical, ...]:
        """The categorical units themselves."""
        return tuple(unit for unit in self.units if isinstance(unit, Categorical))

    @cached_property
    def slots(self) -> tuple[slice, ...]:
        """Per unit, where its features stand among all features."""
        ends = torch.tensor([unit.features for unit in self.units]).cumsum(0).tolist()
        return tuple(slice(end - unit.features, end) for end, unit in zip(ends, self.units, strict=True))

    @property
    def features(self) -> int:
        """Number of features of all units."""
        return sum(unit.features for unit in self.units)

    @property
    def width(self) -> int:
        """D, columns of a row."""
        return sum(map(len, self.graph.columns))

    @cached_property
    def noise_dims(self) -> tuple[int, ...]:
        """Units per node."""
        return tuple(self.owner.count(node) for node in range(len(self.graph)))

    @cached_property
    def noise_names(self) -> tuple[str, ...]:
        """Name of every noise coordinate: that of its node, with a number if the node has several."""
        within = [self.owner[:i].count(node) for i, node in enumerate(self.owner)]
        return tuple(
            self.graph.nodes[node] if self.noise_dims[node] == 1 else f"{self.graph.nodes[node]}[{position}]"
            for node, position in zip(self.owner, within, strict=True)
        )

    @cached_property
    def causes(self) -> tuple[tuple[int, ...], ...]:
        """Per unit, the units it depends on: those of its node's parents, and the earlier ones of its node."""
        return tuple(
            tuple(
                other
                for other, owner in enumerate(self.owner)
                if owner in self.graph.parents[node] or (owner == node and other < unit)
            )
            for unit, node in enumerate(self.owner)
        )

    @cached_property
    def generations(self) -> tuple[tuple[int, ...], ...]:
        """Units grouped so that each depends on earlier groups only."""
        depth: dict[int, int] = {}
        while len(depth) < len(self.units):
            for unit, causes in enumerate(self.causes):
                if unit not in depth and all(cause in depth for cause in causes):
                    depth[unit] = 1 + max((depth[cause] for cause in causes), default=-1)
        return tuple(
            tuple(unit for unit in range(len(self.units)) if depth[unit] == level)
            for level in range(1 + max(depth.values()))
        )

    def adjacency(self, units: Sequence[int]) -> Tensor:
        """(units, features) bool: which features each of these units depends on; row = child."""
        matrix = torch.zeros(len(units), self.features, dtype=torch.bool)
        for row, unit in enumerate(units):
            for cause in self.causes[unit]:
                matrix[row, self.slots[cause]] = True
        return matrix

    # --- encoding ---

    def targets(self, rows: Tensor, generator: torch.Generator) -> Targets:
        """What the mechanisms model, of rows (n, D); draws the noise that makes integers continuous."""
        uniform = torch.rand(len(self.numeric), len(rows), generator=generator, dtype=rows.dtype)
        values = [unit.target(_held(rows, unit), noise) for unit, noise in zip(self.numbers, uniform, strict=True)]
        numbers = [unit.number(_held(rows, unit)) for unit in self.categories]
        nothing = rows.new_empty(len(rows), 0)
        return Targets(
            torch.stack(values, dim=1) if values else nothing,
            torch.stack(numbers, dim=1) if numbers else nothing.long(),
        )

    def feature_rows(self, rows: Tensor) -> Tensor:
        """(n, features) what mechanisms see of rows (n, D)."""
        return torch.cat([unit.feature(_held(rows, unit)) for unit in self.units], dim=1)


def _held(rows: Tensor, unit: Unit) -> Tensor:
    return rows[:, list(unit.columns)]
