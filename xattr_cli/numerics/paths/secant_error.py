"""Reported errors of integrals made of secant cells, whose completeness gap is 0 and no evidence."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = [
    "CAUTIOUS",
    "CellEvidence",
    "ErrorShare",
    "expected_after",
    "fitted_share",
    "power_of_cells",
    "rounding_of",
    "secant_error",
    "share_of_movement",
]


@dataclass(frozen=True)
class CellEvidence:
    """What a pass over the cells of the open rows has left behind.

    Attributes:
        sketches: (open, most, s) of Δ ⊙ gradient of each cell, in the order of t; 0 where a row has no more.
        widths: (open, most) float64, dt of each cell; 0 where a row has no more.
        cells: (open,) int64.
        size: (open,) float64, length of the map.
        moved: (open,) float64, distance of the map to the one before, of fewer cells; NaN if there was none.
        cells_before: (open,) int64, cells of the one before; 0 if there was none.
        dtype: of the computation.
    """

    sketches: Tensor
    widths: Tensor
    cells: Tensor
    size: Tensor
    moved: Tensor
    cells_before: Tensor
    dtype: torch.dtype

    def roughness(self) -> Tensor:
        """(open,) float64, s₁ = (Σ ‖(t_{i+1} − t_{i−1}) / 2 · (g_{i+1} − g_i)‖²)^½, g = Δ ⊙ gradient of a cell."""
        steps = torch.diff(self.sketches.double(), dim=1)
        both = (self.widths[:, 1:] > 0).double() * (self.widths[:, 1:] + self.widths[:, :-1]) / 2
        lengths: Tensor = torch.linalg.vector_norm(steps, dim=2) * both
        return lengths.square().sum(dim=1).sqrt()


@dataclass(frozen=True)
class ErrorShare:
    """What is reported of the differences between neighbouring cells, and of the move from a pass to the next.

    One unit that switches is integrated exactly wherever it does; what is left comes from pairs of units in one
    cell, so the error falls faster than the differences between neighbours do, which fall like 1 / n. Rows with
    few such pairs are far better than others with the same differences: they show in maps that hardly move.

    Attributes:
        at_eight, falls, most: the error is at most min(most, at_eight · (8 / n)^falls) of s₁, in 95 % of rows.
        moves: ... and at most this share of what `expected_after` makes of the move; 0 where that is not known.
        converges: errors fall like n^-converges.

    Example:
        >>> ErrorShare(at_eight=0.25, falls=1.0).of(torch.tensor([4, 16])).tolist()
        [0.5, 0.125]
    """

    at_eight: float
    falls: float
    most: float = 0.5
    moves: float = 0.0
    converges: float = 1.5

    def of(self, cells: Tensor) -> Tensor:
        """Of numbers of cells (k,), as float64."""
        return (self.at_eight * (8 / cells.double()) ** self.falls).clamp(max=self.most)

    @property
    def order(self) -> float:
        """The reported error of n cells falls like n^-order."""
        return 1 + self.falls


CAUTIOUS = ErrorShare(0.42, 0.25)
"""For a network of which nothing is known: that of photographs through efficientnet-lite0, the largest measured.

95th percentiles of true error over s₁ at 4, 8 and 16 cells: efficientnet-lite0 –, .39, .32; ReLU CNN with max-pool
.20, .14, .12; MLPs .05–.32, .04–.13, .02–.06; GRU .14, .07, .05; GELU MLP .008, .005, .004.
"""

FEWEST = 3
"""Cells below which neighbours tell nothing."""
LEAST_STRIDE = 1.3
"""A pass of less than so many times the cells of the one before hardly moves, however wrong both are."""


def secant_error(evidence: CellEvidence, share: ErrorShare = CAUTIOUS) -> Tensor:
    """(open,) relative error of the maps: a share of the differences between neighbouring cells.

    Where a pass of fewer cells came before, the map has moved by about that one's error, which tells what is left
    of it: no less than that is reported and, where the job's own rows have told how far that can be trusted, no
    more than their share of it. Infinite for fewer than three cells.
    """
    roughness, moved = evidence.roughness(), evidence.moved.nan_to_num(0.0)
    finer = (evidence.cells_before / evidence.cells.double()) ** share.order
    length = torch.maximum(share.of(evidence.cells) * roughness, moved * finer)
    if share.moves > 0:
        after = expected_after(moved, evidence.cells_before, evidence.cells, share.converges)
        known = (evidence.cells_before > 0) & (evidence.cells >= LEAST_STRIDE * evidence.cells_before)
        length = torch.where(known, torch.minimum(length, share.moves * after), length)
    error = length / evidence.size.clamp(min=1e-300)
    rounding = torch.full_like(error, rounding_of(evidence.dtype))
    error = torch.where(roughness > 0, torch.hypot(error, rounding), error)
    return torch.where(evidence.cells < FEWEST, torch.inf, error)


def rounding_of(dtype: torch.dtype) -> float:
    """Relative error of a map that comes from the precision alone.

    Example:
        >>> rounding_of(torch.float32) < 1e-6
        True
    """
    return 8 * torch.finfo(dtype).eps


def expected_after(moved: Tensor, before: Tensor, cells: Tensor, converges: float) -> Tensor:
    """(rows,) expected error of a pass from how far it is from the one before.

    Errors e(m) and e(n) of independent directions, e(n) = e(m) · (m / n)^q, are √(e(m)² + e(n)²) apart.

    Arguments:
        moved: (rows,) distance of the two maps.
        before, cells: (rows,) or a number of them, m and n.
        converges: q.

    Example:
        >>> apart = torch.tensor([3.0], dtype=torch.float64)
        >>> expected_after(apart, torch.tensor(4), torch.tensor(8), 1.5).tolist()  # 3 / √(1 + 2³)
        [1.0]
    """
    ratio = torch.as_tensor(cells).double() / torch.as_tensor(before).double().clamp(min=1)
    return moved / (1 + ratio ** (2 * converges)).sqrt()


ANYTHING = 1e6
"""Largest share of s₁ that was measured on a job's own rows: as large as they say."""
COVERED = 0.98
"""Percentile of the shares of some rows at some numbers of cells that is taken, where there are 16 rows."""
MARGIN = 1.4
SIXTEEN = 16
FEWER = 0.25
"""The largest of k log-normal values, spread as rows are, falls like (k / 16)^0.4 where k is smaller; several
numbers of cells of a row are worth more than one.
"""
EXACT = 0.15
"""Of the largest value among the rows: smaller ones count as this."""
MOVES_COVERED = 0.95
MOVES_MARGIN = 4.0
"""Of the smaller of two bounds, one must be more than sure."""


def fitted_share(cells: Tensor, shares: Tensor) -> ErrorShare:
    """The share that covers 95 of 100 rows like these, from true errors over s₁ of a few of them.

    An upper percentile of the shares themselves, about a power of the number of cells: in many networks some rows
    are integrated exactly and others are not, so that a mean and a spread of their logarithms would say nothing.

    Arguments:
        cells: (levels,) int64, increasing.
        shares: (rows, levels) float64, at least two rows; 0 where there is no error beyond rounding.
    """
    falls = power_of_cells(cells, shares, CAUTIOUS.falls)
    levelled = shares * (cells.double() / 8) ** falls
    margin = MARGIN * (SIXTEEN / min(len(shares), SIXTEEN)) ** FEWER
    return ErrorShare(margin * float(levelled.flatten().quantile(COVERED)), falls, most=ANYTHING)


def power_of_cells(cells: Tensor, values: Tensor, unknown: float) -> float:
    """The power p, from 0 to 2, with which the larger values (rows, levels) fall like n^-p.

    `unknown` where they are 0, or all of one level.

    Example:
        >>> cells = torch.tensor([4, 8])
        >>> round(power_of_cells(cells, torch.tensor([[0.4, 0.1], [0.8, 0.2]]), 0.0), 6)
        2.0
    """
    largest = values.amax(dim=0)
    some = largest > 0
    if int(some.sum()) < 2:
        return unknown
    # rows that are exact say nothing about how fast others become so
    level = torch.maximum(values, EXACT * largest)[:, some].log().mean(dim=0)
    x = cells.double()[some].log()
    centred = x - x.mean()
    return min(max(-float((centred * level).sum() / centred.square().sum()), 0.0), 2.0)


def share_of_movement(shares: Tensor) -> float:
    """The share of `expected_after` that covers rows like these, from errors over it of some (k,); 0 for none.

    Example:
        >>> share_of_movement(torch.zeros(0))
        0.0
    """
    return max(1.0, MOVES_MARGIN * float(shares.quantile(MOVES_COVERED))) if len(shares) else 0.0
