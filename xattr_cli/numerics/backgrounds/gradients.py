"""Expected gradients over a whole background, with a control that is known at both ends of each path."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from ...randomness import Purpose, sample_generator
from ...samples import Status
from ..paths.error_bar import directional_factor, effective_directions, ratio
from ..paths.field import Field, Part
from ..paths.sketch import CountSketch
from ..student import student_factor
from .expectation import PathExpectation
from .pairing import alike, opposite_positions
from .rule import MOST_GROUPS, BackgroundRule, groups_of, steps_of, units_of

__all__ = ["gradient_over_background"]

SKETCH_SIZE = 32
ONCE = 0.4
"""Of the squared distance of the means over a pair's positions and over as many new ones: expected squared error
of either. Of gradients that jump 1/3, as the two err in opposite ways: exactly so from two positions a baseline
on, whether both baselines of a pair have the same gradients or nothing in common; 1/3 and 4/9 before. Noise: 1/2.
"""
REFINED = 0.5
"""Times that, of the mean of both: 1/4 for jumps (7/16 for the first), 1/2 for noise, less where it is smooth."""
CAUTION, FASTEST = 1.5, 1 / 16
"""... as it was at the level before, times a margin; and the least."""
MEMORY_SHARE = 4
"""One part of the memory is for the sums of groups."""


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
    baselines are shared by all rows of a target, and only what the line leaves is sampled. α are even, and those
    of baselines that are alike opposite (`opposite_positions`). Pairs of them, in random order, exchange their α
    and move them a bit: how far that is from before tells the variance of all. The α of a pair stay evenly apart,
    and those of each baseline nearly so: the error falls like their number, not like its root.

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

    Example:
        >>> from xattr_cli.numerics.examples import ProductField
        >>> x, row = torch.tensor([[2.0, 3.0]]), torch.tensor([0])
        >>> background = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
        >>> rule = BackgroundRule(rtol=0.05, max_draws=4096, seed=0)
        >>> found = gradient_over_background(ProductField(), x, background, row, row, rule, alike_in_context=True)
        >>> found.attribution.round(decimals=3).tolist()  # (3, 3) from the first baseline, (2, 3) from the second
        [[2.5, 3.0]]
    """
    result = PathExpectation.unknown(input)
    baselines = _Baselines.of(background)
    every = torch.arange(len(input), device=input.device)
    groups = [every[target == one] for one in torch.unique(target)] if alike_in_context else [every]
    for some in groups:
        control = _Control.of(field, input, baselines, some) if alike_in_context else None
        most = _rows_at_once(input, rule)
        for first in range(0, len(some), most):
            few = some[first : first + most]
            _Sampling(field, input, baselines, sample, rule, control, few, result).run()
    return result


def _rows_at_once(input: Tensor, rule: BackgroundRule) -> int:
    row = 2 * MOST_GROUPS * input.shape[1] * input.element_size()
    return max(1, rule.memory_bytes // (MEMORY_SHARE * row))


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
    gradients = input.new_empty(len(row), input.shape[1])
    points = _Points(input, start, row, which, torch.full_like(input[:1, 0], t).expand(len(row)))
    for evaluation in field.gradients(points):
        gradients[evaluation.part] = evaluation.gradients
    return gradients


class _Sampling:
    """Some rows of a target, and what has been drawn for them.

    Strata come in pairs of alike baselines, and pairs in groups. Every stratum has the same number of path
    positions; those of the groups that are refined have twice as many.

    Attributes:
        open_rows: (open,) int64, in the block.
        position, group: (open, n), first path position of each stratum, and its group.
        sums: (open, groups, D), over the strata of a group of the mean of what the control leaves.
        squares: (open, D) float64, of what a group's sum differs from its sum over the new positions, summed.
        whole: (open,) float64, the sum of those squares over all groups and features, at the last level.
        falls: (open,) float64, what is expected to be left of a squared error after twice the draws.
        before: (open, D) float64, what is expected of such a square of a group by the last look at all of them.
        sketches: (open, refined, s) float64, of those differences.
        draws: (open,) int64.
    """

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
        self.field, self.input, self.baselines = field, input, baselines
        self.rule, self.control, self.open_rows, self.result = rule, control, rows, result
        self.groups = groups_of(len(baselines.of_unit))
        seeds = sample[rows.to(sample.device)].tolist()
        drawn = [self._drawn(sample_generator(rule.seed, int(one), Purpose.EXPECTATION)) for one in seeds]
        self.position, self.group = (
            torch.from_numpy(np.stack(each)).to(input.device) for each in zip(*drawn, strict=True)
        )
        self.start = torch.from_numpy(baselines.of_unit).to(input.device)
        self.sketch = CountSketch(input.shape[1], SKETCH_SIZE, device=input.device, dtype=torch.float64)
        self.sums = input.new_zeros(len(rows), self.groups, input.shape[1])
        self.squares = self.sums.new_zeros(len(rows), input.shape[1], dtype=torch.float64)
        self.before, self.whole = self.squares, self.squares[:, 0]
        self.falls = torch.full_like(self.whole, REFINED)
        self.sketches = self.squares.new_zeros(len(rows), 0, self.sketch.size)
        self.draws = torch.full_like(rows, len(self.start))

    def _drawn(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Positions (n,) and groups (n,) of a row."""
        order = self.baselines.order
        position, pairs = opposite_positions(random, order), -(-len(order) // 2)
        group = np.empty(len(order), dtype=np.int64)
        group[order] = (random.permutation(pairs) * self.groups // pairs).repeat(2)[: len(order)]
        return position, group

    def run(self) -> None:
        """Every stratum once; then some groups after others get twice the draws, until no row is open."""
        offsets = torch.zeros(1, dtype=torch.float64, device=self.input.device)
        self.sums = self._new_sums(self.group >= 0, offsets)
        while self.open_rows.numel():
            # a pair is half a path apart: each of its baselines goes where the other one was, and a bit further
            new = offsets + 1 / 2 + 1 / (4 * len(offsets))
            self._look_back()
            self.squares, self.sketches = torch.zeros_like(self.squares), self.sketches[:, :0]
            for first, stop in pairwise((0, *steps_of(self.groups))):
                if self.open_rows.numel():
                    self._refine(first, stop, new)
                    self._close(stop)
            offsets = torch.cat([offsets, new])

    def _look_back(self) -> None:
        """Expect of the next level what the last ones tell: how fast squares fall, from the second one on."""
        whole = self.squares.sum(dim=1)
        falls = (CAUTION * whole / self.whole.clamp(min=1e-300)).clamp(FASTEST, REFINED)
        self.falls = torch.where(self.whole > 0, falls, REFINED)
        self.whole = whole
        self.before = self.squares * (self.falls / self.groups)[:, None]

    def _refine(self, first: int, stop: int, new: Tensor) -> None:
        """Twice the draws for groups `first` to `stop` − 1, at the first positions and `new` (level,) further."""
        chosen = (self.group >= first) & (self.group < stop)
        apart = (self.sums - self._new_sums(chosen, new))[:, first:stop]
        self.sums[:, first:stop] -= apart / 2
        self.draws = self.draws + len(new) * chosen.sum(dim=1)
        self.squares = self.squares + apart.double().square().sum(dim=1)
        sketches = self.sketch(apart.double().flatten(0, 1)).view(len(apart), stop - first, -1)
        self.sketches = torch.cat([self.sketches, sketches], dim=1)

    def _new_sums(self, chosen: Tensor, offsets: Tensor) -> Tensor:
        """(open, groups, D) over chosen strata (open, n) of the mean over the positions that are `offsets` on."""
        slot, stratum = (each.repeat_interleave(len(offsets)) for each in chosen.nonzero(as_tuple=True))
        t = ((self.position[slot, stratum] + offsets.repeat(int(chosen.sum()))) % 1).to(self.input)
        points = _Points(self.input, self.baselines.points, self.open_rows[slot], self.start[stratum], t)
        group, sums = self.group[slot, stratum], torch.zeros_like(self.sums)
        for evaluation in self.field.gradients(points):
            part = evaluation.part
            contribution = points.delta(part) * evaluation.gradients
            if self.control is not None:
                contribution = contribution - self.control.at(points, part)
            sums.index_put_((slot[part], group[part]), contribution, accumulate=True)
        return sums / len(offsets)

    def _close(self, refined: int) -> None:
        """Write down the rows that are done, and keep the others open."""
        rows, result, rule = self.open_rows, self.result, self.rule
        variance, factor = self._spread(refined)
        mean = self.sums.sum(dim=1, dtype=torch.float64) / len(self.start)
        if self.control is not None:
            mean = mean + self.control.known(rows)
        error = ratio(variance.sum(dim=1).sqrt() * factor, torch.linalg.vector_norm(mean, dim=1))
        finite = torch.isfinite(mean).all(dim=1)
        converged = finite & (error <= rule.rtol)
        # no step takes more than half of what there is, but for the first two, when there is little
        exhausted = 3 * self.draws > 2 * rule.max_draws
        done = converged | (finite & exhausted)
        closing = rows[done]
        result.attribution[closing] = mean[done].to(result.attribution)
        widened = student_factor(refined) * variance.sqrt()
        result.standard_error[closing] = widened[done].to(result.standard_error)
        result.relative_error[closing] = error[done]
        status = torch.where(converged, Status.CONVERGED, Status.NOT_CONVERGED)
        result.status[closing] = status[done].to(torch.int8)
        result.evaluations[rows] = self.draws + (self.control is not None)
        self._keep(finite & ~done)

    def _keep(self, remaining: Tensor) -> None:
        """Forget the rows that are done; `remaining` (open,) bool."""
        if not remaining.all():
            for name in (
                "open_rows",
                "position",
                "group",
                "sums",
                "squares",
                "before",
                "whole",
                "falls",
                "sketches",
                "draws",
            ):
                setattr(self, name, getattr(self, name)[remaining])

    def _spread(self, refined: int) -> tuple[Tensor, Tensor]:
        """Variances of the means (open, D), and factors (open,) to the 95th percentile of their length."""
        others = self.groups - refined
        square = self.squares / refined
        # few groups may all be lucky: the others count as the last look at them says, if there was one
        looked = self.before.sum(dim=1, keepdim=True) > 0
        known = torch.where(looked, (refined * square + others * self.before) / self.groups, square)
        variance = (others * known + self.falls[:, None] * refined * square) * (ONCE / len(self.start) ** 2)
        directions = effective_directions(self.sketches, refined)
        return variance, directional_factor(1 / (1 / directions + 1 / refined), refined)
