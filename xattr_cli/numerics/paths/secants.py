"""Integrals of a gradient made of secant cells: few of them at first, then as many as those tell are needed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .chains import PathChains
from .error_bar import ratio
from .field import CellField
from .secant_error import CAUTIOUS, CellEvidence, ErrorShare, secant_error
from .sketch import CountSketch
from .straight import PowerWarp, StraightPath
from .sweep import PathIntegral, PathPass, sweep

__all__ = [
    "MOST_TIMES",
    "CellMaps",
    "CellSums",
    "SecantCells",
    "SecantRule",
    "cell_maps",
    "evidence_of",
    "integrate_secants",
    "next_cells",
    "sum_cells",
]

SKETCH_SIZE = 128
SPARE = 1.1
"""Of the error expected of a pass: one that misses by a little has to be made again as a whole."""
MOST_TIMES = 5
"""As many cells in the next pass: what a larger one tells of itself, a smaller one may tell before."""


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
    cells: int
    warp: float = 2.0
    share: ErrorShare = CAUTIOUS


@dataclass(frozen=True)
class CellSums:
    """What one pass over the paths of some rows has found.

    Attributes:
        mean_gradient: (rows, D), Σ dt · G over the cells.
        sketches: (rows, most, s) of Δ ⊙ G.
        widths: (rows, most) float64, dt of each cell.
        cells: (rows,) int64, number of cells.
        score_baseline, score_input: (rows,) f(x') and f(x).

    Example:
        >>> from xattr_cli.numerics.examples import ProductField
        >>> path = StraightPath(torch.zeros(1, 2), torch.tensor([[2.0, 3.0]]))
        >>> sums = sum_cells(ProductField(), path, torch.tensor([0]), torch.tensor([2]), PowerWarp(1.0))
        >>> sums.finite.tolist(), sums.of(torch.tensor([0])).cells.tolist()
        ([True], [2])
    """

    mean_gradient: Tensor
    sketches: Tensor
    widths: Tensor
    cells: Tensor
    score_baseline: Tensor
    score_input: Tensor

    @property
    def finite(self) -> Tensor:
        """(rows,) bool, whether the map is finite, and both scores."""
        ends = self.score_baseline + self.score_input
        return torch.isfinite(self.mean_gradient).all(dim=1) & torch.isfinite(ends)

    @property
    def parts(self) -> Tensor:
        """(rows, most, s) of Δ ⊙ dt · G, what each cell adds to the sketch of the map."""
        return self.sketches * self.widths.to(self.sketches)[:, :, None]

    def of(self, rows: Tensor) -> CellSums:
        """Of some of the rows."""
        return CellSums(**{name: numbers[rows] for name, numbers in vars(self).items()})


def sum_cells(field: CellField, path: StraightPath, row: Tensor, cells: Tensor, warp: PowerWarp) -> CellSums:
    """The map of `row` (k,) from `cells` (k,) secant cells each, and what the cells tell about it.

    Its sum is f(x) − f(x') up to rounding, for any number of cells. One cell is the rescale rule of DeepLIFT.

    Example:
        >>> from xattr_cli.numerics.examples import ProductField
        >>> path = StraightPath(torch.zeros(1, 2), torch.tensor([[2.0, 3.0]]))
        >>> sums = sum_cells(ProductField(), path, torch.tensor([0]), torch.tensor([1]), PowerWarp(1.0))
        >>> (sums.mean_gradient * path.delta).tolist(), sums.score_input.tolist()  # sums to f(x) − f(x')
        ([[3.0, 3.0]], [6.0])
    """
    delta = path.delta
    chains = PathChains.of(path, row, cells, warp)
    sketch = CountSketch(delta.shape[1], SKETCH_SIZE, device=delta.device, dtype=delta.dtype)
    most = int(cells.max())
    found = CellSums(
        mean_gradient=delta.new_zeros(len(row), delta.shape[1]),
        sketches=delta.new_zeros(len(row), most, sketch.size),
        widths=torch.zeros(len(row), most, dtype=torch.float64, device=delta.device),
        cells=cells,
        score_baseline=delta.new_full((len(row),), torch.nan),
        score_input=delta.new_full((len(row),), torch.nan),
    )
    for part in field.cells(chains):
        slot, cell, width = chains.slot[part.part], chains.cell[part.part], chains.width[part.part]
        change = delta[row[slot]]
        # a feature that does not change may not spoil the sum with an infinite gradient
        gradients = part.gradients.masked_fill((change == 0) & ~part.gradients.isfinite(), 0)
        found.mean_gradient.index_add_(0, slot, gradients * width.to(gradients)[:, None])
        found.sketches[slot, cell] = sketch(gradients * change)
        found.widths[slot, cell] = width
        begins, ends = cell == 0, cell == cells[slot] - 1
        found.score_baseline[slot[begins]] = part.left[begins]
        found.score_input[slot[ends]] = part.right[ends]
    return found


def evidence_of(sums: CellSums, delta: Tensor, before: CellSums | None = None) -> CellEvidence:
    """What a pass tells about its error.

    Arguments:
        sums: of the pass.
        delta: (rows, D), Δ.
        before: of a pass before, of each of whose cells there are several now; None for none.

    Example:
        >>> from xattr_cli.numerics.examples import ProductField
        >>> path = StraightPath(torch.zeros(1, 2), torch.tensor([[2.0, 3.0]]))
        >>> rows = torch.tensor([0])
        >>> few, more = (sum_cells(ProductField(), path, rows, rows + n, PowerWarp(1.0)) for n in (2, 4))
        >>> evidence = evidence_of(more, path.delta, before=few)
        >>> evidence.cells.tolist(), evidence.cells_before.tolist(), evidence.moved.item() < 1
        ([4], [2], True)
    """
    size = torch.linalg.vector_norm(sums.mean_gradient * delta, dim=1, dtype=torch.float64)
    return CellEvidence(
        sketches=sums.sketches,
        widths=sums.widths,
        cells=sums.cells,
        size=size,
        moved=torch.full_like(size, torch.nan) if before is None else _moved(sums, before, delta),
        cells_before=torch.zeros_like(sums.cells) if before is None else before.cells,
        dtype=delta.dtype,
    )


def _moved(sums: CellSums, before: CellSums, delta: Tensor) -> Tensor:
    """(rows,) float64, distance of two passes, of which one has several times as many cells.

    Of smooth integrands the errors of cells add up, and the maps tell of it; of kinks they point anywhere, and in
    few dimensions they may cancel in the sum by chance, but not in the cells.
    """
    whole = torch.linalg.vector_norm(
        (sums.mean_gradient - before.mean_gradient) * delta, dim=1, dtype=torch.float64
    )
    parts, apart = sums.parts, -before.parts
    into = torch.arange(parts.shape[1], device=delta.device) // (sums.cells // before.cells)[:, None]
    into = into.clamp(max=apart.shape[1] - 1)  # cells that a row does not have add nothing
    apart.scatter_add_(1, into[:, :, None].expand_as(parts), parts)
    return torch.maximum(whole, torch.linalg.vector_norm(apart.flatten(1), dim=1, dtype=torch.float64))


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
    count = torch.full_like(rows, cells)
    sums = sum_cells(field, path, rows, count, PowerWarp(warp))
    attribution = sums.mean_gradient * path.delta
    evidence = evidence_of(sums, path.delta)
    finite = sums.finite
    return CellMaps(
        attribution=attribution.masked_fill(~finite[:, None], torch.nan),
        relative_error=secant_error(evidence).masked_fill(~finite, torch.nan),
        score_input=sums.score_input,
        score_baseline=sums.score_baseline,
    )


def integrate_secants(field: CellField, path: StraightPath, rule: SecantRule) -> PathIntegral:
    """∫₀¹ ∇f(γ(t)) dt for every row of a block, each to its own accuracy, by secant cells.

    Halving a cell would re-use its forward passes, but none of its gradients: so a first pass of few cells
    predicts how many are needed, and a second one has them all, several for each of the first one's: what became
    of each tells of the error.

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
        cells: (open,) int64, of the next pass.
        left: (open,) int64, nodes that the open rows may still take.
        before: the latest pass over the open rows; None before the first one.

    Example:
        >>> from xattr_cli.numerics.examples import ProductField
        >>> path = StraightPath(torch.zeros(1, 2), torch.tensor([[2.0, 3.0]]))
        >>> at_work = SecantCells(ProductField(), path, SecantRule(rtol=1e-6, max_nodes=1024, cells=4))
        >>> found = at_work.advance(torch.tensor([0]))
        >>> found.evaluations.tolist(), bool(found.relative_error > 1e-6), bool(at_work.cells > 4)
        ([5], True, True)
    """

    marks = 1

    def __init__(self, field: CellField, path: StraightPath, rule: SecantRule) -> None:
        self.field, self.path, self.rule = field, path, rule
        self.rtol, self.warp, self.delta = rule.rtol, PowerWarp(rule.warp), path.delta
        rows, device = len(self.delta), self.delta.device
        self.cells = torch.full((rows,), min(rule.cells, rule.max_nodes - 1), device=device)
        self.left = torch.full((rows,), rule.max_nodes, device=device)
        self.before: CellSums | None = None

    def advance(self, rows: Tensor) -> PathPass:
        """All cells of the open rows, made anew."""
        cells, delta = self.cells, self.delta[rows]
        sums = sum_cells(self.field, self.path, rows, cells, self.warp)
        evidence = evidence_of(sums, delta, self.before)
        error = torch.maximum(secant_error(evidence, self.rule.share), _missed(sums, delta))
        self.left = self.left - (cells + 1)
        self.before = sums
        self.cells = next_cells(cells, error, self.left, self.rule)
        return PathPass(
            running=sums.mean_gradient[:, None],
            relative_error=error,
            score_input=sums.score_input,
            score_baseline=sums.score_baseline,
            evaluations=cells + 1,
            exhausted=self.cells <= cells,
        )

    def keep(self, remaining: Tensor) -> None:
        """Forget the rows that are done."""
        self.before = None if self.before is None else self.before.of(remaining)
        self.cells, self.left = self.cells[remaining], self.left[remaining]


def next_cells(cells: Tensor, error: Tensor, left: Tensor, rule: SecantRule) -> Tensor:
    """(rows,) int64, cells at which the error is expected to be small enough: several times as many as there are.

    Arguments:
        cells, error: (rows,), of the latest pass.
        left: (rows,) nodes that are still allowed; where twice the cells have more, `cells` is returned.
        rule: with the tolerance.

    Example:
        >>> rule = SecantRule(rtol=0.05, max_nodes=1024, cells=4)
        >>> error, left = torch.tensor([0.06, 0.2, 0.2]), torch.tensor([1000, 1000, 8])
        >>> next_cells(torch.tensor([4, 4, 4]), error, left, rule).tolist()
        [8, 16, 4]
    """
    times = torch.ceil((SPARE * error / rule.rtol).nan_to_num(nan=1.0).clamp(1, 1e6) ** (1 / rule.share.converges))
    times = torch.minimum(times.long().clamp(2, MOST_TIMES), (left - 1) // cells)
    return torch.where(times >= 2, cells * times, cells)


GAP_ROUNDING = 64.0
"""Units in the last place of the scores and of the map's features, which sums of cells may miss."""


def _missed(sums: CellSums, delta: Tensor) -> Tensor:
    """(rows,) float64, completeness gap over the length of the map: rounding, which counts as 0, unless a function
    of the network was taken for what it is not."""
    attribution = (sums.mean_gradient * delta).double()
    change = sums.score_input.double() - sums.score_baseline.double()
    scale = sums.score_input.double().abs() + sums.score_baseline.double().abs() + attribution.abs().sum(dim=1)
    rounding = GAP_ROUNDING * torch.finfo(delta.dtype).eps * scale
    gap = ((attribution.sum(dim=1) - change).abs() - rounding).clamp(min=0)
    return ratio(gap, torch.linalg.vector_norm(attribution, dim=1))
