"""Reported errors of quadrature: figures that cover the true error of a map in 95 % of rows, without shouting."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .node_record import NodeErrors

__all__ = [
    "Evidence",
    "adaptive_error",
    "completeness_gap",
    "directional_factor",
    "doubt",
    "effective_directions",
    "fixed_rule_error",
    "percentile_factor",
    "ratio",
    "suspected_squares",
]


@dataclass(frozen=True)
class Evidence:
    """Per-row scalars gathered from every node that a rule evaluates.

    Attributes:
        squares: (rows,) Σ_k ‖a_k‖², with a_k = Δ ⊙ φ'(u_k) ∇f the integrand at node k.
        squared_sums: (rows,) Σ_k (1ᵀ a_k)².
        largest_score: (rows,) max_k |f|.

    Example:
        >>> evidence = Evidence.none_yet(torch.zeros(1, 2))
        >>> evidence.add(torch.tensor([0, 0]), torch.tensor([[3.0, 4.0], [0.0, 1.0]]), torch.tensor([1.0, -6.0]))
        >>> evidence.squares.tolist(), evidence.squared_sums.tolist(), evidence.largest_score.tolist()
        ([26.0], [50.0], [6.0])
    """

    squares: Tensor
    squared_sums: Tensor
    largest_score: Tensor

    @classmethod
    def none_yet(cls, like: Tensor) -> Evidence:
        """For a block of rows shaped as `like` (rows, D)."""
        zeros = like.new_zeros(len(like), dtype=torch.float64)
        return cls(zeros, zeros.clone(), zeros.clone())

    def add(self, row: Tensor, integrand: Tensor, values: Tensor) -> None:
        """Take note of some nodes: their rows (k,), integrand (k, D) and scores (k,)."""
        # in float64 before they are squared: scores of 1e-25 or 1e20 are somebody's probabilities or units
        lengths = torch.linalg.vector_norm(integrand, dim=1, dtype=torch.float64)
        self.squares.index_add_(0, row, lengths.square())
        self.squared_sums.index_add_(0, row, integrand.sum(dim=1, dtype=torch.float64).square())
        self.largest_score.scatter_reduce_(0, row, values.double().abs(), "amax")

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


FEW_JUMPS = 2.0
LONGEST_TAIL = 3.0
UNLIKELY_GAP = 3.0
MOST_SUSPICION = 4.0
CURVATURE = 1.5
DOUBT = 0.4
SMOOTH = 0.5
SEEN_SMOOTH = 0.25
"""Roughness below which an integrand is seen to be smooth at the distance of its nodes; see `NodeErrors`."""


def adaptive_error(
    errors: NodeErrors,
    attribution: Tensor,
    score_difference: Tensor,
    rounding: Tensor,
    *,
    smooth: bool,
    dtype: torch.dtype,
) -> Tensor:
    """Relative error of a composite trapezoid rule, reported so that it covers the truth in 95 % of rows.

    Jumps and curvature of the integrand show in the second differences of the nodes; see `NodeRecord`.
    The squared error of N equal jumps has a 95th percentile of 1 + 1.47 / √N times its mean, and never more
    than 3 times (a jump at the end of its cell); N follows from how unequal the cells are, and is itself
    uncertain where cells are few. A completeness gap that such jumps would hardly cause tells of others,
    between nodes, and the error is never less than what it shows. Of a network without kinks, the smoother its
    integrand is seen to be, the more the second differences overstate the error, which falls faster than they do.
    `make bench-error-bars` compares this with the formulas that were not adopted.

    Arguments:
        errors: from the nodes.
        attribution: (open, D) float64, the map.
        score_difference: (open,) float64, f(x) − f(x').
        rounding: (open,) float64, of the scores.
        smooth: the network has no operation with kinks.
        dtype: of the computation, whose rounding no error bar can undercut.

    Returns:
        (open,) reported error; 0 where the map and its error are exactly 0.

    Example:
        >>> cells, row = torch.full((1, 4), 0.01, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
        >>> errors = NodeErrors(cells, cells, row, row + 0.2, row + 5, cells, row + 1)
        >>> attribution = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
        >>> facts = {"smooth": False, "dtype": torch.float32}
        >>> seen = adaptive_error(errors, attribution, row + 7, row, **facts)  # the sum misses 2
        >>> unseen = adaptive_error(errors, attribution, row + 5, row, **facts)
        >>> bool(seen >= 2 / 5), bool(0.04 < unseen < 0.1)
        (True, True)
    """
    squares = errors.squares.sum(dim=1)
    tail = (1 + FEW_JUMPS / _jumps(errors).sqrt()).clamp(max=LONGEST_TAIL).sqrt()
    gap = completeness_gap(errors, score_difference, rounding)
    suspicion = (gap / errors.sum_spread.clamp(min=1e-300) / UNLIKELY_GAP).clamp(max=MOST_SUSPICION)
    jumps = _jumpiness(errors, smooth=smooth)
    spread = squares.sqrt() * (SMOOTH + (1 - SMOOTH) * jumps)
    tail = torch.where(jumps > 0, tail, 1.0)  # the places of jumps are chance, curves are none
    length = torch.hypot(spread * torch.maximum(tail, suspicion), CURVATURE * errors.curvature)
    length = torch.maximum(length, gap)
    return _with_rounding(ratio(length, torch.linalg.vector_norm(attribution, dim=1)), dtype)


def _jumpiness(errors: NodeErrors, *, smooth: bool) -> Tensor:
    """(open,) 0 where the integrand of a network without kinks is seen to be smooth, 1 where it might jump."""
    if not smooth:
        return torch.ones_like(errors.roughness)
    return ((errors.roughness - SEEN_SMOOTH) / (1 - SEEN_SMOOTH)).clamp(0, 1)


def _jumps(errors: NodeErrors) -> Tensor:
    """(open,) effective number of cells that jump: how many equal ones would scatter as much."""
    squares = errors.squares
    return (squares.sum(dim=1).square() / squares.square().sum(dim=1).clamp(min=1e-300)).clamp(min=1e-9)


def doubt(errors: NodeErrors, looks: int, *, smooth: bool) -> Tensor:
    """(open,) how many times its reported error a row should keep below the tolerance at which it stops.

    Whoever looks again and again, and stops at the first figure that is small enough, stops too early more often
    than the figure is wrong: the fewer the jumps, the more it varies. The reported error stays as it is. Of ReLU
    MLPs, 2 to 8 % of rows ended beyond a tolerance of .1 or 1 %, with this factor 1 to 5 %, for 8 % more gradients
    (`make bench-untuned`).

    Arguments:
        errors: from the nodes.
        looks: passes so far, at each of which the row might have stopped.
        smooth: the network has no operation with kinks.

    Example:
        >>> cells, row = torch.tensor([[4.0, 0, 0, 0], [1, 1, 1, 1]]), torch.zeros(2)
        >>> one_jump_and_four = NodeErrors(cells, cells, row, row, row, cells, torch.ones(2))
        >>> doubt(one_jump_and_four, 1, smooth=False).tolist()
        [1.0, 1.0]
        >>> doubt(one_jump_and_four, 2, smooth=False).tolist()
        [1.2000000476837158, 1.100000023841858]
    """
    few = 1 + DOUBT * (1 - 1 / looks) / _jumps(errors).clamp(min=1).sqrt()
    return torch.where(_jumpiness(errors, smooth=smooth) > 0, few, 1.0)


def completeness_gap(errors: NodeErrors, score_difference: Tensor, rounding: Tensor) -> Tensor:
    """(open,) float64, by how much the map misses the score difference, beyond the rounding of the scores.

    Example:
        >>> cells, row = torch.zeros(1, 4), torch.zeros(1)
        >>> errors = NodeErrors(cells, cells, row, row, row + 5, cells, row)
        >>> completeness_gap(errors, score_difference=torch.tensor([7.0]), rounding=torch.tensor([0.5])).tolist()
        [1.5]
    """
    return ((errors.sum - score_difference).abs() - rounding).clamp(min=0)


def suspected_squares(errors: NodeErrors, gap: Tensor) -> Tensor:
    """(open, cells) squared error to be expected of each cell: seen in its nodes, or shown by a gap.

    What a gap (open,) shows may lie in any cell, in each with a chance that goes with the square of its width:
    cells that look flat are looked at again, too.

    Example:
        >>> seen, row, width = torch.tensor([[4.0, 0.0]]), torch.zeros(1), torch.tensor([[0.5, 0.5]])
        >>> suspected_squares(NodeErrors(seen, seen, row, row, row, width, row), gap=torch.tensor([2.0])).tolist()
        [[6.0, 2.0]]
    """
    squared = errors.width.square()
    return errors.squares + gap.square()[:, None] * squared / squared.sum(dim=1, keepdim=True).clamp(min=1e-300)


def _with_rounding(error: Tensor, dtype: torch.dtype) -> Tensor:
    rounding = torch.full_like(error, 8 * torch.finfo(dtype).eps)
    return torch.where(error > 0, torch.hypot(error, rounding), error)


def fixed_rule_error(
    halves: Tensor, shares: Tensor, score_difference: Tensor, evidence: Evidence, error_share: float
) -> Tensor:
    """Relative error of a rule from the two sums over its even and its odd nodes.

    The halves A and B, each taken as a rule of its own, relate to each other as trapezoid and midpoint
    do in nested rules: a share of ‖A − B‖ bounds the error of a jump.

    Arguments:
        halves: (rows, 2, D) weighted sums of Δ ⊙ gradient over the even and the odd nodes.
        shares: (2,) sum of the weights of each half.
        score_difference: (rows,) f(x) − f(x').
        evidence: gathered from all nodes.
        error_share: of the rule, see `FixedRule`.

    Returns:
        (rows,) reported error; generous on smooth networks, whose symmetric rules converge faster.

    Example:
        >>> halves = torch.tensor([[[1.5, 1.5], [1.5, 1.5]]])  # even and odd nodes agree, and the sum is right
        >>> evidence = Evidence.none_yet(torch.zeros(1, 2))
        >>> fixed_rule_error(halves, torch.tensor([0.5, 0.5]), torch.tensor([6.0]), evidence, 0.5).tolist()
        [0.0]
        >>> apart = torch.tensor([[[1.0, 1.5], [2.0, 1.5]]])
        >>> round(fixed_rule_error(apart, torch.tensor([0.5, 0.5]), torch.tensor([6.0]), evidence, 0.5).item(), 3)
        0.236
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
    in ν effective directions; ν comes from the replicates' covariance (with the bias of a small R removed), and
    stays below R: replicates are few, and their tails heavier than normal.

    Arguments:
        sketches: (rows, R, s) sketches of the replicates.

    Returns:
        (rows,) factors, from 1 (many directions) to sqrt(F₀.₉₅(1, R − 1)) (one direction).

    Example:
        >>> draw = torch.Generator().manual_seed(0)
        >>> many, few = torch.randn(1, 64, 64, generator=draw), torch.randn(1, 8, 1, generator=draw)
        >>> percentile_factor(many).item() < 1.5 < 2 < percentile_factor(few).item()
        True
    """
    centred = sketches.double() - sketches.double().mean(dim=1, keepdim=True)
    count = sketches.shape[1]
    directions = effective_directions(centred, count - 1)
    # no more directions than replicates: a few of them cannot tell a spectrum that decays from a flat one
    return directional_factor(1 / (1 / directions + 1 / count), count - 1)


def directional_factor(directions: Tensor, freedom: int) -> Tensor:
    """The same for a known number of effective directions (rows,), from `freedom` independent vectors.

    Example:
        >>> directional_factor(torch.tensor([1e6]), 10**6).round(decimals=2).tolist()  # nothing is left to chance
        [1.0]
    """
    directions = directions.clamp(min=1)
    return _f_quantile(directions, directions * freedom).sqrt()


def effective_directions(vectors: Tensor, freedom: int) -> Tensor:
    """In how many directions vectors vary, (trace Σ)² / trace Σ², at least 1.

    Arguments:
        vectors: (rows, k, s), whose squares sum to `freedom` times Σ, such as deviations from a mean.
        freedom: degrees of freedom, at least 2.

    Example:
        >>> effective_directions(torch.eye(3)[None], 3).tolist()
        [3.0]
    """
    gram = vectors @ vectors.transpose(1, 2) / freedom
    trace = gram.diagonal(dim1=1, dim2=2).sum(dim=1)
    square = gram.square().sum(dim=(1, 2)) - trace.square() / freedom
    unbiased = square * freedom**2 / ((freedom - 1) * (freedom + 2))
    directions = trace.square() / unbiased.clamp(min=1e-300) - 2 / freedom
    return directions.clamp(1, vectors.shape[2])


def _f_quantile(numerator: Tensor, denominator: Tensor) -> Tensor:
    """95th percentile of the F distribution, by Paulson's approximation (within 5 % from 3 degrees on)."""
    z = 1.6448536
    a, b = 2 / (9 * numerator), 2 / (9 * denominator)
    root = ((1 - b).square() * a + (1 - a).square() * b - z * z * a * b).sqrt()
    return (((1 - a) * (1 - b) + z * root) / ((1 - b).square() - z * z * b)) ** 3


def ratio(error: Tensor, size: Tensor) -> Tensor:
    """(*shape) error / size, and 0 where both are 0: a map that is exactly zero is exactly known.

    Example:
        >>> ratio(torch.tensor([1.0, 0.0]), torch.tensor([4.0, 0.0])).tolist()
        [0.25, 0.0]
    """
    return torch.where((error == 0) & (size == 0), torch.zeros_like(error), error / size)
