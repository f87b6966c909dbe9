"""Integrals of a gradient made of secant cells: few of them at first, then as many as those tell are needed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..paths.error_bar import ratio
from ..paths.field import CellField
from ..paths.straight import PowerWarp, StraightPath
from ..paths.sweep import PathIntegral, PathPass, sweep
from .chains import PathCells
from .error_share import CAUTIOUS, ErrorShare, secant_error
from .evidence import CellEvidence, evidence_after, evidence_of
from .sums import GAP_ROUNDING, CellSums, sum_cells

__all__ = [
    "MOST_TIMES",
    "SPARE",
    "CellMaps",
    "SecantCells",
    "SecantRule",
    "cell_maps",
    "integrate_secants",
    "times_for",
]

SPARE = 1.1
"""Of the error expected of a pass: one that misses by a little has to be made again as a whole."""
LEAST = 1 / 30
"""Of the tolerance: what a few cells miss varies by more, and less than this is not claimed while some may."""
MOST_TIMES = 5
"""As many cells in the next pass: what a larger one tells of itself, a smaller one may tell before."""
STALLED = 0.5
"""Of what a map has missed of the score's change: if the next one still does, a jump is behind it, which no number
of cells can close."""


@dataclass(frozen=True)
class SecantRule:
    """Cells even in u, t = u^warp: the more the rougher the path, until a row's reported error is at most `rtol`.

    Attributes:
        rtol: relative error at which a row stops.
        max_nodes: no row evaluates more nodes than this.
        cells: of the first pass.
        warp: power p of t = u^p.
        share: of the differences between neighbouring cells that is reported as the error.

    Example:
        >>> SecantRule(rtol=0.05, max_nodes=1024, cells=6).warp
        2.0
    """

    rtol: float
    max_nodes: int
    cells: int = 6
    warp: float = 2.0
    share: ErrorShare = CAUTIOUS


@dataclass(frozen=True)
class CellMaps:
    """Maps made of a given number of secant cells.

    Attributes:
        attribution: (rows, D).
        relative_error: (rows,) float64, distance to the integral; infinite for fewer than three cells.
        score_input, score_baseline: (rows,) f(x) and f(x').

    Example:
        >>> row = torch.tensor([0.02], dtype=torch.float64)
        >>> maps = CellMaps(torch.tensor([[3.0, 3.0]]), row, torch.tensor([6.0]), torch.tensor([0.0]))
        >>> (maps.attribution.sum(1) == maps.score_input - maps.score_baseline).tolist()
        [True]
    """

    attribution: Tensor
    relative_error: Tensor
    score_input: Tensor
    score_baseline: Tensor


def cell_maps(field: CellField, path: StraightPath, cells: int, warp: float) -> CellMaps:
    """The maps of `cells` secant cells, even in u with t = u^warp, for every row of a block.

    Example:
        >>> from xattr_cli.numerics.examples import ProductField
        >>> path = StraightPath(torch.zeros(1, 2), torch.tensor([[2.0, 3.0]]))
        >>> maps = cell_maps(ProductField(), path, cells=8, warp=2.0)
        >>> maps.attribution.round(decimals=4).tolist(), maps.relative_error.item() > 0
        ([[3.0, 3.0]], True)
    """
    rows = torch.arange(len(path.input), device=path.input.device)
    even = PathCells.even(torch.full_like(rows, cells))
    sums = sum_cells(field, path, rows, even, PowerWarp(warp))
    attribution = sums.mean_gradient * path.delta
    size = torch.linalg.vector_norm(attribution, dim=1, dtype=torch.float64)
    finite = sums.finite & torch.isfinite(sums.score_input + sums.score_baseline)
    return CellMaps(
        attribution=attribution.masked_fill(~finite[:, None], torch.nan),
        relative_error=secant_error(evidence_of(sums, size)).masked_fill(~finite, torch.nan),
        score_input=sums.score_input,
        score_baseline=sums.score_baseline,
    )


def integrate_secants(field: CellField, path: StraightPath, rule: SecantRule) -> PathIntegral:
    """∫₀¹ ∇f(γ(t)) dt for every row of a block, each to its own accuracy, by secant cells.

    Halving a cell would re-use its forward passes, but none of its gradients: so a first pass of few cells
    predicts how many are needed, and the next one has them, several for each that is not exact: what became of
    each tells of the error.

    Arguments:
        field: evaluates cells.
        path: of every row.
        rule: cells and tolerance.

    Example:
        >>> from xattr_cli.numerics.examples import ProductField
        >>> path = StraightPath(torch.zeros(1, 2), torch.tensor([[2.0, 3.0]]))
        >>> found = integrate_secants(ProductField(), path, SecantRule(rtol=0.05, max_nodes=1024, cells=6))
        >>> (found.mean_gradient * path.delta).round(decimals=4).tolist(), bool(found.relative_error <= 0.05)
        ([[3.0, 3.0]], True)
    """
    return sweep(SecantCells(field, path, rule), path)


class SecantCells:
    """Secant cells at work on a block: an `Integrator`; its arguments are those of `integrate_secants`.

    Attributes:
        rtol: relative error at which a row stops.
        marks: number of running integrals.
        times: (open,) int64, into how many each inexact cell of the open rows is cut next; 1 for no more.
        left: (open,) int64, nodes that the open rows may still take.
        certain: (open, D), what the exact cells of all passes add to the mean gradient.
        scores: (2, open), f(x) and f(x').
        missed: (open,) float64, of the score's change by the latest map, over its length.
        before: the latest pass over the open rows, and what it told; None before the first one.

    Example:
        >>> from xattr_cli.numerics.examples import ProductField
        >>> path = StraightPath(torch.zeros(1, 3), torch.tensor([[2.0, 3.0, 1.0]]))
        >>> at_work = SecantCells(ProductField(), path, SecantRule(rtol=1e-6, max_nodes=1024, cells=4))
        >>> found = at_work.advance(torch.tensor([0]))
        >>> found.evaluations.tolist(), bool(found.relative_error > 1e-6), bool(at_work.times > 1)
        ([5], True, True)
    """

    marks = 1

    def __init__(self, field: CellField, path: StraightPath, rule: SecantRule) -> None:
        self.field, self.path, self.rule = field, path, rule
        self.rtol, self.warp, self.delta = rule.rtol, PowerWarp(rule.warp), path.delta
        every = torch.arange(len(self.delta), device=self.delta.device)
        self.times = torch.full_like(every, min(rule.cells, rule.max_nodes - 1))
        self.left = torch.full_like(every, rule.max_nodes)
        self.certain = torch.zeros_like(self.delta)
        self.scores = self.delta.new_full((2, len(every)), torch.nan)
        self.missed = torch.full_like(every, torch.inf, dtype=torch.float64)
        self.before: tuple[CellSums, CellEvidence] | None = None

    def advance(self, rows: Tensor) -> PathPass:
        """All cells of the open rows, or the parts of those that were not exact."""
        cells, parent = self._next()
        sums = sum_cells(self.field, self.path, rows, cells, self.warp)
        mean_gradient = self.certain + sums.mean_gradient
        size = self._length(mean_gradient, rows)
        if self.before is None:
            evidence = evidence_of(sums, size)
            self.scores = torch.stack([sums.score_input, sums.score_baseline])
        else:
            coarse, earlier = self.before
            moved = self._length(sums.mean_gradient - (coarse.mean_gradient - coarse.certain), rows)
            evidence = evidence_after(sums, size, coarse, parent, moved, earlier)
        error = secant_error(evidence, self.rule.share)
        error = torch.where(evidence.inexact > 0, error.clamp(min=LEAST * self.rtol), error)
        missed = _missed(mean_gradient * self.delta[rows], *self.scores)
        stalled = (missed > self.rtol) & (missed > STALLED * self.missed)
        error = torch.maximum(error, missed)
        evaluations = cells.nodes(len(rows))
        self.left = self.left - evaluations
        self.certain = self.certain + sums.certain
        self.before, self.missed = (sums, evidence), missed
        ends = sums.inexact_cells.nodes(len(rows)) - evidence.inexact
        self.times = times_for(error, evidence.inexact, ends, self.left, self.rule).masked_fill(stalled, 1)
        return PathPass(
            running=mean_gradient[:, None],
            relative_error=error,
            score_input=self.scores[0],
            score_baseline=self.scores[1],
            evaluations=evaluations,
            exhausted=self.times <= 1,
        )

    def keep(self, remaining: Tensor) -> None:
        """Forget the rows that are done."""
        self.times, self.left, self.certain = self.times[remaining], self.left[remaining], self.certain[remaining]
        self.scores, self.missed = self.scores[:, remaining], self.missed[remaining]
        if self.before is not None:
            sums, evidence = self.before
            self.before = sums.of(remaining), evidence.of(remaining)

    def _next(self) -> tuple[PathCells, Tensor]:
        """Cells of the next pass, and the cell of the latest one of which each is a part."""
        if self.before is None:
            return PathCells.even(self.times), self.times
        sums, _ = self.before
        cells = sums.inexact_cells
        times = self.times[cells.slot]
        return cells.split(times), (~sums.exact).nonzero()[:, 0].repeat_interleave(times)

    def _length(self, mean_gradient: Tensor, rows: Tensor) -> Tensor:
        """(open,) float64, length of a map."""
        length: Tensor = torch.linalg.vector_norm(mean_gradient * self.delta[rows], dim=1, dtype=torch.float64)
        return length


def times_for(error: Tensor, inexact: Tensor, ends: Tensor, left: Tensor, rule: SecantRule) -> Tensor:
    """(rows,) int64, parts of each inexact cell with which the error should be small enough; 1 for no more.

    Arguments:
        error: (rows,), of the latest pass.
        inexact: (rows,) cells of that pass that are not exact.
        ends: (rows,) of them that are followed by none.
        left: (rows,) nodes that are still allowed.
        rule: with the tolerance.

    Example:
        >>> error, cells = torch.tensor([0.06, 0.2, 0.2]), torch.tensor([4, 4, 4])
        >>> rule = SecantRule(rtol=0.05, max_nodes=1024, cells=4)
        >>> times_for(error, cells, cells // 4, torch.tensor([1000, 1000, 8]), rule).tolist()
        [2, 4, 1]
    """
    wanted = torch.ceil(
        (SPARE * error / rule.rtol).nan_to_num(nan=1.0).clamp(1, 1e6) ** (1 / rule.share.converges)
    )
    most = (left - ends) // inexact.clamp(min=1)
    times = torch.minimum(wanted.long().clamp(2, MOST_TIMES), most)
    return torch.where((times >= 2) & (inexact > 0), times, 1)


def _missed(attribution: Tensor, score_input: Tensor, score_baseline: Tensor) -> Tensor:
    """(rows,) float64, completeness gap over the length of the map: rounding, which counts as 0, unless a function
    of the network was taken for what it is not."""
    epsilon = torch.finfo(attribution.dtype).eps
    attribution, score_input, score_baseline = attribution.double(), score_input.double(), score_baseline.double()
    scale = score_input.abs() + score_baseline.abs() + attribution.abs().sum(dim=1)
    rounding = GAP_ROUNDING * epsilon * scale
    gap = ((attribution.sum(dim=1) - (score_input - score_baseline)).abs() - rounding).clamp(min=0)
    return ratio(gap, torch.linalg.vector_norm(attribution, dim=1))
