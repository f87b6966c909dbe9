"""Sums of secant cells over the paths of some rows: the map that they make, and what each cell has added."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..paths.field import CellField
from ..paths.sketch import CountSketch
from ..paths.straight import PowerWarp, StraightPath
from .chains import PathCells, PathChains

__all__ = ["GAP_ROUNDING", "CellSums", "sum_cells"]

SKETCH_SIZE = 128
GAP_ROUNDING = 64.0
"""Units in the last place of the scores and of the map's features, which sums of cells may miss."""


@dataclass(frozen=True)
class CellSums:
    """What one pass over cells of the paths of some rows has found.

    Attributes:
        cells: of the pass.
        mean_gradient: (rows, D), Σ dt · G over the cells.
        certain: (rows, D), the same over those that are exact.
        parts: (k, s) sketches of Δ ⊙ dt · G, what each cell adds to the map.
        widths: (k,) float64, dt of each cell.
        exact: (k,) bool, whether G is the mean gradient in the cell.
        score_baseline, score_input: (rows,) f(x') and f(x); NaN where no cell begins or ends there.

    Example:
        >>> from xattr_cli.numerics.examples import ProductField
        >>> path, cells = StraightPath(torch.zeros(1, 3), torch.tensor([[2.0, 3.0, 1.0]])), torch.tensor([2])
        >>> sums = sum_cells(ProductField(), path, torch.tensor([0]), PathCells.even(cells), PowerWarp(1.0))
        >>> sums.finite.tolist(), sums.exact.tolist(), sums.widths.tolist()
        ([True], [False, False], [0.5, 0.5])
    """

    cells: PathCells
    mean_gradient: Tensor
    certain: Tensor
    parts: Tensor
    widths: Tensor
    exact: Tensor
    score_baseline: Tensor
    score_input: Tensor

    @property
    def finite(self) -> Tensor:
        """(rows,) bool, whether what the cells add up to is finite."""
        return torch.isfinite(self.mean_gradient).all(dim=1)

    @property
    def inexact_cells(self) -> PathCells:
        """Those that are not exact."""
        return self.cells.of(~self.exact)

    @property
    def inexact(self) -> Tensor:
        """(rows,) int64, how many of each row are not."""
        return self.inexact_cells.count(len(self.mean_gradient))

    def of(self, rows: Tensor) -> CellSums:
        """Those of some of the rows, (rows,) bool."""
        some = rows[self.cells.slot]
        return CellSums(
            self.cells.of(some).renumbered(rows),
            *(numbers[rows] for numbers in (self.mean_gradient, self.certain)),
            *(numbers[some] for numbers in (self.parts, self.widths, self.exact)),
            *(scores[rows] for scores in (self.score_baseline, self.score_input)),
        )


def sum_cells(field: CellField, path: StraightPath, row: Tensor, cells: PathCells, warp: PowerWarp) -> CellSums:
    """The map of `row` (rows,) from secant cells, and what the cells tell about it.

    Of cells that cover the path its sum is f(x) − f(x') up to rounding, however few they are. One cell is the
    rescale rule of DeepLIFT.

    Example:
        >>> from xattr_cli.numerics.examples import ProductField
        >>> path, cells = StraightPath(torch.zeros(1, 2), torch.tensor([[2.0, 3.0]])), torch.tensor([1])
        >>> sums = sum_cells(ProductField(), path, torch.tensor([0]), PathCells.even(cells), PowerWarp(1.0))
        >>> (sums.mean_gradient * path.delta).tolist(), sums.score_input.tolist()  # sums to f(x) − f(x')
        ([[3.0, 3.0]], [6.0])
    """
    delta, rows = path.delta, len(row)
    chains = PathChains.of(path, row, cells, warp)
    sketch = CountSketch(delta.shape[1], SKETCH_SIZE, device=delta.device, dtype=delta.dtype)
    found = CellSums(
        cells=cells,
        mean_gradient=delta.new_zeros(rows, delta.shape[1]),
        certain=delta.new_zeros(rows, delta.shape[1]),
        parts=delta.new_zeros(len(cells.slot), sketch.size),
        widths=warp.t(cells.right) - warp.t(cells.left),
        exact=torch.zeros_like(cells.slot, dtype=torch.bool),
        score_baseline=delta.new_full((rows,), torch.nan),
        score_input=delta.new_full((rows,), torch.nan),
    )
    for part in field.cells(chains):
        cell = chains.begins[part.part]
        slot, width = cells.slot[cell], found.widths[cell].to(delta)[:, None]
        change = delta[row[slot]]
        # a feature that does not change may not spoil the sum with an infinite gradient
        gradients = part.gradients.masked_fill((change == 0) & ~part.gradients.isfinite(), 0) * width
        added = gradients * change
        exact = part.exact & _accounts(added, part.left, part.right)
        found.mean_gradient.index_add_(0, slot, gradients)
        found.certain.index_add_(0, slot[exact], gradients[exact])
        found.parts[cell], found.exact[cell] = sketch(added), exact
        begins, ends = cells.left[cell] == 0, cells.right[cell] == 1
        found.score_baseline[slot[begins]] = part.left[begins]
        found.score_input[slot[ends]] = part.right[ends]
    return found


def _accounts(added: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """(k,) bool, whether what cells add (k, D) is the difference of the scores at their ends, up to rounding.

    Where it is not, a function of the network is not what it was taken for, and what is said of its bends is void:
    a mask that turns between both ends, a derivative of somebody's own.
    """
    scale = left.abs() + right.abs() + added.abs().sum(dim=1)
    return (added.sum(dim=1) - (right - left)).abs() <= GAP_ROUNDING * torch.finfo(added.dtype).eps * scale
