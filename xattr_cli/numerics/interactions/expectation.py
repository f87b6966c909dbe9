"""Expected Hessians: interactions from random baselines, sampled until each matrix is as accurate as asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...samples import Status
from ..backgrounds.expectation import SKETCH_SIZE, Tally
from ..paths.error_bar import percentile_factor, ratio
from ..paths.field import Part
from ..paths.sampling import SamplingRule, draw_replicates
from ..paths.sketch import CountSketch
from ..student import student_factor
from .grouping import Grouping, HessianField

__all__ = [
    "ExpectationRule",
    "InteractionExpectation",
    "expected_interactions",
    "sampled_positions",
    "sampling_bytes",
]


@dataclass(frozen=True)
class ExpectationRule:
    """How many draws, and when to stop.

    Attributes:
        sampling: replicates of baseline draws; its `max_draws` counts every position.
        positions: path positions of each baseline draw, one in each stratum of the path: for an integrand that
            changes slowly the variance falls with their third power, while more baselines only halve it.
        memory_bytes: what may be held at once, beside the result.

    Example:
        >>> ExpectationRule(SamplingRule(0.05, 4096, 8, 4, seed=0), positions=4, memory_bytes=2**30).positions
        4
    """

    sampling: SamplingRule
    positions: int
    memory_bytes: int

    @property
    def draws_per_replicate(self) -> int:
        """Points that a replicate takes."""
        return self.sampling.replicate_size * self.positions


@dataclass(frozen=True)
class InteractionExpectation:
    """What sampling found about the rows of a block; NaN in rows that met values that are not finite.

    Attributes:
        interaction: (rows, R, C), expected Γ of the chosen groups with the groups that are shown.
        interaction_error: (rows, R, C), standard error of `interaction` by the spread of replicates, widened
            by Student's factor.
        attribution: (rows, D), expected gradients from the same draws.
        attribution_error: (rows, D), its standard error.
        row_sum_gap: (rows, R) float64, Σ_G' Γ_GG' over all groups, less Σ_{i ∈ G} of the expected gradients:
            zero in the mean, so that it shows the noise.
        relative_error: (rows,) float64, reported bound on ‖Γ − truth‖ / ‖Γ‖, in Frobenius norms.
        draws: (rows,) int64; each took a gradient and R Hessian-vector products.
        status: (rows,) int8, of `Status`.

    Example:
        >>> from xattr_cli.numerics.examples import ProductField
        >>> groups = Grouping(torch.arange(2), count=2, chosen=torch.arange(2), shown=2)
        >>> rule = ExpectationRule(SamplingRule(0.05, 2**16, 8, 4, seed=0), positions=4, memory_bytes=2**24)
        >>> row, background = torch.tensor([[2.0, 3.0]]), torch.zeros(1, 2)
        >>> found = expected_interactions(ProductField(), row, background, torch.tensor([0]), groups, rule)
        >>> found.relative_error.item() <= 0.05, found.status.tolist()
        (True, [0])
    """

    interaction: Tensor
    interaction_error: Tensor
    attribution: Tensor
    attribution_error: Tensor
    row_sum_gap: Tensor
    relative_error: Tensor
    draws: Tensor
    status: Tensor


@dataclass(frozen=True)
class _Draws:
    """Points between a row's input and a background draw, interpolated only when they are taken."""

    input: Tensor
    background: Tensor
    row: Tensor
    draw: Tensor
    t: Tensor

    def take(self, part: Part) -> Tensor:
        return self.background[self.draw[part]].lerp(self.input[self.row[part]], self.t[part, None])

    def delta(self, part: slice) -> Tensor:
        return self.input[self.row[part]] - self.background[self.draw[part]]


def expected_interactions(
    field: HessianField,
    input: Tensor,
    background: Tensor,
    sample: Tensor,
    groups: Grouping,
    rule: ExpectationRule,
) -> InteractionExpectation:
    """E over baselines x' of the integrated Hessian from x' to x, for every row of a block.

    The product t of the paper's two path variables is drawn, from the density (1 − ln t) / 2: then the weights of
    interactions, of the diagonal and of expected gradients are at most 2, so that one draw serves all three.

    Reference: Janizek, Sturmfels, Lee 2021, arXiv 2002.04138, section 3.3.

    Arguments:
        field: evaluates f and its derivatives.
        input: (rows, D).
        background: (m, D), baselines of equal weight.
        sample: (rows,) identity of each row's sample: the key of its draws.
        groups: of coordinates.
        rule: how many draws, when to stop, and how much to hold at once.

    Example:
        >>> from xattr_cli.numerics.examples import ProductField
        >>> groups = Grouping(torch.arange(2), count=2, chosen=torch.arange(2), shown=2)
        >>> rule = ExpectationRule(SamplingRule(0.05, 2**16, 8, 4, seed=0), positions=4, memory_bytes=2**24)
        >>> row, background = torch.tensor([[2.0, 3.0]]), torch.zeros(1, 2)
        >>> found = expected_interactions(ProductField(), row, background, torch.tensor([0]), groups, rule)
        >>> (found.interaction - 1.5).abs().max().item() < 0.2  # x₀ x₁ / 4 each
        True
    """
    result = _nothing_yet(input, groups)
    at_once = max(1, rule.memory_bytes // 2 // sampling_bytes(groups, input))
    for some in torch.split(torch.arange(len(input), device=input.device), at_once):
        _Sampling(field, input, background, sample, groups, rule, some, result).run()
    return result


def sampling_bytes(groups: Grouping, input: Tensor) -> int:
    """Bytes that a row takes while it is sampled: mean, squares and estimates in float64, and results.

    Example:
        >>> groups = Grouping(torch.arange(8), count=8, chosen=torch.arange(8), shown=8)
        >>> sampling_bytes(groups, torch.zeros(1, 8))
        4608
    """
    return 8 * 8 * (len(groups.chosen) * groups.count + input.shape[1])


def sampled_positions(strata: np.ndarray) -> np.ndarray:
    """(*shape) path positions t of density (1 − ln t) / 2, from uniform numbers in (0, 1).

    The distribution function t (2 − ln t) / 2 is inverted in w = 2 − ln t ≥ 2, where w − ln w is known.

    Example:
        >>> sampled_positions(np.array([0.0, 1.0])).round(6).tolist()
        [0.0, 1.0]
    """
    known = 2 - np.log(2 * np.maximum(strata, np.finfo(float).tiny))
    w = known + np.log(known + 1)
    for _ in range(6):
        w = np.maximum(w - (w - np.log(w) - known) / (1 - 1 / w), 2.0)
    return np.asarray(np.exp(2 - w))


def _nothing_yet(input: Tensor, groups: Grouping) -> InteractionExpectation:
    rows, chosen = len(input), len(groups.chosen)
    unknown = input.new_full((rows,), torch.nan, dtype=torch.float64)
    matrix = input.new_full((rows, chosen, groups.shown), torch.nan)
    return InteractionExpectation(
        interaction=matrix,
        interaction_error=matrix.clone(),
        attribution=torch.full_like(input, torch.nan),
        attribution_error=torch.full_like(input, torch.nan),
        row_sum_gap=unknown[:, None].repeat(1, chosen),
        relative_error=unknown,
        draws=torch.zeros_like(unknown, dtype=torch.int64),
        status=torch.full_like(unknown, Status.QUARANTINED, dtype=torch.int8),
    )


class _Sampling:
    """Some rows of a block, and the replicates that they have seen so far."""

    def __init__(
        self,
        field: HessianField,
        input: Tensor,
        background: Tensor,
        sample: Tensor,
        groups: Grouping,
        rule: ExpectationRule,
        rows: Tensor,
        result: InteractionExpectation,
    ) -> None:
        self.field, self.input, self.background, self.sample = field, input, background, sample
        self.groups, self.rule, self.open_rows, self.result = groups, rule, rows, result
        self.matrices = Tally(len(rows), len(groups.chosen) * groups.shown, input)
        self.maps = Tally(len(rows), input.shape[1], input)
        self.gaps = input.new_zeros(len(rows), len(groups.chosen), dtype=torch.float64)
        self._sketch = CountSketch(
            len(groups.chosen) * groups.shown, SKETCH_SIZE, device=input.device, dtype=torch.float64
        )

    def run(self) -> None:
        """Double the replicates until no row is open."""
        count = self.rule.sampling.replicates
        while self.open_rows.numel():
            for _ in range(count):
                # one at a time, so that memory does not grow with them
                self._add(self._draw(self.matrices.count))
            self._close()
            count = self.matrices.count

    def _draw(self, replicate: int) -> tuple[Tensor, Tensor]:
        """Path positions and background draws of one replicate, each (open, size)."""
        sampling, positions = self.rule.sampling, self.rule.positions
        drawn = draw_replicates(
            sampling.seed,
            self.sample[self.open_rows.cpu()].tolist(),
            first=replicate * positions,
            count=positions,
            size=sampling.replicate_size,
            background=len(self.background),
        )
        # every position has the baselines of the first, shuffled by the ranks of its own draws
        strata = (np.arange(positions)[:, None] + drawn.t) / positions
        chosen = drawn.draw.copy()
        for position in range(1, positions):
            order = drawn.draw[:, position].argsort(axis=1, kind="stable")
            chosen[:, position] = np.take_along_axis(drawn.draw[:, 0], order, axis=1)
        rows, device = len(self.open_rows), self.input.device
        t = torch.from_numpy(sampled_positions(strata).reshape(rows, -1)).to(device)
        return t, torch.from_numpy(chosen.reshape(rows, -1)).to(device)

    def _add(self, drawn: tuple[Tensor, Tensor]) -> None:
        """Estimate everything from one replicate."""
        rows, size = drawn[0].shape
        groups, t = self.groups, drawn[0].reshape(-1)
        slot = torch.arange(rows, device=t.device).repeat_interleave(size)
        row = self.open_rows[slot]
        points = _Draws(self.input, self.background, row, drawn[1].reshape(-1), t.to(self.input))
        log = -t.log()
        share = 2 / (1 + log) / size
        matrix = self.input.new_zeros(rows, len(groups.chosen), groups.count)
        total = self.input.new_zeros(rows, self.input.shape[1])
        own = self.input.new_zeros(rows, len(groups.chosen))
        for evaluated in self.field.forms(points, groups):
            part, where = evaluated.part, slot[evaluated.part]
            delta, row = points.delta(part), points.row[part]
            weighted = (delta * evaluated.gradients).masked_fill(delta == 0, 0)
            ramp, plain = ((share * weight)[part].to(weighted) for weight in (t * log, torch.ones_like(t)))
            first = groups.project(delta, row, evaluated.gradients[None])[:, 0, groups.chosen]
            matrix.index_add_(0, where, ramp[:, None, None] * evaluated.forms)
            total.index_add_(0, where, plain[:, None] * weighted)
            own.index_add_(0, where, (share * log)[part].to(first)[:, None] * first)
        self._take_note(matrix, total, own)

    def _take_note(self, matrix: Tensor, total: Tensor, own: Tensor) -> None:
        groups = self.groups
        direction = torch.arange(len(groups.chosen), device=own.device)
        matrix[:, direction, groups.chosen] += own
        maps = groups.project(torch.ones_like(total), self.open_rows, total[None])[:, 0, groups.chosen]
        self.gaps += matrix.double().sum(dim=2) - maps.double()
        estimates = matrix[:, :, : groups.shown].flatten(1).double()
        self.matrices.add(estimates, self._sketch(estimates))
        # only the matrices decide when a row stops
        self.maps.add(
            total.double(), total.new_zeros(len(total), self.maps.sketches.shape[2], dtype=torch.float64)
        )

    def _close(self) -> None:
        """Write down the rows that are done, and keep the others open."""
        rows, result, tally = self.open_rows, self.result, self.matrices
        spread = tally.standard_error()
        size = torch.linalg.vector_norm(tally.mean, dim=1)
        error = ratio(torch.linalg.vector_norm(spread, dim=1) * percentile_factor(tally.sketches), size)
        draws = tally.count * self.rule.draws_per_replicate
        finite = torch.isfinite(tally.mean).all(dim=1) & torch.isfinite(self.maps.mean).all(dim=1)
        converged = finite & (error <= self.rule.sampling.rtol)
        done = finite if 2 * draws > self.rule.sampling.max_draws else converged
        closing, shape = rows[done], result.interaction.shape[1:]
        result.interaction[closing] = tally.mean[done].view(-1, *shape).to(result.interaction)
        factor = student_factor(tally.count - 1)
        result.interaction_error[closing] = (factor * spread[done]).view(-1, *shape).to(result.interaction)
        result.attribution[closing] = self.maps.mean[done].to(result.attribution)
        result.attribution_error[closing] = (factor * self.maps.standard_error()[done]).to(result.attribution)
        result.row_sum_gap[closing] = self.gaps[done] / tally.count
        result.relative_error[closing] = error[done]
        result.draws[rows] = draws
        status = torch.where(converged, Status.CONVERGED, Status.NOT_CONVERGED)
        result.status[closing] = status[done].to(torch.int8)
        self._keep(finite & ~done)

    def _keep(self, remaining: Tensor) -> None:
        self.open_rows = self.open_rows[remaining]
        self.matrices.keep(remaining)
        self.maps.keep(remaining)
        self.gaps = self.gaps[remaining]
