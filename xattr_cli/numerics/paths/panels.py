"""The panels of a path: equal parts in u, each with a trapezoid rule of its own for every row."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .straight import PowerWarp

__all__ = ["MOST_PANELS", "Nodes", "Panels", "panels_to_refine"]

MOST_PANELS = 8
"""A row holds a sum of its own size for each."""

SLIVER = 1e-12
"""Least weight of the first node after the baseline: of marks before its cell, only it tells anything."""


@dataclass(frozen=True)
class Nodes:
    """New nodes of the open rows, row after row.

    Attributes:
        slot: (k,) int64, number of the open row.
        panel: (k,) int64, in which the node lies; the left one for a node between two.
        u: (k,) float64, position in [0, 1].
        weight: (k, marks) float64, dt that the node stands for in its panel's integral up to each mark.
        column: (k,) int64, number among the new nodes of its row.
        weight_right: (k, marks) float64, in the integral of the next panel; None if no node lies between two.

    Example:
        >>> position = torch.tensor([0.0, 1.0, 0.5], dtype=torch.float64)
        >>> row, column = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 0])
        >>> nodes = Nodes(row, torch.zeros_like(row), position, position[:, None], column)
        >>> nodes.per_row(2).tolist(), nodes.by_row(2).tolist()
        ([2, 1], [[0.0, 1.0], [0.5, inf]])
    """

    slot: Tensor
    panel: Tensor
    u: Tensor
    weight: Tensor
    column: Tensor
    weight_right: Tensor | None = None

    def per_row(self, rows: int) -> Tensor:
        """(rows,) int64, how many nodes each open row gets."""
        return torch.bincount(self.slot, minlength=rows)

    def by_row(self, rows: int) -> Tensor:
        """(rows, most) positions, infinite where a row has fewer."""
        most = int(self.column.max()) + 1 if len(self.column) else 0
        found = torch.full((rows, most), torch.inf, dtype=torch.float64, device=self.u.device)
        found[self.slot, self.column] = self.u
        return found

    def without_baseline(self) -> Nodes:
        """The nodes of a first level but those at u = 0."""
        inner = self.u > 0
        some = {name: value[inner] for name, value in vars(self).items() if value is not None}
        return replace(self, **{**some, "column": some["column"] - 1})


class Panels:
    """Trapezoid sums of the open rows, panel by panel.

    Halving the cells of a panel turns its trapezoid sum T into (T + M) / 2, with M the midpoint rule on the
    old cells, so that no gradient has to be kept.

    Arguments:
        cells: (open, panels) int64, cells of each panel.
        warp: of the path position.
        marks: (marks,) float64, path positions up to which integrals are wanted; the last is 1.
        like: (rows, D), a tensor of the device and precision of the sums.
        least: (open, panels) int64, cells that each panel is to have at least; None for those that it has.

    Example:
        >>> panels = Panels.of_one_level(4, PowerWarp(1.0), torch.tensor([0.5, 1.0]), like=torch.zeros(1, 2))
        >>> nodes = panels.first_nodes()
        >>> gradients = nodes.u[:, None].float() * torch.tensor([[2.0, 4.0]])  # linear: the rule is exact
        >>> panels.add(nodes, torch.arange(len(nodes.u)), gradients)
        >>> panels.running()[0, -1].tolist()
        [1.0, 2.0]
    """

    def __init__(
        self, cells: Tensor, warp: PowerWarp, marks: Tensor, like: Tensor, least: Tensor | None = None
    ) -> None:
        self.cells, self.warp = cells, warp
        self.least = cells if least is None else least
        self.marks = marks.to(cells.device)
        self._sums = like.new_zeros(*cells.shape, len(marks), like.shape[1])
        self._mass = self._sums.new_zeros(self._sums.shape[:-1], dtype=torch.float64)

    @classmethod
    def of_one_level(
        cls, intervals: int, warp: PowerWarp, marks: Tensor, like: Tensor, least: Tensor | None = None
    ) -> Panels:
        """Panels whose cells are all of width 1 / intervals, for all rows of `like`."""
        count = max(panels for panels in range(1, MOST_PANELS + 1) if intervals % panels == 0)
        cells = torch.full((len(like), count), intervals // count, device=like.device)
        return cls(cells, warp, marks, like, least)

    @property
    def count(self) -> int:
        """Number of panels."""
        return self.cells.shape[1]

    @property
    def lacking(self) -> Tensor:
        """(open, panels) bool, which have fewer cells than they are to have."""
        return self.cells < self.least

    def first_nodes(self) -> Nodes:
        """The ends of all cells, of rows whose cells are of one width."""
        rows, per_panel = len(self.cells), int(self.cells[0, 0])
        intervals = per_panel * self.count
        node = torch.arange(intervals + 1, device=self.cells.device)
        left = ((node - 1) // per_panel).clamp(min=0)
        right = node // per_panel
        u, width = node.double() / intervals, 1 / intervals
        weight_right = self._cut_to_panel(u, width, right.clamp(max=self.count - 1))
        weight_right[right == left] = 0
        weight_right[-1] = 0
        weight = self._cut_to_panel(u, width, left)
        weight[1].clamp_(min=SLIVER)
        return Nodes(
            slot=torch.arange(rows, device=node.device).repeat_interleave(len(node)),
            panel=left.repeat(rows),
            u=u.repeat(rows),
            weight=weight.repeat(rows, 1),
            column=node.repeat(rows),
            weight_right=weight_right.repeat(rows, 1),
        )

    def _cut_to_panel(self, u: Tensor, width: float, panel: Tensor) -> Tensor:
        """(nodes, marks) dt of the cell around each node, cut to its panel and to the marks."""
        left = torch.maximum(u - width / 2, panel / self.count)[:, None]
        right = torch.minimum(u + width / 2, (panel + 1) / self.count)[:, None]
        right = torch.minimum(right, self.warp.inverse(self.marks))
        return (right - left).clamp(min=0) * self.warp.density(u)[:, None]

    def halve(self, panels: Tensor) -> Nodes:
        """The nodes that halve the cells of some panels (open, panels); the sums are made ready for them."""
        new = (self.cells * panels).flatten()
        which = torch.arange(len(new), device=new.device).repeat_interleave(new)
        cell = torch.arange(len(which), device=new.device) - (new.cumsum(0) - new)[which]
        slot, panel, cells = which // self.count, which % self.count, self.cells.flatten()[which]
        u = (panel + (cell.double() + 0.5) / cells) / self.count
        per_row = new.view(panels.shape).sum(dim=1)
        column = torch.arange(len(which), device=new.device) - (per_row.cumsum(0) - per_row)[slot]
        parts = 1 + panels.long()
        self.cells = self.cells * parts
        self._sums /= parts.to(self._sums)[:, :, None, None]
        self._mass /= parts[:, :, None]
        return Nodes(slot, panel, u, self._of_middles(u, 1 / (cells.double() * self.count)), column)

    def _of_middles(self, u: Tensor, width: Tensor) -> Tensor:
        """(nodes, marks) half of the dt of the cells whose middles the nodes are, cut at the marks."""
        seen = (self.warp.inverse(self.marks) - u[:, None]) / width[:, None] + 0.5
        return seen.clamp(0, 1) * width[:, None] / 2 * self.warp.density(u)[:, None]

    def add(self, nodes: Nodes, which: Tensor, gradients: Tensor) -> None:
        """Add the gradients (k, D) at some of the nodes that `first_nodes` or `halve` have made."""
        self._add(nodes.slot[which], nodes.panel[which], nodes.weight[which], gradients)
        if nodes.weight_right is not None:
            shared = (nodes.weight_right[which] > 0).any(dim=1)
            some = which[shared]
            self._add(nodes.slot[some], nodes.panel[some] + 1, nodes.weight_right[some], gradients[shared])

    def _add(self, slot: Tensor, panel: Tensor, weight: Tensor, gradients: Tensor) -> None:
        where = slot * self.count + panel
        self._sums.flatten(0, 1).index_add_(0, where, weight.to(gradients)[:, :, None] * gradients[:, None])
        self._mass.flatten(0, 1).index_add_(0, where, weight)

    def running(self) -> Tensor:
        """(open, marks, D), ∫₀^α ∇f dt up to each mark α.

        A constant gradient integrates to its mark exactly: on few nodes the weights miss that a little.
        """
        mass = self._mass.sum(dim=1)
        to_marks = torch.where(mass > 0, self.marks / mass.clamp(min=1e-300), 0.0)
        return self._sums.sum(dim=1) * to_marks.to(self._sums)[:, :, None]

    def keep(self, open_rows: Tensor) -> None:
        """Forget the rows that are done."""
        self.cells, self._sums, self._mass = self.cells[open_rows], self._sums[open_rows], self._mass[open_rows]
        self.least = self.least[open_rows]


LEAST_LEFT = 0.4
"""Share of the squared error that one step leaves, at least: the panels that hold most of it come first, and what
is learnt of them decides about the others. On a steep path (an LSTM's) this halves the number of nodes.
"""


def panels_to_refine(squares: Tensor, cells: Tensor, share: Tensor, budget: Tensor) -> Tensor:
    """The panels whose cells are halved next: so many as bring the error down to a share of itself, or fewer.

    Halving every cell of a panel halves the error of its jumps. Greedily, the panel that saves the most
    squared error per node comes first. Few nodes know too little to place many: a panel is halved once at a
    time, and those that hold four fifths of the squared error are enough for one step.

    Arguments:
        squares: (open, panels) float64, squared error of each panel.
        cells: (open, panels) int64.
        share: (open,) wanted of the error, below 1.
        budget: (open,) int64, most new nodes.

    Returns:
        (open, panels) bool; all False in rows whose budget allows nothing.

    Example:
        >>> squares, cells = torch.tensor([[4.0, 1.0, 0.1]]), torch.tensor([[2, 2, 2]])
        >>> panels_to_refine(squares, cells, share=torch.tensor([0.5]), budget=torch.tensor([100])).tolist()
        [[True, True, False]]
        >>> panels_to_refine(squares, cells, share=torch.tensor([0.5]), budget=torch.tensor([3])).tolist()
        [[True, False, False]]
    """
    halved = torch.zeros_like(cells, dtype=torch.bool)
    left, error = budget.clone(), squares.sum(dim=1)
    wanted = error * share.square().clamp(min=LEAST_LEFT)
    row = torch.arange(len(cells), device=cells.device)
    for _ in range(cells.shape[1]):
        possible = ~halved & (cells <= left[:, None])
        best = (squares / cells).masked_fill(~possible, -1).argmax(dim=1)
        chosen = possible[row, best] & (error >= wanted)
        halved[row, best] |= chosen
        error = error - chosen * squares[row, best] * 3 / 4
        left = left - chosen * cells[row, best]
    return halved
