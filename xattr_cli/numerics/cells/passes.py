"""Passes of several numbers of secant cells over a few rows, and what maps that begin with each would cost."""

from __future__ import annotations

import torch
from torch import Tensor

from ..paths.field import CellField
from ..paths.straight import PowerWarp, StraightPath
from .chains import PathCells
from .error_share import ErrorShare, secant_error
from .evidence import CellEvidence, evidence_after, evidence_of
from .secants import SecantRule, times_for
from .sums import CellSums, sum_cells

__all__ = ["CellPasses", "cost_of_refining"]


class CellPasses:
    """Passes over the same rows, each of as many cells for every row.

    Arguments:
        field: evaluates cells.
        path: of the rows.
        warp: cells are even in u, t = warp(u).

    Attributes:
        rows: how many.
        evaluations: that all passes have taken.
        kept: number of cells -> the pass, of those that are judged.

    Example:
        >>> from xattr_cli.numerics.examples import ProductField
        >>> path = StraightPath(torch.zeros(1, 3), torch.tensor([[2.0, 3.0, 1.0]]))
        >>> passes = CellPasses(ProductField(), path, PowerWarp(1.0))
        >>> few, many = passes.made(8, 64)
        >>> passes.evaluations, bool(passes.length(few.mean_gradient - many.mean_gradient) < 0.1)
        (74, True)
    """

    def __init__(self, field: CellField, path: StraightPath, warp: PowerWarp) -> None:
        self._field, self._path, self._warp = field, path, warp
        self._every = torch.arange(len(path.input), device=path.input.device)
        self.rows, self.evaluations = len(self._every), 0
        self.kept: dict[int, CellSums] = {}
        self._told: dict[tuple[int, int], CellEvidence] = {}

    @property
    def latest(self) -> int:
        """Cells of the pass that was kept last."""
        return [*self.kept][-1]

    @property
    def dtype(self) -> torch.dtype:
        """Of the computation."""
        return self._path.delta.dtype

    def made(self, *cells: int) -> list[CellSums]:
        """A pass of each number of cells, all together in as few device calls as that takes."""
        self.evaluations += self.rows * (sum(cells) + len(cells))
        number = torch.arange(len(cells), device=self._every.device).repeat_interleave(self.rows)
        even = PathCells.even(torch.tensor(cells, device=self._every.device)[number])
        together = sum_cells(self._field, self._path, self._every.repeat(len(cells)), even, self._warp)
        return [together.of(number == each) for each in range(len(cells))]

    def length(self, mean_gradient: Tensor) -> Tensor:
        """(rows,) float64, length of a map."""
        length: Tensor = torch.linalg.vector_norm(mean_gradient * self._path.delta, dim=1, dtype=torch.float64)
        return length

    def size(self, cells: int) -> Tensor:
        """(rows,) float64, length of the maps of a pass that was kept."""
        return self.length(self.kept[cells].mean_gradient)

    def evidence(self, cells: int, before: int = 0) -> CellEvidence:
        """Of a pass, after another one of which it has several times the cells, or after none (0)."""
        if (cells, before) not in self._told:
            self._told[cells, before] = self._tell(cells, before)
        return self._told[cells, before]

    def _tell(self, cells: int, before: int) -> CellEvidence:
        sums, size = self.kept[cells], self.size(cells)
        if before == 0:
            return evidence_of(sums, size)
        coarse = self.kept[before]
        moved = self.length(sums.mean_gradient - coarse.mean_gradient)
        parent = torch.arange(len(coarse.cells.slot), device=size.device).repeat_interleave(cells // before)
        return evidence_after(sums, size, coarse, parent, moved, self.evidence(before))

    def errors(self, share: ErrorShare) -> Tensor:
        """(rows,) float64, what rows would report after the latest pass alone."""
        return secant_error(self.evidence(self.latest), share)

    def cheapest(self, rule: SecantRule) -> tuple[int, float]:
        """Cells of the first pass with which rows take the fewest evaluations, and how many a row."""
        costs = {cells: cost_of_refining(self, cells, rule) / self.rows for cells in self.kept}
        cells = min(costs, key=costs.__getitem__)
        return cells, costs[cells]


def cost_of_refining(passes: CellPasses, cells: int, rule: SecantRule) -> float:
    """Evaluations of all rows whose first pass has so many cells, as far as the passes tell.

    Example:
        >>> from xattr_cli.numerics.examples import ProductField
        >>> path = StraightPath(torch.zeros(1, 3), torch.tensor([[2.0, 3.0, 1.0]]))
        >>> passes = CellPasses(ProductField(), path, PowerWarp(1.0))
        >>> passes.kept[6] = passes.made(6)[0]
        >>> cost_of_refining(passes, 6, SecantRule(rtol=0.5, max_nodes=1024, cells=6))  # no more than the pass
        7.0
    """
    refined = _Refined(passes, cells, rule)
    spent = float(passes.rows * (cells + 1))
    while bool((times := refined.times()).gt(1).any()):
        spent += refined.go_on(times)
    return spent


class _Refined:
    """Rows whose inexact cells are cut again and again: passes that were made tell what comes of it, others are
    extrapolated.

    Attributes:
        cells: (rows,) int64, that each row would have if all were cut.
        inexact, nodes: (rows,) int64, of its latest pass, without the exact ones.
        error: (rows,) float64, that it reports.
        left: (rows,) int64, nodes that it may still take.
    """

    def __init__(self, passes: CellPasses, cells: int, rule: SecantRule) -> None:
        self._passes, self._rule = passes, rule
        sums = passes.kept[cells]
        self.inexact, self.nodes = sums.inexact, sums.inexact_cells.nodes(passes.rows)
        self.error = secant_error(passes.evidence(cells), rule.share)
        self.cells = torch.full_like(self.inexact, cells)
        self.left = torch.full_like(self.inexact, rule.max_nodes - cells - 1)

    def times(self) -> Tensor:
        """(rows,) int64, into how many parts the cells of each row are cut next; 1 for a row that is done."""
        times = times_for(self.error, self.inexact, self.nodes - self.inexact, self.left, self._rule)
        return torch.where((self.error > self._rule.rtol) & (self.inexact > 0), times, 1)

    def go_on(self, times: Tensor) -> float:
        """Cut them; evaluations that this takes."""
        cut = times > 1
        taken = torch.where(cut, self.inexact * times + self.nodes - self.inexact, 0)
        self.left = self.left - taken
        steps = torch.stack([self.cells, self.cells * times], dim=1)[cut]
        for before, after in torch.unique(steps, dim=0).tolist():
            which = cut & (self.cells == before) & (self.cells * times == after)
            if before in self._passes.kept and after in self._passes.kept:
                self._take(which, before, after)
            else:
                self._extrapolate(which, before, after)
        self.cells = self.cells * times
        return float(taken.sum())

    def _take(self, which: Tensor, before: int, after: int) -> None:
        fine = self._passes.kept[after]
        error = secant_error(self._passes.evidence(after, before), self._rule.share)
        self.error = torch.where(which, error, self.error)
        self.inexact = torch.where(which, fine.inexact, self.inexact)
        self.nodes = torch.where(which, fine.inexact_cells.nodes(self._passes.rows), self.nodes)

    def _extrapolate(self, which: Tensor, before: int, after: int) -> None:
        """Cells that are exact stay so, others seldom become more."""
        falls = (after / before) ** -self._rule.share.converges
        full = which & (self.inexact == before)
        self.error = torch.where(which, self.error * falls, self.error)
        self.inexact = torch.where(full, after, self.inexact)
        self.nodes = torch.where(full, after + 1, self.nodes)
