"""Expectations of a path gradient over random baselines, sampled until each row is as accurate as asked."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...samples import Status
from ..paths.error_bar import percentile_factor, ratio
from ..paths.field import Field, Part
from ..paths.sampling import Replicates, SamplingRule, draw_replicates
from ..paths.sketch import CountSketch
from ..paths.straight import group_equal
from ..student import student_factor

__all__ = ["SKETCH_SIZE", "PathExpectation", "Tally", "expected_path_gradient"]


SKETCH_SIZE = 32


@dataclass(frozen=True)
class PathExpectation:
    """What sampling found about the rows of a block.

    Attributes:
        attribution: (rows, D), E[(x − x') ⊙ ∇f(x' + α(x − x'))].
        standard_error: (rows, D), of `attribution` by the spread of the replicates, widened by Student's factor.
        relative_error: (rows,) float64, reported bound on ‖result − truth‖ / ‖result‖.
        evaluations: (rows,) int64 gradients.
        status: (rows,) int8, of `Status`.

    Example:
        >>> one, none = torch.ones(1), torch.zeros(1, dtype=torch.int64)
        >>> found = PathExpectation(torch.ones(1, 2), torch.zeros(1, 2), 0.02 * one, 64 + none, none)
        >>> bool(found.status[0] == Status.CONVERGED), found.evaluations.tolist()
        (True, [64])
    """

    attribution: Tensor
    standard_error: Tensor
    relative_error: Tensor
    evaluations: Tensor
    status: Tensor

    @classmethod
    def unknown(cls, input: Tensor) -> PathExpectation:
        """Of rows (rows, D) before anything is known of them: quarantined until they are closed."""
        unknown = input.new_full((len(input),), torch.nan, dtype=torch.float64)
        return cls(
            attribution=torch.full_like(input, torch.nan),
            standard_error=torch.full_like(input, torch.nan),
            relative_error=unknown,
            evaluations=torch.zeros_like(unknown, dtype=torch.int64),
            status=torch.full_like(unknown, Status.QUARANTINED, dtype=torch.int8),
        )


@dataclass(frozen=True)
class _BackgroundPoints:
    """Points between a row's input and a background draw, interpolated only when they are taken."""

    input: Tensor
    background: Tensor
    row: Tensor
    draw: Tensor
    t: Tensor
    place: Tensor | None

    def take(self, part: Part) -> Tensor:
        start, stop = self.background[self.draw[part]], self.input[self.row[part]]
        return start.lerp(stop, self.t[part, None])

    def delta(self, part: Part) -> Tensor:
        return self.input[self.row[part]] - self.background[self.draw[part]]


class Tally:
    """Mean, spread and sketches of the replicates of each open row, updated as they come (Chan's method).

    Arguments:
        rows: open rows.
        dim: numbers that are estimated for each.
        like: a tensor on the device.

    Example:
        >>> tally = Tally(rows=1, dim=2, like=torch.zeros(1))
        >>> for estimate in (1.0, 3.0):
        ...     replicate = torch.full((1, 2), estimate, dtype=torch.float64)
        ...     tally.add(replicate, replicate)
        >>> tally.mean.tolist(), tally.standard_error().tolist()
        ([[2.0, 2.0]], [[1.0, 1.0]])
    """

    def __init__(self, rows: int, dim: int, like: Tensor) -> None:
        self.count = 0
        # float64: squares of the attributions of a probability of 1e-25 would vanish in float32
        self.mean = like.new_zeros(rows, dim, dtype=torch.float64)
        self.squares = torch.zeros_like(self.mean)
        self.sketches = self.mean.new_zeros(rows, 0, min(SKETCH_SIZE, dim))

    def add(self, estimates: Tensor, sketches: Tensor) -> None:
        """One replicate: estimates (rows, D), their sketches (rows, size)."""
        self.count += 1
        step = estimates - self.mean
        self.mean += step / self.count
        self.squares += step * (estimates - self.mean)
        self.sketches = torch.cat([self.sketches, sketches[:, None]], dim=1)

    def standard_error(self) -> Tensor:
        """(rows, D), of the mean; its own uncertainty is not in it, see `student_factor`."""
        return (self.squares / (self.count * (self.count - 1))).clamp(min=0).sqrt()

    def keep(self, rows: Tensor) -> None:
        """Forget the rows that are done."""
        self.mean, self.squares = self.mean[rows], self.squares[rows]
        self.sketches = self.sketches[rows]


def expected_path_gradient(
    field: Field, input: Tensor, background: Tensor, sample: Tensor, rule: SamplingRule
) -> PathExpectation:
    """E over baselines x' and α of (x − x') ⊙ ∇f(x' + α(x − x')) for every row of a block.

    Reference: Erion et al. 2021, "Improving performance of deep learning models with axiomatic
    attribution priors and expected gradients", equation 3.

    Arguments:
        field: evaluates f and ∇f.
        input: (rows, D).
        background: (m, D), baselines of equal weight.
        sample: (rows,) identity of each row's sample: the key of its draws.
        rule: how many draws, and when to stop.

    Example:
        >>> from xattr_cli.numerics.examples import ProductField
        >>> rule = SamplingRule(rtol=0.05, max_draws=4096, replicate_size=16, replicates=4, seed=0)
        >>> x, background = torch.tensor([[2.0, 3.0]]), torch.zeros(1, 2)
        >>> found = expected_path_gradient(ProductField(), x, background, torch.tensor([0]), rule)
        >>> found.attribution.round().tolist(), bool(found.relative_error <= 0.05)  # x₀ x₁ / 2 each
        ([[3.0, 3.0]], True)
    """
    rows, dim = input.shape
    sketch = CountSketch(dim, SKETCH_SIZE, device=input.device, dtype=torch.float64)
    result = PathExpectation.unknown(input)
    open_rows = torch.arange(rows, device=input.device)
    tally = Tally(rows, dim, input)
    count = rule.replicates
    while open_rows.numel():
        draws = draw_replicates(
            rule.seed,
            sample[open_rows.cpu()].tolist(),
            first=tally.count,
            count=count,
            size=rule.replicate_size,
            background=len(background),
        )
        _evaluate(field, input, background, sample, open_rows, draws, tally, sketch)
        remaining = _close(result, open_rows, tally, rule)
        open_rows = open_rows[remaining]
        tally.keep(remaining)
        count = tally.count
    return result


def _evaluate(
    field: Field,
    input: Tensor,
    background: Tensor,
    sample: Tensor,
    open_rows: Tensor,
    draws: Replicates,
    tally: Tally,
    sketch: CountSketch,
) -> None:
    """Add every replicate of `draws` to the tally, one at a time so that memory does not grow with them."""
    rows, count, size = draws.t.shape
    slot = torch.arange(rows, device=input.device).repeat_interleave(size)
    # rows of one sample have the same draws
    which = torch.arange(size, device=input.device).repeat(rows)
    shared = group_equal(sample.to(input.device)[open_rows[slot]] * size + which)
    order, place = shared if shared else (torch.arange(len(slot), device=slot.device), None)
    slot = slot[order]
    for j in range(count):
        points = _BackgroundPoints(
            input,
            background,
            row=open_rows[slot],
            draw=torch.from_numpy(draws.draw[:, j].reshape(-1)).to(input.device)[order],
            t=torch.from_numpy(draws.t[:, j].reshape(-1)).to(input)[order],
            place=place,
        )
        total = input.new_zeros(rows, input.shape[1])
        for evaluation in field.gradients(points):
            part = evaluation.part
            total.index_add_(0, slot[part], points.delta(part) * evaluation.gradients)
        estimates = total.double() / size
        tally.add(estimates, sketch(estimates))


def _close(result: PathExpectation, rows: Tensor, tally: Tally, rule: SamplingRule) -> Tensor:
    """Write down the rows that are done; True for those that stay open."""
    standard_error = tally.standard_error()
    size = torch.linalg.vector_norm(tally.mean, dim=1)
    spread = torch.linalg.vector_norm(standard_error, dim=1)
    error = ratio(spread * percentile_factor(tally.sketches), size)
    draws = tally.count * rule.replicate_size
    finite = torch.isfinite(tally.mean).all(dim=1)
    converged = finite & (error <= rule.rtol)
    exhausted = 2 * draws > rule.max_draws
    done = finite if exhausted else converged
    closing = rows[done]
    result.attribution[closing] = tally.mean[done].to(result.attribution)
    widened = student_factor(tally.count - 1) * standard_error
    result.standard_error[closing] = widened[done].to(result.standard_error)
    result.relative_error[closing] = error[done]
    result.status[closing] = torch.where(converged, Status.CONVERGED, Status.NOT_CONVERGED)[done].to(torch.int8)
    result.evaluations[rows] = draws
    return finite & ~done
