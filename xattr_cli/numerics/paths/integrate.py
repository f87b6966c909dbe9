"""Integrals of a gradient along paths, refined row by row until each is as accurate as asked: the heart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ...samples import Status
from .error_bar import Evidence, adaptive_error, completeness_gap, fixed_rule_error, suspected_squares
from .field import Evaluation, Field
from .node_record import NodeRecord
from .panels import Nodes, Panels, panels_to_refine
from .quadrature import AdaptiveRule, FixedRule
from .straight import PowerWarp, StraightPath, group_equal

__all__ = ["Observer", "PathIntegral", "integrate", "integrate_fixed"]

POSITIONS = 2**30
"""Nodes of several targets are the same if they round to the same multiple of 1 / POSITIONS."""


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
    rule: AdaptiveRule,
    *,
    smooth: bool = False,
    consistent: bool = True,
    marks: Sequence[float] = (),
    observers: Sequence[Observer] = (),
) -> PathIntegral:
    """∫₀¹ ∇f(γ(t)) dt for every row of a block, each to its own accuracy.

    The path is cut into a few panels, each with a trapezoid rule of its own whose cells are halved
    where that saves the most error; see `panels_to_refine`. Every gradient is used, and a row needs as
    many accumulators of its own size as there are panels, whatever the number of nodes. A row stops
    alone; the remaining ones go on, packed together.

    Arguments:
        field: evaluates f and ∇f.
        path: of every row.
        rule: nodes and tolerance.
        smooth: the network is known to have no kinks.
        consistent: the integral should add up to the score's change, and a gap tells of an error; not where
            gradients are known to be no derivative of the score.
        marks: path positions α in (0, 1) at which the running integral is wanted too.
        observers: see the nodes of the first level.

    Example:
        >>> class Cube:
        ...     def gradients(self, points):
        ...         x = points.take(slice(None))
        ...         yield Evaluation(slice(None), (x**3).sum(1), 3 * x**2)
        ...     def values(self, points, place=None):
        ...         return (points.take(slice(None)) ** 3).sum(1)
        >>> path = StraightPath(torch.zeros(1, 1), torch.tensor([[2.0]]))
        >>> found = integrate(Cube(), path, AdaptiveRule(rtol=0.01, max_nodes=1024, intervals=6, warp=2.0))
        >>> bool((found.mean_gradient * path.delta - 8).abs() < 0.08), bool(found.relative_error <= 0.01)
        (True, True)
    """
    sweep = _Sweep(
        field, path, rule, smooth, consistent, torch.tensor([*marks, 1.0], dtype=torch.float64), observers
    )
    sweep.evaluate(sweep.first_nodes(), sweep.watch)
    sweep.close()
    while sweep.open_rows.numel():
        sweep.evaluate(sweep.finer_nodes())
        sweep.close()
    return sweep.result


class _Watcher(Protocol):
    def __call__(self, row: Tensor, column: Tensor, evaluation: Evaluation) -> None: ...


class _Sweep:
    """The rows still open, and what has been found about them so far.

    Attributes:
        open_rows: (open,) indices into the block.
        panels: trapezoid sums of the open rows, panel by panel.
        record: of the nodes of the open rows.
        error: (open,) reported errors.
        result: filled in as rows are closed.
    """

    def __init__(
        self,
        field: Field,
        path: StraightPath,
        rule: AdaptiveRule,
        smooth: bool,
        consistent: bool,
        marks: Tensor,
        observers: Sequence[Observer],
    ) -> None:
        self.field, self.path, self.rule, self.smooth = field, path, rule, smooth
        self.consistent = consistent
        self.warp, self.delta = PowerWarp(rule.warp), path.delta
        self.open_rows = torch.arange(len(self.delta), device=self.delta.device)
        self.panels = Panels.of_one_level(rule.intervals, self.warp, marks, self.delta)
        self.record = NodeRecord(self.delta)
        self.largest_score = torch.zeros_like(self.delta[:, 0], dtype=torch.float64)
        self.observers, self._skips_baseline = observers, self._may_skip_baseline(observers)
        self.result = self._nothing_yet(rule.intervals + 1 + (not self._skips_baseline))

    def first_nodes(self) -> Nodes:
        """Those of the first trapezoid; without the baseline where the integrand is 0 there."""
        nodes = self.panels.first_nodes()
        if not self._skips_baseline:
            return nodes
        self.record.expect(torch.zeros(len(self.delta), 1, dtype=torch.float64, device=self.delta.device))
        return nodes.without_baseline()

    def finer_nodes(self) -> Nodes:
        """Those that halve cells of the open rows where it pays."""
        nodes = self.panels.halve(self._to_halve())
        self.result.evaluations[self.open_rows] += nodes.per_row(len(self.open_rows))
        return nodes

    def watch(self, row: Tensor, column: Tensor, evaluation: Evaluation) -> None:
        """Take the scores of the inputs; show the first trapezoid to whoever wants to see it."""
        index = column + self._skips_baseline
        at_input = index == self.rule.intervals
        self.result.score_input[row[at_input]] = evaluation.values[at_input]
        for observer in self.observers:
            observer.observe(row, index, evaluation)

    def _may_skip_baseline(self, observers: Sequence[Observer]) -> bool:
        """Whether the gradient at the baseline is neither wanted nor of any weight."""
        wanted = any(observer.needs_baseline for observer in observers)
        return not wanted and float(self.warp.density(torch.zeros(()))) == 0

    def _to_halve(self) -> Tensor:
        """(open, panels) bool, whose cells are halved next."""
        panel = (self.errors.cell * self.panels.count).clamp(max=self.panels.count - 1).long()
        squares = torch.zeros_like(self.panels.cells, dtype=torch.float64)
        squares.scatter_add_(1, panel, suspected_squares(self.errors, self.gap))
        share = self.rule.rtol / self.error.clamp(min=1e-300)
        return panels_to_refine(squares, self.panels.cells, share, self._budget())

    def _budget(self) -> Tensor:
        """(open,) gradients that the rows may still take."""
        # one of the evaluations so far is the score of the baseline
        return self.rule.max_nodes - (self.result.evaluations[self.open_rows] - 1)

    def evaluate(self, nodes: Nodes, watch: _Watcher | None = None) -> None:
        """Add nodes of the open rows to the panels and to the record."""
        column = nodes.column + self.record.expect(nodes.by_row(len(self.open_rows)))
        t, density = self.warp.t(nodes.u).to(self.delta), self.warp.density(nodes.u).to(self.delta)
        order, place = self._order(nodes)
        row = self.open_rows[nodes.slot]
        for evaluation in self.field.gradients(self.path.at(row[order], t[order], place)):
            which = order[evaluation.part]
            slot, delta = nodes.slot[which], self.delta[row[which]]
            if watch is not None:
                watch(row[which], nodes.column[which], evaluation)
            # neither a node of weight zero nor a feature that does not change may spoil the sum with an
            # infinite gradient
            weightless = (density[which] == 0)[:, None] | (delta == 0)
            gradients = evaluation.gradients.masked_fill(weightless & ~evaluation.gradients.isfinite(), 0)
            self.panels.add(nodes, which, gradients)
            self.record.add(slot, column[which], gradients * delta * density[which][:, None])
            self.largest_score.scatter_reduce_(0, row[which], evaluation.values.double().abs(), "amax")
        self.record.sort()

    def _order(self, nodes: Nodes) -> tuple[Tensor, Tensor | None]:
        """In which order the nodes are evaluated, and the places that several of them share."""
        every = torch.arange(len(nodes.u), device=nodes.u.device)
        if self.path.sample is None:
            return every, None
        position = (nodes.u * POSITIONS).round().long()
        found = group_equal(self.path.sample[self.open_rows[nodes.slot]] * (POSITIONS + 1) + position)
        return found if found else (every, None)

    def _nothing_yet(self, evaluations: int) -> PathIntegral:
        rows, score_input = self.open_rows, torch.full_like(self.delta[:, 0], torch.nan)
        found = None if self.path.start is None else group_equal(self.path.start)
        order, place = found if found else (rows, None)
        score_baseline = torch.empty_like(score_input)
        # not from the path: halfway to an input that is not finite there is no baseline
        start = StraightPath(self.path.baseline, self.path.baseline)
        score_baseline[order] = self.field.values(start.at(order, torch.zeros_like(score_input)), place)
        unknown = torch.full((len(rows),), torch.nan, dtype=torch.float64, device=rows.device)
        return PathIntegral(
            running=torch.full_like(self.panels.running(), torch.nan),
            relative_error=unknown,
            score_input=score_input,
            score_baseline=score_baseline,
            evaluations=torch.full_like(rows, evaluations),
            status=torch.full(rows.shape, Status.QUARANTINED, dtype=torch.int8, device=rows.device),
        )

    def close(self) -> None:
        """Write down the rows that are done, and keep the others open."""
        rows, result = self.open_rows, self.result
        running = self.panels.running()
        self._judge(running)
        ends = result.score_input[rows] + result.score_baseline[rows]
        finite = torch.isfinite(running).all(dim=(1, 2)) & torch.isfinite(ends)
        converged = finite & (self.error <= self.rule.rtol)
        exhausted = self._budget() < self.panels.cells.min(dim=1).values
        done = converged | (finite & exhausted)
        closing = rows[done]
        result.running[closing] = running[done]
        result.relative_error[closing] = self.error[done]
        status = torch.where(converged, Status.CONVERGED, Status.NOT_CONVERGED)
        result.status[closing] = status[done].to(torch.int8)
        self._keep(finite & ~done)

    def _judge(self, running: Tensor) -> None:
        """Find the errors of the open rows."""
        rows, result = self.open_rows, self.result
        difference = (result.score_input.double() - result.score_baseline.double())[rows]
        rounding = 4 * torch.finfo(self.delta.dtype).eps * self.largest_score[rows]
        self.errors = self.record.errors()
        if not self.consistent:  # the gap tells of the gradients then, not of the nodes
            difference = self.errors.sum
        self.gap = completeness_gap(self.errors, difference, rounding)
        self.error = adaptive_error(
            self.errors,
            running[:, -1].double() * self.delta[rows].double(),
            difference,
            rounding,
            smooth=self.smooth,
            dtype=self.delta.dtype,
        )

    def _keep(self, remaining: Tensor) -> None:
        if not remaining.all():
            self.open_rows = self.open_rows[remaining]
            self.panels.keep(remaining)
            self.record.keep(remaining)
            self.error, self.gap = self.error[remaining], self.gap[remaining]
            self.errors = self.errors.of(remaining)


def integrate_fixed(field: Field, path: StraightPath, rule: FixedRule) -> PathIntegral:
    """∫₀¹ ∇f(γ(t)) dt by one rule for all rows, as papers and other libraries do.

    Its error is reported, but not acted upon: no row is judged.

    Example:
        >>> class Cube:
        ...     def gradients(self, points):
        ...         x = points.take(slice(None))
        ...         yield Evaluation(slice(None), (x**3).sum(1), 3 * x**2)
        ...     def values(self, points, place=None):
        ...         return (points.take(slice(None)) ** 3).sum(1)
        >>> path = StraightPath(torch.zeros(1, 1), torch.tensor([[2.0]]))
        >>> from xattr_cli.numerics.paths.quadrature import fixed_rule
        >>> found = integrate_fixed(Cube(), path, fixed_rule("midpoint", 1))
        >>> (found.mean_gradient * path.delta).tolist()  # 3 · 1² · 2
        [[6.0]]
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
        status=torch.where(finite, Status.NOT_JUDGED, Status.QUARANTINED).to(torch.int8),
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
