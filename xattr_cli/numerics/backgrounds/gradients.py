"""Expected gradients over a whole background, with a control that is known at both ends of each path."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...randomness import Purpose, sample_generator
from ...samples import Status
from ..paths.error_bar import directional_factor, effective_directions, percentile_factor, ratio
from ..paths.field import Field, Part
from ..paths.sketch import CountSketch
from ..student import student_factor
from .expectation import PathExpectation, Tally
from .pairing import alike, paired_positions
from .rule import BackgroundRule, units_of

__all__ = ["gradient_over_background"]

GROUPS = 16
SPREAD_FROM = 8
"""Replicates from which on their own spread tells the error, which sees what even positions gain."""
SKETCH_SIZE = 32
CHOICE = 2**32  # a stream that no replicate has


def gradient_over_background(
    field: Field,
    input: Tensor,
    background: Tensor,
    sample: Tensor,
    target: Tensor,
    rule: BackgroundRule,
    *,
    alike_in_context: bool,
) -> PathExpectation:
    """(1/m) Σ over baselines x' of (x − x') ⊙ ∫ ∇f(x' + α (x − x')) dα, for every row of a block.

    Every baseline is a stratum of its own, with a random α: baselines are not sampled, only the α are. Of the
    integrand, the line between its values at both ends of the path is known exactly; the gradients at the
    baselines are shared by all rows of a target, and only what the line leaves is sampled. α of baselines that are
    alike are opposite (`paired_positions`). All are drawn twice, pairs exchange their α: that tells the variance.

    Reference: Erion et al. 2021, "Improving performance of deep learning models with axiomatic attribution
    priors and expected gradients", equation 3.

    Arguments:
        field: evaluates f and ∇f.
        input: (rows, D).
        background: (m, D), m at most `MOST_BASELINES`.
        sample: (rows,) identity of each row's sample: the key of its draws.
        target: (rows,) which rows have the same function of x.
        rule: when to stop.
        alike_in_context: whether rows of a target do have it, since nothing else goes into the network.
    """
    rows = len(input)
    unknown = input.new_full((rows,), torch.nan, dtype=torch.float64)
    result = PathExpectation(
        attribution=torch.full_like(input, torch.nan),
        standard_error=torch.full_like(input, torch.nan),
        relative_error=unknown,
        evaluations=torch.zeros_like(unknown, dtype=torch.int64),
        status=torch.full_like(unknown, Status.QUARANTINED, dtype=torch.int8),
    )
    baselines = _Baselines.of(background)
    every = torch.arange(rows, device=input.device)
    groups = [every[target == one] for one in torch.unique(target)] if alike_in_context else [every]
    for some in groups:
        control = _Control.of(field, input, baselines, some) if alike_in_context else None
        _Sampling(field, input, baselines, sample, rule, control, some, result).run()
    return result


@dataclass(frozen=True)
class _Baselines:
    """A background set, each baseline as often as it takes for enough draws.

    Attributes:
        points: (m, D).
        of_unit: (n,) int64, the baseline of each stratum.
        order: (n,) strata, neighbours alike.
    """

    points: Tensor
    of_unit: np.ndarray
    order: np.ndarray

    @classmethod
    def of(cls, background: Tensor) -> _Baselines:
        order = alike(background.detach().cpu().numpy().reshape(len(background), -1))
        copies = units_of(len(background)) // len(background)
        # copies of a baseline are the most alike of all
        units = np.arange(copies * len(order)).reshape(len(order), copies)
        return cls(background, np.repeat(np.arange(len(order)), copies), units[order].reshape(-1))


@dataclass(frozen=True)
class _Points:
    """Points on the paths between baselines and inputs, interpolated only when they are taken."""

    input: Tensor
    background: Tensor
    row: Tensor
    start: Tensor
    t: Tensor
    place: None = None

    def take(self, part: Part) -> Tensor:
        start, stop = self.background[self.start[part]], self.input[self.row[part]]
        t = self.t[part, None]
        # a baseline is a baseline, also on the way to an input that is not finite
        return torch.where(t == 0, start, start.lerp(stop, t))

    def delta(self, part: Part) -> Tensor:
        return self.input[self.row[part]] - self.background[self.start[part]]


@dataclass(frozen=True)
class _Control:
    """(x − x') ⊙ ((1 − α) ∇f(x') + α ∇f(x)), and its mean over α and baselines.

    Attributes:
        at_baseline: (m, D), ∇f at the baselines.
        at_input: (rows, D), ∇f at the inputs.
        mean: (rows, D) float64.
        usable: (rows,) bool; elsewhere a gradient at an end is not finite.
    """

    at_baseline: Tensor
    at_input: Tensor
    mean: Tensor
    usable: Tensor

    @classmethod
    def of(cls, field: Field, input: Tensor, baselines: _Baselines, rows: Tensor) -> _Control:
        points = baselines.points
        every = torch.arange(len(points), device=rows.device)
        at_baseline = _gradients(field, input, points, rows[:1].expand(len(points)), every, 0.0)
        at_input = torch.full_like(input, torch.nan)
        at_input[rows] = _gradients(field, input, points, rows, torch.zeros_like(rows), 1.0)
        slope, start, end = at_baseline.double(), points.double(), at_input.double()
        mean = input.double() * slope.mean(dim=0) - (start * slope).mean(dim=0)
        mean = (mean + (input.double() - start.mean(dim=0)) * end) / 2
        return cls(at_baseline, at_input, mean, torch.isfinite(mean).all(dim=1))

    def at(self, points: _Points, part: Part) -> Tensor:
        """(k, D) at some points; 0 in rows where it is not usable."""
        row, t = points.row[part], points.t[part, None]
        line = self.at_baseline[points.start[part]].lerp(self.at_input[row], t)
        return (points.delta(part) * line).masked_fill(~self.usable[row, None], 0)

    def known(self, rows: Tensor) -> Tensor:
        """(k, D) float64, the mean of rows (k,)."""
        return self.mean[rows].masked_fill(~self.usable[rows, None], 0)


def _gradients(field: Field, input: Tensor, start: Tensor, row: Tensor, which: Tensor, t: float) -> Tensor:
    """(k, D) at an end of paths."""
    found = input.new_empty(len(row), input.shape[1])
    points = _Points(input, start, row, which, torch.full_like(input[:1, 0], t).expand(len(row)))
    for evaluation in field.gradients(points):
        found[evaluation.part] = evaluation.gradients
    return found


class _Sampling:
    """The open rows of a target, and what has been drawn for them."""

    def __init__(
        self,
        field: Field,
        input: Tensor,
        baselines: _Baselines,
        sample: Tensor,
        rule: BackgroundRule,
        control: _Control | None,
        rows: Tensor,
        result: PathExpectation,
    ) -> None:
        self.field, self.input, self.baselines, self.sample = field, input, baselines, sample
        self.rule, self.control, self.open_rows, self.result = rule, control, rows, result
        self.units = len(baselines.of_unit)
        self.tally = Tally(len(rows), input.shape[1], input)
        # by group of pairs, sums of their first less their second draws
        self.apart = input.new_zeros(len(rows), GROUPS, input.shape[1])
        self.sketch = CountSketch(input.shape[1], SKETCH_SIZE, device=input.device, dtype=torch.float64)

    def run(self) -> None:
        """Every unit twice, then twice as many replicates, until no row is open."""
        first = self._positions(0)
        group, second = self._exchanged(first)
        self._note(self._sum(first, group, 1))
        self._note(self._sum(second, group, -1))
        self._close()
        while self.open_rows.numel():
            for replicate in range(self.tally.count, 2 * self.tally.count):
                self._note(self._sum(self._positions(replicate), None, 1))
            self._close()

    def _random(self, replicate: int) -> list[np.random.Generator]:
        samples, seed = self.sample[self.open_rows.to(self.sample.device)].tolist(), self.rule.seed
        return [sample_generator(seed, int(one), Purpose.EXPECTATION, stream=replicate) for one in samples]

    def _positions(self, replicate: int) -> np.ndarray:
        """(open, units) path positions."""
        return np.stack([paired_positions(random, self.baselines.order) for random in self._random(replicate)])

    def _exchanged(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Groups of the units, and second positions: units in random pairs exchange those (open, units) they had.

        The sum over a pair of first less second draws knows neither what is peculiar to its baselines nor to
        its positions, which even draws do not err by, but only to both together.
        """
        paired = np.stack([random.permutation(self.units) for random in self._random(CHOICE)])
        pairs, second = self.units // 2, positions.copy()
        one, other = paired[:, 0 : 2 * pairs : 2], paired[:, 1 : 2 * pairs : 2]
        for mine, theirs in ((one, other), (other, one)):
            np.put_along_axis(second, mine, np.take_along_axis(positions, theirs, axis=1), axis=1)
        group = np.empty(positions.shape, dtype=np.int64)
        np.put_along_axis(group, paired, np.arange(self.units) // 2 % GROUPS + 0 * paired, axis=1)
        return group, second

    def _sum(self, t: np.ndarray, group: np.ndarray | None, sign: int) -> Tensor:
        """(open, D) sum over the units of what the control leaves; by group, with a sign, into `apart`.

        Arguments:
            t: (open, units) path positions.
            group: (open, units); None for none.
            sign: of what goes into the groups.
        """
        rows, device = len(t), self.input.device
        slot = torch.arange(rows, device=device).repeat_interleave(self.units)
        position = torch.from_numpy(t.reshape(-1)).to(self.input)
        start = torch.from_numpy(self.baselines.of_unit).to(device).repeat(rows)
        points = _Points(self.input, self.baselines.points, self.open_rows[slot], start, position)
        total = self.input.new_zeros(rows, self.input.shape[1])
        groups = None if group is None else torch.from_numpy(group.reshape(-1)).to(device)
        for evaluation in self.field.gradients(points):
            part = evaluation.part
            left = points.delta(part) * evaluation.gradients
            if self.control is not None:
                left = left - self.control.at(points, part)
            total.index_add_(0, slot[part], left)
            if groups is not None:
                self.apart.index_put_((slot[part], groups[part]), sign * left, accumulate=True)
        return total

    def _note(self, total: Tensor) -> None:
        """Take a replicate of every unit into account, (open, D)."""
        estimates = total.double() / self.units
        self.tally.add(estimates, self.sketch(estimates))

    def _close(self) -> None:
        """Write down the rows that are done, and keep the others open."""
        rows, result, rule = self.open_rows, self.result, self.rule
        variance, factor, freedom = self._spread()
        mean, draws = self.tally.mean, self.tally.count * self.units
        if self.control is not None:
            mean = mean + self.control.known(rows)
        error = ratio(variance.sum(dim=1).sqrt() * factor, torch.linalg.vector_norm(mean, dim=1))
        finite = torch.isfinite(mean).all(dim=1)
        converged = finite & (error <= rule.rtol)
        done = finite if 2 * draws > rule.max_draws else converged
        closing = rows[done]
        result.attribution[closing] = mean[done].to(result.attribution)
        widened = student_factor(freedom) * variance.sqrt()
        result.standard_error[closing] = widened[done].to(result.standard_error)
        result.relative_error[closing] = error[done]
        status = torch.where(converged, Status.CONVERGED, Status.NOT_CONVERGED)
        result.status[closing] = status[done].to(torch.int8)
        result.evaluations[rows] = draws + (self.control is not None)
        remaining = finite & ~done
        self.open_rows, self.apart = rows[remaining], self.apart[remaining]
        self.tally.keep(remaining)

    def _spread(self) -> tuple[Tensor, Tensor, int]:
        """Variances of the means (open, D), factors (open,) to the 95th percentile, and degrees of freedom."""
        count = self.tally.count
        if count >= SPREAD_FROM:
            variance = self.tally.standard_error().square()
            return variance, percentile_factor(self.tally.sketches), count - 1
        apart = self.apart.double()
        variance = apart.square().sum(dim=1) / (2 * count * self.units**2)
        sketches = self.sketch(apart.flatten(0, 1)).view(len(apart), GROUPS, -1)
        directions = effective_directions(sketches, GROUPS)
        return variance, directional_factor(1 / (1 / directions + 1 / GROUPS), GROUPS), GROUPS
