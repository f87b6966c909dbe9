"""Reported errors of integrals made of secant cells, whose completeness gap is 0 and no evidence."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["CAUTIOUS", "CellEvidence", "ErrorShare", "fitted_share", "secant_error"]


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
    """Which share of s₁ the error is in 95 % of rows: at_eight · (8 / n)^falls of n cells, at most `most`.

    One unit that switches is integrated exactly wherever it does; what is left comes from pairs of units in one
    cell, so the error falls faster than the differences between neighbours do, which fall like 1 / n.

    Example:
        >>> ErrorShare(at_eight=0.25, falls=1.0).of(torch.tensor([4, 16])).tolist()
        [0.5, 0.125]
    """

    at_eight: float
    falls: float
    most: float = 0.5

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

EXACT = 0.15
"""Of the largest share among the rows: smaller ones count as this."""

MARGIN = 1.75
"""For networks whose rows differ by more than a few of them show; `make bench-error-bars`."""

STUDENT = (6.31, 2.92, 2.35, 2.13, 2.02, 1.94, 1.89, 1.86, 1.83, 1.81, 1.80, 1.78, 1.77, 1.76, 1.75, 1.75, 1.74)
"""95th percentiles of Student's t with 1, 2, … degrees of freedom."""


def secant_error(evidence: CellEvidence, share: ErrorShare = CAUTIOUS) -> Tensor:
    """(open,) relative error of the maps: a share of the differences between neighbouring cells.

    Where a pass of fewer cells came before, the map has moved by about that one's error, which tells what is left
    of it. Infinite for fewer than three cells.
    """
    finer = (evidence.cells_before / evidence.cells.double()) ** share.order
    length = torch.maximum(
        share.of(evidence.cells) * evidence.roughness(), (evidence.moved * finer).nan_to_num(0.0)
    )
    error = length / evidence.size.clamp(min=1e-300)
    rounding = torch.full_like(error, 8 * torch.finfo(evidence.dtype).eps)
    error = torch.where(error > 0, torch.hypot(error, rounding), error)
    return torch.where(evidence.cells < FEWEST, torch.inf, error)


def fitted_share(cells: Tensor, shares: Tensor) -> ErrorShare:
    """The share that covers 95 of 100 rows like these, from true errors over s₁ of a few of them.

    Shares of rows are log-normal about a power of the number of cells; the percentile is that of a new row, with
    Student's factor for as few rows as there are.

    Arguments:
        cells: (levels,) int64, increasing.
        shares: (rows, levels) float64, at least two rows; 0 where the error is.
    """
    rows = len(shares)
    # rows that are exact, whose paths meet no pair of kinks in a cell, say nothing about how far others spread
    logs = torch.maximum(shares, EXACT * shares.amax(dim=0)).clamp(min=1e-12).log()
    x = (8 / cells.double()).log()
    level = logs.mean(dim=0)
    spread = (x - x.mean()).square().sum()
    falls = float(((x - x.mean()) * level).sum() / spread) if len(cells) > 1 else CAUTIOUS.falls
    falls = min(max(falls, 0.0), 2.0)
    # rows differ by a factor of their own: the spread is that of single levels above their median, pooled
    flat = logs - falls * x
    centre = flat.median()
    above = (flat - centre).clamp(min=0).square().sum() / (flat > centre).sum().clamp(min=1)
    student = STUDENT[min(rows - 1, len(STUDENT)) - 1]
    at_eight = MARGIN * math.exp(float(centre) + student * math.sqrt(float(above) * (1 + 1 / rows)))
    return ErrorShare(min(at_eight, 2 * CAUTIOUS.at_eight), falls, max(CAUTIOUS.most, 2 * CAUTIOUS.at_eight))
