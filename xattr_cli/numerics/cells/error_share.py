"""Reported errors of integrals made of secant cells: shares of what passes tell, known of networks or of rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .evidence import CellEvidence

__all__ = [
    "CAUTIOUS",
    "FEWEST",
    "ErrorShare",
    "fitted_moves",
    "fitted_share",
    "moves_per_size",
    "power_of_cells",
    "rounding_of",
    "secant_error",
]


@dataclass(frozen=True)
class ErrorShare:
    """What is reported of the roughness of a first pass, and of what later ones leave of the moves of cells.

    One unit that switches is integrated exactly wherever it does; what is left comes from pairs of units in one
    cell, so the error falls faster than the differences between neighbours do, which fall like 1 / n.

    Attributes:
        at_eight, falls, most: in 95 % of rows the relative error of a first pass is at most
            min(most, at_eight · (8 / n)^falls) times (s₁ / ‖map‖)^power.
        power: 1 where rows of large differences between neighbours are the bad ones, 0 where they tell nothing.
        moves: ... and of a later one at most these shares of what is left of the moves of cells cut into k parts,
            times k^(½ − converges), one for each of `MIXES`; infinite where the other one is to be taken.
        converges: errors fall like n^-converges.

    Example:
        >>> ErrorShare(at_eight=0.25, falls=1.0).of(torch.tensor([4, 16])).tolist()
        [0.5, 0.125]
    """

    at_eight: float
    falls: float
    most: float = 0.5
    power: float = 1.0
    moves: tuple[float, float] = (math.inf, 1.2)
    converges: float = 1.5

    def of(self, cells: Tensor) -> Tensor:
        """Of numbers of cells (k,), as float64."""
        return (self.at_eight * (8 / cells.double()) ** self.falls).clamp(max=self.most)


CAUTIOUS = ErrorShare(0.4, 0.4, moves=(4.5, 1.7), converges=1.2)
"""For a network of which nothing is known: that of photographs through efficientnet-lite0, the largest measured.

95th percentiles of true error over s₁ at 4, 8, 16, 24 and 36 cells: efficientnet-lite0 –, .39, .32, .30, .22; ReLU
CNN with max-pool .20, .14, .12; MLPs .05–.32, .04–.13, .02–.06; GRU .14, .07, .05; GELU MLP .008, .005, .004. Of
true error over what a move alone leaves: ReLU MLPs 3.8–5.0, ReLU CNN 2.3, smooth networks .9–1.2; over what it
leaves together with the differences of sisters: see `FEW`, with room for networks that those were not.
"""

FEW = 1.5
"""Of one inexact cell no more is known than that two functions bend in it: what it misses varies from row to row
far more than what many miss together. 95th percentiles of true error over what is left of moves, small ReLU
networks, cells cut into 2, 3 and 5: of one cell 2.0 to 3.0, of two 1.3 to 2.1, three 1.4 to 2.1, four 1.2 to 1.9,
six and more .7 to 1.5.
"""

FEWEST = 3
"""Cells below which neighbours tell nothing."""


def secant_error(evidence: CellEvidence, share: ErrorShare = CAUTIOUS) -> Tensor:
    """(open,) relative error of the maps; of those whose cells are all exact it is rounding.

    Infinite after a first pass of fewer than three cells that are not exact.

    Example:
        >>> row, none = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.bool)
        >>> def error(inexact, left=None):
        ...     cells = torch.tensor([inexact]), torch.tensor([4])
        ...     left = None if left is None else left * torch.stack([row, row])
        ...     some = CellEvidence(row, *cells, none, 0.1 * row, none, left, 2 * row, torch.float32)
        ...     share = ErrorShare(0.4, 0.0, moves=(math.inf, 2.0), converges=1.5)
        ...     return round(secant_error(some, share).item(), 4)
        >>> error(4), error(1, left=0.01), error(0, left=0.01)
        (0.04, 0.025, 0.0)
    """
    size = evidence.size.clamp(min=1e-300)
    error = share.of(evidence.cells) * (evidence.roughness / size) ** share.power
    error = torch.where(evidence.cells < FEWEST, torch.inf, error)
    if evidence.left is not None:
        lefts = size.new_tensor(share.moves)[:, None] * moves_per_size(evidence, share.converges)
        # of few cells the move alone tells little, as it is small where both kinks lie near an end
        few = lefts[1] if math.isfinite(share.moves[1]) else lefts[0]
        error = torch.where(evidence.whole, torch.minimum(error, lefts.amin(dim=0)), few)
    rounding = torch.full_like(error, rounding_of(evidence.dtype))
    error = torch.where(evidence.inexact > 0, torch.hypot(error, rounding), rounding)
    error = torch.where(evidence.straight & error.isfinite(), 0.0, error)
    return torch.where(evidence.roughness.isfinite(), error, torch.inf)


def moves_per_size(evidence: CellEvidence, converges: float) -> Tensor:
    """(2, open) what later passes report a share of, for each of `MIXES`.

    Raises:
        ValueError: the evidence is of a first pass.

    Example:
        >>> row, none = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.bool)
        >>> cells = torch.tensor([1]), torch.tensor([2])
        >>> some = CellEvidence(row, *cells, none, row, none, 0.1 * torch.ones(2, 1), 2 * row, torch.float32)
        >>> moves_per_size(some, converges=1.5).round(decimals=3).tolist()  # one cell: 2.5 times .1, halved
        [[0.125], [0.125]]
    """
    if evidence.left is None:
        raise ValueError("a first pass has no moves")
    few = 1 + FEW / evidence.inexact.clamp(min=1).double()
    return few * evidence.left / evidence.size.clamp(min=1e-300) * evidence.times ** (0.5 - converges)


def rounding_of(dtype: torch.dtype) -> float:
    """Relative error of a map that comes from the precision alone.

    Example:
        >>> rounding_of(torch.float32) < 1e-6
        True
    """
    return 8 * torch.finfo(dtype).eps


ANYTHING = 1e6
"""Largest share that was measured on a job's own rows: as large as they say."""
POWERS = (0.0, 0.5, 1.0)
COVERED = 0.95
"""Percentile of the shares of some rows at some numbers of cells that is taken, times a margin."""
MARGIN = 1.08
UNCERTAIN, WIDEST = 0.5, 1.2
"""... that grows with the distance of this percentile from the median, in logarithms: what 16 rows tell of it is
uncertain by half the spread of rows, what 64 tell by a quarter. With .4, two of 120 lines of networks that nobody
tuned for had 94.5 %. Exact rows are as far from others as rounding is.
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
    are integrated nearly exactly and others are not, so that a mean and a spread of their logarithms would say
    nothing. In some networks rough rows are the bad ones, in others not: what tells the rows apart best is taken.

    Arguments:
        cells: (levels,) int64, increasing.
        errors: (rows, levels) float64, true relative errors of at least two rows; NaN where all cells are exact.
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


def fitted_moves(errors: Tensor, left: Tensor) -> tuple[float, float]:
    """Shares of what is left of moves of which one covers 95 of 100 rows like these: that which tells them apart.

    Arguments:
        errors: (rows, pairs) float64, true relative errors of later passes; NaN where all cells are exact.
        left: (2, rows, pairs) `moves_per_size` of the same.

    Example:
        >>> errors = torch.tensor([[0.01, 0.02], [0.03, 0.04]], dtype=torch.float64)
        >>> alone, together = fitted_moves(errors, torch.stack([errors / 2, 0 * errors + 0.1]))
        >>> alone >= 2, together  # the move itself tells all
        (True, inf)
    """
    if int(errors.isfinite().any(dim=1).sum()) < 2:
        return CAUTIOUS.moves
    (alone, spread), (together, spread_together) = (_upper(errors / each) for each in left)
    if spread <= spread_together:
        return alone, math.inf
    # known of many networks: a margin for what some rows do not tell is not needed
    shares = errors / left[1]
    seen = float(shares[shares.isfinite()].quantile(COVERED))
    return math.inf, min(together, max(seen, CAUTIOUS.moves[1]))


def _upper(shares: Tensor) -> tuple[float, float]:
    """The share that covers rows like these (rows, values), and how far it is above the median, in logarithms."""
    known = shares.isfinite()
    rows = int(known.any(dim=1).sum())
    logarithms = shares[known].log()
    upper = float(logarithms.quantile(COVERED))
    spread = upper - float(logarithms.median())
    margin = MARGIN * (SIXTEEN / min(rows, SIXTEEN)) ** FEWER
    uncertain = UNCERTAIN * (SIXTEEN / max(rows, SIXTEEN)) ** 0.5
    return margin * math.exp(upper + uncertain * min(spread, WIDEST)), spread


def power_of_cells(cells: Tensor, values: Tensor, unknown: float) -> float:
    """The power p, from 0 to 2.5, with which the larger values (rows, levels) fall like n^-p.

    `unknown` where they are 0 or NaN, or all of one level.

    Example:
        >>> cells = torch.tensor([4, 8])
        >>> round(power_of_cells(cells, torch.tensor([[0.4, 0.1], [0.8, 0.2]]), 0.0), 6)
        2.0
    """
    largest = values.nan_to_num(nan=0.0).amax(dim=0)
    some = largest > 0
    if int(some.sum()) < 2:
        return unknown
    # rows that are nearly exact say nothing about how fast others become so
    level = torch.maximum(values, EXACT * largest)[:, some].log().nanmean(dim=0)
    x = cells.double()[some].log()
    centred = x - x.mean()
    return min(max(-float((centred * level).sum() / centred.square().sum()), 0.0), 2.5)
