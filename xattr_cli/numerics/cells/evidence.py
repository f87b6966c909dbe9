"""What a pass over secant cells tells about its error, whose completeness gap is 0 and no evidence."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .sums import CellSums

__all__ = ["MIXES", "CellEvidence", "evidence_after", "evidence_of"]

MIXES = (0.0, 0.5)
"""By which power differences between sister cells count in what is left of a move, beside the move itself."""


@dataclass(frozen=True)
class CellEvidence:
    """What a pass over cells of the open rows tells about the error of their maps.

    Attributes:
        size: (open,) float64, length of the map.
        inexact: (open,) int64, cells of the pass that are not exact.
        cells: (open,) int64, of the pass.
        whole: (open,) bool, no cell of this pass or of one before is exact: the cells cover the path.
        roughness: (open,) float64, differences between neighbouring cells that are not exact.
        straight: (open,) bool, no cell of the first pass differs from its neighbour.
        left: (2, open) float64, what is left of the moves of the cells before, one for each of `MIXES`; None after
            the first pass.
        times: (open,) float64, into how many the cells before were cut.
        dtype: of the computation.

    Example:
        >>> row, none = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.bool)
        >>> cells = torch.tensor([3]), torch.tensor([4])
        >>> first_pass = CellEvidence(row, *cells, none, 0.1 * row, none, None, row, torch.float32)
        >>> first_pass.of(torch.tensor([True])).inexact.tolist()
        [3]
    """

    size: Tensor
    inexact: Tensor
    cells: Tensor
    whole: Tensor
    roughness: Tensor
    straight: Tensor
    left: Tensor | None
    times: Tensor
    dtype: torch.dtype

    def of(self, rows: Tensor) -> CellEvidence:
        """That of some of the rows."""
        left = None if self.left is None else self.left[:, rows]
        fields = {name: value[rows] for name, value in vars(self).items() if name not in ("left", "dtype")}
        return CellEvidence(left=left, dtype=self.dtype, **fields)


def evidence_of(sums: CellSums, size: Tensor) -> CellEvidence:
    """What a first pass, over whole paths, tells about its error.

    Its roughness is s₁ = (Σ ‖(t_{i+1} − t_{i−1}) / 2 · (g_{i+1} − g_i)‖²)^½, g = Δ ⊙ gradient of a cell, with half
    of each square for either of the two cells, of those that are not exact.

    Arguments:
        sums: of the pass.
        size: (open,) float64, length of the map.

    Example:
        >>> from xattr_cli.numerics.examples import ProductField
        >>> from xattr_cli.numerics.cells.sums import sum_cells
        >>> from xattr_cli.numerics.cells.chains import PathCells
        >>> from xattr_cli.numerics.paths.straight import PowerWarp, StraightPath
        >>> path, cells = StraightPath(torch.zeros(1, 3), torch.ones(1, 3)), torch.tensor([2])  # x₀ x₁ x₂
        >>> sums = sum_cells(ProductField(), path, torch.tensor([0]), PathCells.even(cells), PowerWarp(1.0))
        >>> evidence = evidence_of(sums, torch.ones(1, dtype=torch.float64))
        >>> evidence.inexact.tolist(), evidence.roughness.round(decimals=3).tolist()
        ([2], [0.433])
    """
    rows, cells, inexact = len(size), sums.cells.count(len(size)), sums.inexact
    meets = sums.cells.meets_next()[:-1]
    gradients = sums.parts.double() / sums.widths[:, None]
    both = (sums.widths[1:] + sums.widths[:-1]) / 2
    squares = (torch.linalg.vector_norm(torch.diff(gradients, dim=0), dim=1) * both).square() * meets
    open_ends = (2 - sums.exact[1:].double() - sums.exact[:-1].double()) / 2
    slot = sums.cells.slot[:-1]
    every, some = (size.new_zeros(rows).index_add_(0, slot, each) for each in (squares, squares * open_ends))
    return CellEvidence(
        size=size,
        inexact=inexact,
        cells=cells,
        whole=inexact == cells,
        roughness=some.sqrt(),
        straight=(every == 0) & (cells > 1),
        left=None,
        times=torch.ones_like(size),
        dtype=sums.mean_gradient.dtype,
    )


def evidence_after(
    sums: CellSums, size: Tensor, before: CellSums, parent: Tensor, moved: Tensor, earlier: CellEvidence
) -> CellEvidence:
    """What a pass tells about its error that has several cells for some of the pass before.

    How far the parts of a cell are from the cell is about the error of the cell. Of that, each part that is not
    exact has its share by its width; or the mean, as lengths, of this share and of how far it is from its sisters.

    Arguments:
        sums: of the pass.
        size: (open,) float64, length of the map.
        before: of the pass before.
        parent: (k,) int64, the cell before of which each cell is a part.
        moved: (open,) float64, by how much the map has.
        earlier: what the pass before has told.

    Example:
        >>> from xattr_cli.numerics.cells.chains import PathCells
        >>> from xattr_cli.numerics.cells.sums import sum_cells
        >>> from xattr_cli.numerics.examples import ProductField
        >>> from xattr_cli.numerics.paths.straight import PowerWarp, StraightPath
        >>> path, row = StraightPath(torch.zeros(1, 3), torch.tensor([[1.0, 2.0, 3.0]])), torch.tensor([0])
        >>> cells, size = PathCells.even(torch.tensor([1])), torch.ones(1, dtype=torch.float64)
        >>> parts = cells.split(torch.tensor([2]))
        >>> passes = [sum_cells(ProductField(), path, row, each, PowerWarp(1.0)) for each in (cells, parts)]
        >>> moved, parent = 0 * size, torch.tensor([0, 0])
        >>> evidence = evidence_after(passes[1], size, passes[0], parent, moved, evidence_of(passes[0], size))
        >>> evidence.times.tolist(), bool((evidence.left > 0).all())  # of x₀ x₁ x₂
        ([2.0], True)
    """
    rows, slot, open_cells = len(size), sums.cells.slot, (~sums.exact).double()
    parts = sums.parts.double()
    together = torch.zeros_like(before.parts, dtype=torch.float64).index_add_(0, parent, parts)
    has_parts = torch.zeros_like(before.exact).index_fill_(0, parent, True)
    move = torch.linalg.vector_norm(together - before.parts.double(), dim=1) * has_parts
    share = sums.widths / before.widths[parent]
    apart = torch.linalg.vector_norm(parts - together[parent] * share[:, None], dim=1)
    due = move[parent] * share
    lefts = [size.new_zeros(rows).index_add_(0, slot, open_cells * due ** (2 * (1 - mix)) * apart ** (2 * mix))
             for mix in MIXES]  # fmt: skip
    # of smooth integrands the errors of cells add up, and the maps tell of it; of kinks they point anywhere, and
    # may cancel in the sum by chance, but not in the cells
    by_cells = size.new_zeros(rows).index_add_(0, before.cells.slot, move.square()).sqrt()
    more = (moved / by_cells.clamp(min=1e-300)).clamp(min=1)
    times = size.new_zeros(rows).index_add_(0, slot, torch.ones_like(share))
    times = times / size.new_zeros(rows).index_add_(0, before.cells.slot, has_parts.double()).clamp(min=1)
    own = evidence_of(sums, size)
    return replace(
        own,
        whole=own.whole & earlier.whole,
        straight=earlier.straight,
        left=torch.stack(lefts).sqrt() * more,
        times=times,
    )
