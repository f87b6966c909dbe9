"""Inputs in which some groups of features are kept and the others are those of a baseline, and their scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ...numerics.paths.field import Part
from ..block import Block
from ..interactions.partition import PartitionRequest, partition

__all__ = ["Coalitions", "Kept", "without_each"]

Kept = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Coalitions:
    """The rows of a block, seen as games of their groups.

    Attributes:
        block: with the inputs.
        reference: (rows, D), what stands for a group that is not kept.
        index: (rows, D) int64, group of every coordinate.
        names: of the groups.
    """

    block: Block
    reference: Tensor
    index: Tensor
    names: tuple[str, ...]

    @classmethod
    def of(cls, block: Block, request: PartitionRequest, baseline: object) -> Coalitions:
        """The groups that the options of an engine ask for.

        Raises:
            JobError: an option names what there is not.
        """
        found = partition(block, request, lambda: block.inputs)
        index = found.grouping.index.expand_as(block.inputs)
        return cls(block, block.reference(baseline), index, found.names)

    @property
    def groups(self) -> int:
        """How many there are."""
        return len(self.names)

    def worths(self, rows: Tensor, count: int, kept: Kept) -> Tensor:
        """(rows, count) float64 scores of coalitions: f of x where a group is kept, of x' elsewhere.

        Arguments:
            rows: (rows,) int64, rows of the block.
            count: coalitions of each of them.
            kept: (k,) numbers of points, row by row -> (k, groups) bool, so that they never lie in memory at once.
        """
        points = _Points(self, rows.repeat_interleave(count), kept)
        return self.block.field.values(points).double().view(len(rows), count)

    def every_row(self) -> Tensor:
        """(rows,) int64, all rows of the block."""
        return torch.arange(len(self.block.rows), device=self.block.inputs.device)

    def spread(self, effects: Tensor, *, shared: bool) -> Tensor:
        """(rows, D) map of effects (rows, groups): each member bears all of its group's, or an equal share."""
        if shared:
            sizes = torch.zeros_like(effects).scatter_add_(
                1, self.index, torch.ones_like(self.index, dtype=effects.dtype)
            )
            effects = effects / sizes.clamp(min=1)
        return effects.gather(1, self.index).to(self.block.inputs.dtype)


def without_each(game: Coalitions) -> Tensor:
    """(rows, groups) float64 scores with one group replaced."""
    groups = torch.arange(game.groups, device=game.reference.device)
    return game.worths(game.every_row(), game.groups, lambda number: groups != number[:, None] % game.groups)


@dataclass(frozen=True)
class _Points:
    """Points of coalitions, made on demand; see `numerics.paths.field.PlainPoints`."""

    game: Coalitions
    row: Tensor
    kept: Kept

    def take(self, part: Part) -> Tensor:
        number = torch.arange(len(self.row), device=self.row.device)[part]
        row = self.row[part]
        keeps = self.kept(number).gather(1, self.game.index[row])
        return torch.where(keeps, self.game.block.inputs[row], self.game.reference[row])
