"""The cells of many paths, and their nodes as one list of points: path after path, node after node."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..paths.field import Part
from ..paths.straight import PathPoints, PowerWarp, StraightPath, group_equal

__all__ = ["PathCells", "PathChains"]


@dataclass(frozen=True)
class PathCells:
    """Cells of the paths of some rows, in the order of the rows and of u; they need not cover a path.

    Attributes:
        slot: (k,) int64, number of each cell's row among the rows.
        left, right: (k,) float64, u at both ends; equal where two cells meet.

    Example:
        >>> cells = PathCells.even(torch.tensor([2, 1]))
        >>> cells.slot.tolist(), cells.left.tolist(), cells.right.tolist()
        ([0, 0, 1], [0.0, 0.5, 0.0], [0.5, 1.0, 1.0])
    """

    slot: Tensor
    left: Tensor
    right: Tensor

    @classmethod
    def even(cls, cells: Tensor) -> PathCells:
        """Whole paths, each cut into `cells` (rows,) int64 cells even in u."""
        slot = torch.arange(len(cells), device=cells.device).repeat_interleave(cells)
        number = _numbers(slot, cells).double()
        return cls(slot, number / cells[slot], (number + 1) / cells[slot])

    def split(self, times: Tensor) -> PathCells:
        """Each cell cut into `times` (k,) int64 parts even in u.

        Example:
            >>> PathCells.even(torch.tensor([1])).split(torch.tensor([2])).left.tolist()
            [0.0, 0.5]
        """
        parent = torch.arange(len(self.slot), device=self.slot.device).repeat_interleave(times)
        number, times = _numbers(parent, times), times[parent]
        left, right = self.left[parent], self.right[parent]
        width = right - left
        begin = left + width * (number / times)
        # what is the end of one has to be the beginning of the next one to the last digit
        end = torch.where(number + 1 == times, right, left + width * ((number + 1) / times))
        return PathCells(self.slot[parent], begin, end)

    def of(self, which: Tensor) -> PathCells:
        """Some of the cells, (k,) bool."""
        return PathCells(self.slot[which], self.left[which], self.right[which])

    def renumbered(self, rows: Tensor) -> PathCells:
        """Cells of some rows alone, (rows,) bool, numbered among those."""
        return PathCells((rows.cumsum(0) - 1)[self.slot], self.left, self.right)

    def meets_next(self) -> Tensor:
        """(k,) bool, whether the next cell of the same row begins where this one ends."""
        meets = torch.zeros_like(self.slot, dtype=torch.bool)
        meets[:-1] = (self.slot[1:] == self.slot[:-1]) & (self.left[1:] == self.right[:-1])
        return meets

    def count(self, rows: int) -> Tensor:
        """(rows,) int64, cells of each row."""
        return torch.bincount(self.slot, minlength=rows)

    def nodes(self, rows: int) -> Tensor:
        """(rows,) int64, nodes of each row: those between two cells count once.

        Example:
            >>> PathCells.even(torch.tensor([3, 2])).nodes(2).tolist()
            [4, 3]
        """
        return self.count(rows) + torch.bincount(self.slot[~self.meets_next()], minlength=rows)


def _numbers(group: Tensor, sizes: Tensor) -> Tensor:
    """(k,) int64, position of each entry in its group; entries of a group lie side by side."""
    return torch.arange(len(group), device=group.device) - (sizes.cumsum(0) - sizes)[group]


@dataclass(frozen=True)
class PathChains:
    """The nodes of cells as `CellField` takes them: targets of a sample side by side where their cells are alike.

    Attributes:
        points: where they are.
        begins: (points,) int64, number of the cell that begins at the point; −1 where none does.

    Example:
        >>> path = StraightPath(torch.zeros(1, 1), torch.ones(1, 1))
        >>> chain = PathChains.of(path, torch.tensor([0]), PathCells.even(torch.tensor([2])), PowerWarp(2.0))
        >>> chain.points.t.tolist(), chain.begins.tolist()
        ([0.0, 0.25, 1.0], [0, 1, -1])
    """

    points: PathPoints
    begins: Tensor

    @classmethod
    def of(cls, path: StraightPath, row: Tensor, cells: PathCells, warp: PowerWarp) -> PathChains:
        """The nodes of cells on the paths of `row` (rows,)."""
        ends = ~cells.meets_next()
        cell = torch.arange(len(ends), device=ends.device).repeat_interleave(1 + ends.long())
        is_end = torch.zeros_like(cell, dtype=torch.bool)
        is_end[1:] = cell[1:] == cell[:-1]
        slot, u = cells.slot[cell], torch.where(is_end, cells.right[cell], cells.left[cell])
        order, place = _shared(path, row, slot, u)
        slot, cell, is_end = slot[order], cell[order], is_end[order]
        points = path.at(row[slot], warp.t(u[order]).to(path.input.dtype), place)
        return cls(points, torch.where(is_end, -1, cell))

    @property
    def last(self) -> Tensor:
        """(points,) bool, no cell begins there."""
        return self.begins < 0

    @property
    def row(self) -> Tensor:
        """(points,) int64, rows of the block."""
        return self.points.row

    @property
    def place(self) -> Tensor | None:
        """(points,) int64, equal for nodes of several targets of a sample; None if no two are."""
        return self.points.place

    def take(self, part: Part) -> Tensor:
        """(k, D) points."""
        return self.points.take(part)


def _shared(path: StraightPath, row: Tensor, slot: Tensor, u: Tensor) -> tuple[Tensor, Tensor | None]:
    """An order of the nodes in which equal paths go node by node, and the place of each node in it.

    Arguments:
        row: (rows,) int64, of the block.
        slot, u: (k,), row and position of each node, row by row.
    """
    every = torch.arange(len(slot), device=slot.device)
    chains = None if path.sample is None else _equal_paths(path.sample[row], slot, u)
    if chains is None:
        return every, None
    order, chain = chains
    nodes = torch.bincount(slot, minlength=len(row))
    position = torch.empty_like(order)  # of a row, among those of its chain
    size = torch.bincount(chain)
    position[order] = torch.arange(len(order), device=order.device) - (size.cumsum(0) - size)[chain]
    of_row = torch.empty_like(order)
    of_row[order] = chain
    of_chain = nodes[order][size.cumsum(0) - size]
    node, own = _numbers(slot, nodes), of_row[slot]
    before, places = (of_chain * size).cumsum(0) - of_chain * size, of_chain.cumsum(0) - of_chain
    where = before[own] + node * size[own] + position[slot]
    into = torch.empty_like(where)
    into[where] = every
    return into, (places[own] + node)[into]


def _equal_paths(sample: Tensor, slot: Tensor, u: Tensor) -> tuple[Tensor, Tensor] | None:
    """`group_equal` of rows of the same sample whose nodes are the same; None if no two are."""
    if bool((torch.diff(sample) > 0).all()):  # one target each, as a rule: there is nothing to compare
        return None
    count = torch.bincount(slot, minlength=len(sample))
    nodes = u.new_full((len(sample), int(count.max())), -1.0)
    nodes[slot, _numbers(slot, count)] = u
    _, alike = torch.unique(nodes, dim=0, return_inverse=True)
    return group_equal(sample * len(sample) + alike)
