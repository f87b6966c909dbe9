"""Reported errors of integrals made of secant cells, whose completeness gap is 0 and no evidence."""

from __future__ import annotations

import math
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
        moved: (open,) float64, by how much the pass differs from the one before: distance of the maps, or root of
            the squared distances between the cells before and what became of each; NaN if there was none.
        cells_before: (open,) int64, cells of the one before, of which `cells` is a multiple; 0 if there was none.
        dtype: of the computation.

    Example:
        >>> sketches, cells = torch.tensor([[[0.0], [3.0], [3.0]]]), torch.tensor([3])
        >>> widths, row = torch.full((1, 3), 1 / 3, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
        >>> evidence = CellEvidence(sketches, widths, cells, row, row * torch.nan, 0 * cells, torch.float32)
        >>> evidence.roughness().round(decimals=6).tolist()  # one switch, by 3, where cells are a third wide
        [1.0]
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
    """What is reported of the roughness of a pass, and of how far it is from the one before.

    One unit that switches is integrated exactly wherever it does; what is left comes from pairs of units in one
    cell, so the error falls faster than the differences between neighbours do, which fall like 1 / n. Rows with
    few such pairs are far better than others with the same differences: they show in maps that hardly move.

    Attributes:
        at_eight, falls, most: in 95 % of rows the relative error is at most min(most, at_eight · (8 / n)^falls)
            times (s₁ / ‖map‖)^power.
        power: 1 where rows of large differences between neighbours are the bad ones, 0 where they tell nothing.
        moves: ... and at most this share of what `expected_after` makes of the move; 0 where that is not known.
        converges: errors fall like n^-converges.

    Example:
        >>> ErrorShare(at_eight=0.25, falls=1.0).of(torch.tensor([4, 16])).tolist()
        [0.5, 0.125]
    """

    at_eight: float
    falls: float
    most: float = 0.5
    power: float = 1.0
    moves: float = 0.0
    converges: float = 1.5

    def of(self, cells: Tensor) -> Tensor:
        """Of numbers of cells (k,), as float64."""
        return (self.at_eight * (8 / cells.double()) ** self.falls).clamp(max=self.most)


CAUTIOUS = ErrorShare(0.4, 0.4, moves=4.5, converges=1.2)
"""For a network of which nothing is known: that of photographs through efficientnet-lite0, the largest measured.

95th percentiles of true error over s₁ at 4, 8, 16, 24 and 36 cells: efficientnet-lite0 –, .39, .32, .30, .22; ReLU
CNN with max-pool .20, .14, .12; MLPs .05–.32, .04–.13, .02–.06; GRU .14, .07, .05; GELU MLP .008, .005, .004. Of
true error over what the move to twice the cells makes expected: ReLU MLPs 3.8–5.0 (deep and narrow, or of two
features, 7), Maxout 6.0, ReLU CNN 2.3, smooth networks .9–1.2.
"""

FEWEST = 3
"""Cells below which neighbours tell nothing."""


def secant_error(evidence: CellEvidence, share: ErrorShare = CAUTIOUS) -> Tensor:
    """(open,) relative error of the maps: a share of the differences between neighbouring cells.

    Where a pass of fewer cells came before, each of which became several, the distance between both is about the
    error of the former, and tells what is left of it: no more than a share of that is reported. Infinite for fewer
    than three cells.

    Example:
        >>> widths, row = torch.full((1, 4), 0.25, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
        >>> def error(*gradients):
        ...     cells, sketches = torch.tensor([len(gradients)]), torch.tensor(gradients).reshape(1, -1, 1)
        ...     pass_before = (row * torch.nan, 0 * cells)  # there was none
        ...     some = CellEvidence(sketches, widths[:, :cells], cells, row, *pass_before, torch.float32)
        ...     return round(secant_error(some).item(), 3)
        >>> error(1.0, 1.0, 1.0, 1.0), error(0.0, 1.0, 1.0, 1.0), error(1.0, 1.0)
        (0.0, 0.125, inf)
    """
    roughness = evidence.roughness() / evidence.size.clamp(min=1e-300)
    error = share.of(evidence.cells) * roughness**share.power
    if share.moves > 0:
        after = expected_after(evidence.moved, evidence.cells_before, evidence.cells, share.converges)
        left = share.moves * after / evidence.size.clamp(min=1e-300)
        error = torch.where(evidence.cells_before > 0, torch.minimum(error, left), error)
    rounding = torch.full_like(error, rounding_of(evidence.dtype))
    error = torch.where(roughness > 0, torch.hypot(error, rounding), 0.0)
    return torch.where((evidence.cells < FEWEST) | ~roughness.isfinite(), torch.inf, error)


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
"""Largest share that was measured on a job's own rows: as large as they say."""
POWERS = (0.0, 0.5, 1.0)
COVERED = 0.95
"""Percentile of the shares of some rows at some numbers of cells that is taken, times a margin."""
MARGIN = 1.08
UNCERTAIN, WIDEST = 0.4, 1.2
"""... that grows with the distance of this percentile from the median, in logarithms: what 16 rows tell of it is
uncertain by half the spread of rows, of which 1.25 covers some. Exact rows are as far from others as rounding is.
"""
SIXTEEN, FEWER = 16, 0.25
"""The largest of k log-normal values, spread as rows are, falls like (k / 16)^0.4 where k is smaller; several
numbers of cells of a row are worth more than one.
"""
EXACT = 0.15
"""Of the largest value among the rows: smaller ones count as this."""


def fitted_share(cells: Tensor, errors: Tensor, roughness: Tensor, floor: float) -> ErrorShare:
    """The share that covers 95 of 100 rows like these, from what is known of a few of them.

    An upper percentile of the shares themselves, about a power of the number of cells: in many networks some rows
    are integrated exactly and others are not, so that a mean and a spread of their logarithms would say nothing.
    In some networks rough rows are the bad ones, in others not: what tells the rows apart best is taken.

    Arguments:
        cells: (levels,) int64, increasing.
        errors: (rows, levels) float64, true relative errors of at least two rows.
        roughness: (rows, levels) float64, s₁ / ‖map‖ of the same.
        floor: relative error that is none, but rounding.

    Example:
        >>> cells, errors = torch.tensor([4, 8]), torch.tensor([[0.04, 0.01], [0.08, 0.02]], dtype=torch.float64)
        >>> share = fitted_share(cells, errors, roughness=4 * errors, floor=1e-6)
        >>> bool((share.of(cells) * (4 * errors) ** share.power >= errors).all())  # of these rows
        True
    """
    fits = []
    for power in POWERS:
        shares = errors.clamp(min=floor) / roughness.clamp(min=floor) ** power
        falls = power_of_cells(cells, shares, CAUTIOUS.falls)
        at_eight, spread = _upper(shares * (cells.double() / 8) ** falls)
        fits.append((spread, ErrorShare(at_eight, falls, ANYTHING, power)))
    return min(fits, key=lambda fit: fit[0])[1]


def _upper(shares: Tensor) -> tuple[float, float]:
    """The share that covers rows like these (rows, values), and how far it is above the median, in logarithms."""
    logarithms = shares.log().flatten()
    upper = float(logarithms.quantile(COVERED))
    spread = upper - float(logarithms.median())
    margin = MARGIN * (SIXTEEN / min(len(shares), SIXTEEN)) ** FEWER
    return margin * math.exp(upper + UNCERTAIN * min(spread, WIDEST)), spread


def power_of_cells(cells: Tensor, values: Tensor, unknown: float) -> float:
    """The power p, from 0 to 2.5, with which the larger values (rows, levels) fall like n^-p.

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
    return min(max(-float((centred * level).sum() / centred.square().sum()), 0.0), 2.5)


def share_of_movement(shares: Tensor) -> float:
    """The share of `expected_after` that covers rows like these (rows, pairs), from errors over it; 0 for none.

    Example:
        >>> share_of_movement(torch.zeros(4, 0))
        0.0
    """
    return _upper(shares)[0] if shares.numel() else 0.0
