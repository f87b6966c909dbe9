"""Integrals of a gradient along paths, refined row by row until each is as accurate as asked: the heart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..samples import Status
from .error_bar import Evidence, fixed_rule_error, nested_error
from .field import Evaluation, Field
from .paths import PowerWarp, StraightPath
from .quadrature import FixedRule, NestedRule
from .sharing import neighbours

__all__ = ["Observer", "PathIntegral", "integrate", "integrate_fixed"]


@dataclass(frozen=True)
class PathIntegral:
    """What a sweep over the paths of a block found.

    Attributes:
        running: (rows, marks, D), ∫₀^α ∇f(γ(t)) dt up to each mark α; the last mark is 1.
        relative_error: (rows,) float64, reported bound on ‖Δ ⊙ (result − truth)‖ / ‖Δ ⊙ result‖.
        score_input, score_baseline: (rows,) f(x) and f(x').
        evaluations: (rows,) int64, gradients along the path and scores of its ends.
        status: (rows,) int8, of `Status`.
    """

    running: Tensor
    relative_error: Tensor
    score_input: Tensor
    score_baseline: Tensor
    evaluations: Tensor
    status: Tensor

    @property
    def mean_gradient(self) -> Tensor:
        """∫₀¹ ∇f(γ(t)) dt, (rows, D)."""
        return self.running[:, -1]

    def judged_by(self, rtol: float) -> Tensor:
        """(rows,) status for somebody who asked for less accuracy than the sweep was made with."""
        good = self.relative_error <= rtol
        return torch.where(good, Status.CONVERGED, self.status).to(torch.int8)


class Observer(Protocol):
    """Somebody who wants to see the nodes of the first trapezoid as they are evaluated.

    Attributes:
        needs_baseline: whether the gradient at the baseline is wanted even if its weight is zero.
    """

    needs_baseline: bool

    def observe(self, row: Tensor, node: Tensor, evaluation: Evaluation) -> None:
        """Nodes `node` (k,) of rows `row` (k,), numbered from 0 at the baseline to `intervals` at the input."""


def integrate(
    field: Field,
    path: StraightPath,
    rule: NestedRule,
    *,
    smooth: bool = False,
    marks: Sequence[float] = (),
    observers: Sequence[Observer] = (),
) -> PathIntegral:
    """∫₀¹ ∇f(γ(t)) dt for every row of a block, each to its own accuracy.

    T_n (trapezoid, n intervals) and M_n (midpoint) give T_2n = (T_n + M_n) / 2, so that every gradient
    is used and a row needs two accumulators of its own size, whatever n is. A row stops alone; the
    remaining ones go on, packed together.

    Arguments:
        field: evaluates f and ∇f.
        path: of every row.
        rule: nodes and tolerance.
        smooth: the network is known to have no kinks, so the error may be taken to fall like 1/n².
        marks: path positions α in (0, 1) at which the running integral is wanted too.
        observers: see the nodes of the first level.
    """
    sweep = _Sweep(field, path, rule, smooth, torch.tensor([*marks, 1.0], dtype=torch.float64), observers)
    while sweep.open_rows.numel():
        sweep.refine()
    return sweep.result


class _Watcher(Protocol):
    def __call__(self, row: Tensor, index: Tensor, evaluation: Evaluation) -> None: ...


class _Sweep:
    """The rows still open, and what has been found about them so far.

    Attributes:
        intervals: n of the trapezoid.
        open_rows: (open,) indices into the block.
        trapezoid: (open, marks, D), T_n of the open rows.
        evidence: (rows,) per-row sums from which errors are reported.
        result: filled in as rows are closed.
    """

    def __init__(
        self,
        field: Field,
        path: StraightPath,
        rule: NestedRule,
        smooth: bool,
        marks: Tensor,
        observers: Sequence[Observer],
    ) -> None:
        """Evaluate the first trapezoid, and the scores of both ends."""
        self.field, self.path, self.rule, self.smooth, self.marks = field, path, rule, smooth, marks
        self.warp = PowerWarp(rule.warp)
        self.delta = path.delta
        self.evidence = Evidence.none_yet(self.delta)
        self.intervals = rule.intervals
        self.open_rows = torch.arange(len(self.delta), device=self.delta.device)
        score_input = torch.full_like(self.delta[:, 0], torch.nan)

        def watch(row: Tensor, index: Tensor, evaluation: Evaluation) -> None:
            at_input = index == self.intervals
            score_input[row[at_input]] = evaluation.values[at_input]
            for observer in observers:
                observer.observe(row, index, evaluation)

        node = torch.arange(self.intervals + 1, dtype=torch.float64)
        wanted = any(observer.needs_baseline for observer in observers)
        used = node if wanted or float(self.warp.density(node[0])) > 0 else node[1:]
        self.extra_nodes = len(used) - self.intervals
        self.trapezoid, self.mass = self._weighted_sum(used / self.intervals, watch)
        self.result = self._nothing_yet(score_input, evaluations=len(used) + 1)

    def refine(self) -> None:
        """Evaluate M_n of the open rows, double n, and let go of the rows that are done."""
        n = self.intervals
        midpoint, mass = self._weighted_sum((torch.arange(n, dtype=torch.float64) + 0.5) / n)
        apart = self._map(self.trapezoid, self.mass) - self._map(midpoint, mass)
        difference = torch.linalg.vector_norm(apart, dim=1)
        self.trapezoid, self.mass = self.trapezoid.add_(midpoint).div_(2), (self.mass + mass) / 2
        self.intervals = 2 * n
        self.result.evaluations[self.open_rows] += n
        attribution = self._map(self.trapezoid, self.mass)
        score_difference = (self.result.score_input - self.result.score_baseline)[self.open_rows]
        error = nested_error(
            difference,
            self.evidence.decrease(difference, self.open_rows),
            attribution,
            self.evidence.missed(attribution, score_difference, self.open_rows),
            intervals=n,
            smooth=self.smooth,
            dtype=self.delta.dtype,
        )
        self._close(error)

    def _weighted_sum(self, u: Tensor, watch: _Watcher | None = None) -> tuple[Tensor, Tensor]:
        """Σ weight · gradient over the nodes u of every open row, (open, marks, D); and Σ weight, (marks,)."""
        open_count, nodes = len(self.open_rows), len(u)
        exact_weights = self._weights(u)
        weights = exact_weights.to(self.delta)
        density = self.warp.density(u).to(self.delta)
        t = self.warp.t(u).to(self.delta)
        slot, node, place = self._points(open_count, nodes)
        total = self.delta.new_zeros(open_count, len(self.marks), self.delta.shape[1])
        first_node = round(float(u[0]) * self.intervals)
        for evaluation in self.field.gradients(self.path.at(self.open_rows[slot], t[node], place)):
            part = evaluation.part
            row, which = self.open_rows[slot[part]], node[part]
            if watch is not None:
                watch(row, which + first_node, evaluation)
            # neither a node of weight zero nor a feature that does not change may spoil the sum with an
            # infinite gradient
            weightless = (density[which] == 0)[:, None] | (self.delta[row] == 0)
            gradients = evaluation.gradients.masked_fill(weightless & ~evaluation.gradients.isfinite(), 0)
            total.index_add_(0, slot[part], weights[which][:, :, None] * gradients[:, None, :])
            self.evidence.add(row, gradients * self.delta[row] * density[which][:, None], evaluation.values)
        return total, exact_weights.sum(dim=0)

    def _points(self, open_count: int, nodes: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Which open row and which node each point belongs to, and the places that points share."""
        slot = torch.arange(open_count, device=self.delta.device).repeat_interleave(nodes)
        node = torch.arange(nodes, device=slot.device).repeat(open_count)
        if self.path.sample is None:
            return slot, node, None
        found = neighbours(self.path.sample[self.open_rows][slot] * nodes + node)
        if found is None:
            return slot, node, None
        order, place = found
        return slot[order], node[order], place

    def _weights(self, u: Tensor) -> Tensor:
        """(nodes, marks) weight of each node in the integral from 0 to each mark.

        A node stands for the cell of width 1/n around it, cut at 0, at 1 and at the mark.
        """
        n = self.intervals
        left = (u - 0.5 / n).clamp(min=0)[:, None]
        right = torch.minimum((u + 0.5 / n)[:, None], self.warp.inverse(self.marks)[None, :])
        return (right - left).clamp(min=0) * self.warp.density(u)[:, None]

    def _map(self, running: Tensor, mass: Tensor) -> Tensor:
        """(open, D) float64, Δ ⊙ the integral over all of the path, with weights that sum to 1."""
        return running[:, -1].double() * self.delta[self.open_rows].double() / float(mass[-1])

    def _nothing_yet(self, score_input: Tensor, evaluations: int) -> PathIntegral:
        rows = self.open_rows
        slot, _, place = self._points(len(rows), nodes=1)
        score_baseline = torch.empty_like(score_input)
        score_baseline[slot] = self.field.values(self.path.at(slot, torch.zeros_like(score_input)), place)
        unknown = torch.full((len(rows),), torch.nan, dtype=torch.float64, device=rows.device)
        return PathIntegral(
            running=torch.full_like(self.trapezoid, torch.nan),
            relative_error=unknown,
            score_input=score_input,
            score_baseline=score_baseline,
            evaluations=torch.full_like(rows, evaluations),
            status=torch.full(rows.shape, Status.QUARANTINED, dtype=torch.int8, device=rows.device),
        )

    def _close(self, error: Tensor) -> None:
        """Write down the rows that are done, and keep the others open."""
        rows, result = self.open_rows, self.result
        ends = result.score_input[rows] + result.score_baseline[rows]
        finite = torch.isfinite(self.trapezoid).all(dim=(1, 2)) & torch.isfinite(ends)
        converged = finite & (error <= self.rule.rtol)
        exhausted = 2 * self.intervals + self.extra_nodes > self.rule.max_nodes
        done = finite if exhausted else converged
        closing = rows[done]
        # a constant gradient integrates to its mark exactly: on few nodes the weights miss that a little
        to_marks = (self.marks / self.mass).to(self.delta)[:, None]
        result.running[closing] = self.trapezoid[done] * to_marks
        result.relative_error[closing] = error[done]
        status = torch.where(converged, Status.CONVERGED, Status.NOT_CONVERGED)
        result.status[closing] = status[done].to(torch.int8)
        remaining = finite & ~done
        if not remaining.all():
            self.open_rows = rows[remaining]
            self.trapezoid = self.trapezoid[remaining]


def integrate_fixed(field: Field, path: StraightPath, rule: FixedRule) -> PathIntegral:
    """∫₀¹ ∇f(γ(t)) dt by one rule for all rows, as papers and other libraries do.

    Its error is reported, but not acted upon: every row counts as converged.
    """
    rows, dim = path.input.shape
    delta = path.delta
    nodes, weights = (torch.from_numpy(numbers).to(delta) for numbers in (rule.nodes, rule.weights))
    slot = torch.arange(rows, device=delta.device).repeat_interleave(len(nodes))
    node = torch.arange(len(nodes), device=delta.device).repeat(rows)
    halves = delta.new_zeros(2 * rows, dim)
    belongs = _halves_of(rule).to(delta)
    evidence = Evidence.none_yet(delta)
    for evaluation in field.gradients(path.at(slot, nodes[node])):
        row, which = slot[evaluation.part], node[evaluation.part]
        for half in (0, 1):
            share = (weights * belongs[:, half])[which][:, None]
            halves.index_add_(0, 2 * row + half, share * evaluation.gradients)
        evidence.add(row, evaluation.gradients * delta[row], evaluation.values)
    halves = halves.view(rows, 2, dim)
    shares = weights @ belongs
    every = torch.arange(rows, device=delta.device)
    score_input, score_baseline = (
        field.values(path.at(every, torch.full_like(delta[:, 0], t))) for t in (1.0, 0.0)
    )
    error = fixed_rule_error(
        halves * delta[:, None], shares, score_input - score_baseline, evidence, rule.error_share
    )
    finite = torch.isfinite(halves).all(dim=(1, 2)) & torch.isfinite(score_input + score_baseline)
    return PathIntegral(
        running=halves.sum(dim=1, keepdim=True).masked_fill(~finite[:, None, None], torch.nan),
        relative_error=error.masked_fill(~finite, torch.nan),
        score_input=score_input,
        score_baseline=score_baseline,
        evaluations=torch.full_like(every, len(nodes) + 2),
        status=torch.where(finite, Status.CONVERGED, Status.QUARANTINED).to(torch.int8),
    )


def _halves_of(rule: FixedRule) -> Tensor:
    """(nodes, 2): to which half of the rule each node belongs, every other one to the second.

    The last node of a one-sided rule with an odd number of them belongs to both: else the halves would
    have the same mean position, and their difference would not show the rule's bias.
    """
    second = torch.arange(len(rule.nodes)) % 2
    halves = torch.stack([1 - second, second], dim=1).double()
    if rule.error_share == 1 and len(rule.nodes) % 2:
        halves[-1] = 0.5
    return halves
