"""The nodes of many paths as one list of points: path after path, node after node, targets side by side."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .field import Part
from .straight import PathPoints, PowerWarp, StraightPath, group_equal

__all__ = ["PathChains"]

MOST_CELLS = 2**20


@dataclass(frozen=True)
class PathChains:
    """The nodes of some rows' paths, even in u, as `CellField` takes them.

    Attributes:
        points: where they are.
        slot: (points,) int64, number of each point's row among the rows asked for.
        cell: (points,) int64, number of the cell that begins at the point; at the last node the number of cells.
        width: (points,) float64, dt of that cell; 0 at the last node.
        last: (points,) bool, the last node of a path.

    Example:
        >>> path = StraightPath(torch.zeros(1, 1), torch.ones(1, 1))
        >>> chain = PathChains.of(path, torch.tensor([0]), torch.tensor([2]), PowerWarp(2.0))
        >>> chain.points.t.tolist(), chain.width.tolist()
        ([0.0, 0.25, 1.0], [0.25, 0.75, 0.0])
    """

    points: PathPoints
    slot: Tensor
    cell: Tensor
    width: Tensor
    last: Tensor

    @classmethod
    def of(cls, path: StraightPath, row: Tensor, cells: Tensor, warp: PowerWarp) -> PathChains:
        """The paths of `row` (k,), each cut into `cells` (k,) int64 cells even in u."""
        order, chain = _shared(path, row, cells)
        size = torch.bincount(chain)  # rows of each chain, which differ in their targets alone
        first = size.cumsum(0) - size
        of_chain = cells[order][first]
        nodes = of_chain + 1
        begin = (nodes * size).cumsum(0) - nodes * size
        place = nodes.cumsum(0) - nodes
        # one entry for every node of every row, row by row; and where it goes
        slot = torch.arange(len(row), device=row.device).repeat_interleave(nodes[chain])
        node = torch.arange(len(slot), device=row.device)
        node = node - (nodes[chain].cumsum(0) - nodes[chain])[slot]
        own = chain[slot]
        where = begin[own] + node * size[own] + (slot - first[own])
        into = torch.empty_like(where)
        into[where] = torch.arange(len(where), device=row.device)
        slot, node, own = order[slot[into]], node[into], own[into]
        count = of_chain[own]
        t = warp.t(node.double() / count)
        after = warp.t(((node + 1).double() / count).clamp(max=1))
        shared = None if len(size) == len(row) else place[own] + node
        return cls(path.at(row[slot], t.to(path.input.dtype), shared), slot, node, after - t, node == count)

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


def _shared(path: StraightPath, row: Tensor, cells: Tensor) -> tuple[Tensor, Tensor]:
    """An order of the rows, and the number of the chain that each of them is on, from 0 on."""
    every = torch.arange(len(row), device=row.device)
    if path.sample is None:
        return every, every
    grouped = group_equal(path.sample[row] * MOST_CELLS + cells)
    return (every, every) if grouped is None else grouped
