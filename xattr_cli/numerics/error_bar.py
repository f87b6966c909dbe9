"""Reported errors of quadrature: figures that cover the true error of a map in 95 % of rows, without shouting."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Evidence", "fixed_rule_error", "nested_error", "percentile_factor", "ratio"]


@dataclass(frozen=True)
class Evidence:
    """Per-row scalars gathered from every node that a rule evaluates.

    Attributes:
        squares: (rows,) Σ_k ‖a_k‖², with a_k = Δ ⊙ φ'(u_k) ∇f the integrand at node k.
        squared_sums: (rows,) Σ_k (1ᵀ a_k)².
        largest_score: (rows,) max_k |f|.
        last_difference: (rows,) ‖T_n − M_n‖ of the level before; NaN at the first.
    """

    squares: Tensor
    squared_sums: Tensor
    largest_score: Tensor
    last_difference: Tensor

    @classmethod
    def none_yet(cls, like: Tensor) -> Evidence:
        """For a block of rows shaped as `like` (rows, D)."""
        zeros = like.new_zeros(len(like), dtype=torch.float64)
        return cls(zeros, zeros.clone(), zeros.clone(), zeros * torch.nan)

    def add(self, row: Tensor, integrand: Tensor, values: Tensor) -> None:
        """Take note of some nodes: their rows (k,), integrand (k, D) and scores (k,)."""
        # in float64 before they are squared: scores of 1e-25 or 1e20 are somebody's probabilities or units
        lengths = torch.linalg.vector_norm(integrand, dim=1, dtype=torch.float64)
        self.squares.index_add_(0, row, lengths.square())
        self.squared_sums.index_add_(0, row, integrand.sum(dim=1, dtype=torch.float64).square())
        self.largest_score.scatter_reduce_(0, row, values.double().abs(), "amax")

    def decrease(self, difference: Tensor, rows: Tensor) -> Tensor:
        """(open,) `difference` over that of the level before, which it replaces; NaN at the first level."""
        before = self.last_difference[rows]
        self.last_difference[rows] = difference
        return difference / before.clamp(min=1e-300)

    def missed(self, attribution: Tensor, score_difference: Tensor, rows: Tensor) -> Tensor:
        """(open,) length of an error that would show as the completeness gap found.

        The gap is the error's component along (1, …, 1); the ratio ‖a‖ / |1ᵀa| of the integrand itself
        turns it into a length.
        """
        gap = (attribution.sum(dim=1) - score_difference.double()).abs()
        # below the rounding of the scores themselves a gap says nothing
        rounding = 4 * torch.finfo(score_difference.dtype).eps * self.largest_score[rows]
        stretch = (self.squares[rows] / self.squared_sums[rows].clamp(min=1e-300)).sqrt()
        return (gap - rounding).clamp(min=0) * stretch.clamp(min=attribution.shape[1] ** -0.5)


def nested_error(
    difference: Tensor,
    decrease: Tensor,
    attribution: Tensor,
    missed: Tensor,
    *,
    intervals: int,
    smooth: bool,
    dtype: torch.dtype,
) -> Tensor:
    """Relative error of T_2n = (T_n + M_n) / 2, reported so that it covers the truth.

    Two witnesses that fail at different times. ‖T_n − M_n‖ / 2 bounds the error of a jump wherever it
    lies in its cell, but two jumps can cancel in it; the completeness gap sees such a miss. For a
    network without kinks T − M overstates the error, which then follows from how fast T − M falls.
    `make bench-error-bars` compares this with the formulas that were not adopted.

    Arguments:
        difference: (open,) ‖Δ ⊙ (T_n − M_n)‖.
        decrease: (open,) by which factor it is smaller than one level before; NaN at the first.
        attribution: (open, D) Δ ⊙ T_2n.
        missed: (open,) length of an error that the completeness gap tells of; see `Evidence.missed`.
        intervals: n.
        smooth: the network has no kinks.
        dtype: of the computation, whose rounding no error bar can undercut.

    Returns:
        (open,) reported error; 0 where the map and its error are exactly 0.
    """
    size = torch.linalg.vector_norm(attribution, dim=1)
    if not smooth:
        return _with_rounding(ratio(torch.hypot(difference / 2, missed), size), dtype)
    share = torch.full_like(difference, 0.25)
    if intervals >= 16:  # on fewer nodes the rate of decrease is luckily small now and then
        # nor does it stay what it is: steep but smooth functions would be trusted too early below 1/16
        share = (4 * decrease.square()).nan_to_num(0.25).clamp(min=1 / 16, max=0.25)
    return _with_rounding(ratio(torch.maximum(share * difference, 3 * missed), size), dtype)


def _with_rounding(error: Tensor, dtype: torch.dtype) -> Tensor:
    rounding = torch.full_like(error, 4 * torch.finfo(dtype).eps)
    return torch.where(error > 0, torch.hypot(error, rounding), error)


def fixed_rule_error(
    halves: Tensor, shares: Tensor, score_difference: Tensor, evidence: Evidence, error_share: float
) -> Tensor:
    """Relative error of a rule from the two sums over its even and its odd nodes.

    The halves A and B, each taken as a rule of its own, relate to each other as trapezoid and midpoint
    do in `nested_error`: a share of ‖A − B‖ bounds the error of a jump.

    Arguments:
        halves: (rows, 2, D) weighted sums of Δ ⊙ gradient over the even and the odd nodes.
        shares: (2,) sum of the weights of each half.
        score_difference: (rows,) f(x) − f(x').
        evidence: gathered from all nodes.
        error_share: of the rule, see `FixedRule`.

    Returns:
        (rows,) reported error; generous on smooth networks, whose symmetric rules converge faster.
    """
    attribution = halves.sum(dim=1).double()
    apart = (halves[:, 0] / shares[0] - halves[:, 1] / shares[1]).double()
    rows = torch.arange(len(halves), device=halves.device)
    missed = evidence.missed(attribution, score_difference, rows)
    error = torch.hypot(torch.linalg.vector_norm(apart, dim=1) * error_share, missed)
    return ratio(error, torch.linalg.vector_norm(attribution, dim=1))


def percentile_factor(sketches: Tensor) -> Tensor:
    """How many times its root-mean-square the error of a mean of replicates is, at the 95th percentile.

    The squared error over its estimate follows F(ν, ν (R − 1)) for R replicates of a vector that varies
    in ν effective directions; ν comes from the replicates' covariance (with the bias of a small R removed).

    Arguments:
        sketches: (rows, R, s) sketches of the replicates.

    Returns:
        (rows,) factors, from 1 (many directions) to sqrt(F₀.₉₅(1, R − 1)) (one direction).
    """
    count = sketches.shape[1]
    centred = sketches.double() - sketches.double().mean(dim=1, keepdim=True)
    gram = centred @ centred.transpose(1, 2) / (count - 1)
    trace = gram.diagonal(dim1=1, dim2=2).sum(dim=1)
    square = gram.square().sum(dim=(1, 2)) - trace.square() / (count - 1)
    unbiased = square * (count - 1) ** 2 / ((count - 2) * (count + 1))
    directions = trace.square() / unbiased.clamp(min=1e-300) - 2 / (count - 1)
    directions = directions.clamp(1, sketches.shape[2])
    return _f_quantile(directions, directions * (count - 1)).sqrt()


def _f_quantile(numerator: Tensor, denominator: Tensor) -> Tensor:
    """95th percentile of the F distribution, by Paulson's approximation (within 5 % from 3 degrees on)."""
    z = 1.6448536
    a, b = 2 / (9 * numerator), 2 / (9 * denominator)
    root = ((1 - b).square() * a + (1 - a).square() * b - z * z * a * b).sqrt()
    return (((1 - a) * (1 - b) + z * root) / ((1 - b).square() - z * z * b)) ** 3


def ratio(error: Tensor, size: Tensor) -> Tensor:
    """error / size, and 0 where both are 0: a map that is exactly zero is exactly known."""
    return torch.where((error == 0) & (size == 0), torch.zeros_like(error), error / size)
