"""Integrals of a gradient along paths, refined row by row until each is as accurate as asked: the heart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from ...samples import Status
from .error_bar import (
    Evidence,
    adaptive_error,
    completeness_gap,
    doubt,
    fixed_rule_error,
    suspected_squares,
)
from .field import Evaluation, Field
from .node_record import NodeErrors, NodeRecord
from .panels import Nodes, Panels, panels_to_refine
from .quadrature import AdaptiveRule, FixedRule
from .straight import PathPoints, PowerWarp, StraightPath, group_equal
from .sweep import PathIntegral, PathPass, sweep

__all__ = ["Observer", "Trapezoids", "integrate", "integrate_fixed"]

NEAR_ENOUGH = 2.0
"""How many times the tolerance a row may report that takes the cells of another sweep, before it refines them."""

POSITIONS = 2**30
"""Nodes of several targets are the same if they round to the same multiple of 1 / POSITIONS."""


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
        >>> from xattr_cli.numerics.examples import ProductField
        >>> path = StraightPath(torch.zeros(1, 2), torch.tensor([[2.0, 3.0]]))
        >>> found = integrate(ProductField(), path, AdaptiveRule(rtol=0.01, max_nodes=1024, intervals=6, warp=2.0))
        >>> error = (found.mean_gradient * path.delta - 3).abs().max()  # x₀ x₁ / 2 each
        >>> bool(error < 0.03), bool(found.relative_error <= 0.01)
        (True, True)
    """
    rule_at_work = Trapezoids(
        field, path, rule, smooth=smooth, consistent=consistent, marks=marks, observers=observers
    )
    return sweep(rule_at_work, path)


@dataclass(frozen=True)
class _Judgement:
    """What the nodes tell about the open rows.

    Attributes:
        errors: of the trapezoid rules.
        gap: (open,) what the map's sum misses of the score's change, beyond rounding.
        error: (open,) reported relative error.
        doubt: (open,) how many times that has to keep below the tolerance.
    """

    errors: NodeErrors
    gap: Tensor
    error: Tensor
    doubt: Tensor

    def of(self, rows: Tensor) -> _Judgement:
        """Those of some of the open rows, (open,) bool."""
        return _Judgement(self.errors.of(rows), self.gap[rows], self.error[rows], self.doubt[rows])


@dataclass(frozen=True)
class _Wanted:
    """Nodes that are to be evaluated, and where what they give belongs.

    Attributes:
        nodes: on the paths of the open rows.
        row: (nodes,) int64, in the block.
        column: (nodes,) int64, in the record of its row.
        density: (nodes,) dt/du.
        order: (nodes,) int64, in which they are evaluated.
        points: in that order.
    """

    nodes: Nodes
    row: Tensor
    column: Tensor
    density: Tensor
    order: Tensor
    points: PathPoints


class Trapezoids:
    """Trapezoid rules in panels at work on a block: an `Integrator`.

    Arguments:
        field, path, rule, smooth, consistent, marks, observers: as those of `integrate`.
        cells: (rows, panels) int64, that another sweep has `taken`. A row takes as many, and goes on by itself if
            its error is more than `NEAR_ENOUGH` times the tolerance then. None for what each row needs.

    Example:
        >>> from xattr_cli.numerics.examples import ProductField
        >>> path = StraightPath(torch.zeros(1, 2), torch.tensor([[2.0, 3.0]]))
        >>> rule = AdaptiveRule(rtol=0.01, max_nodes=1024, intervals=6, warp=2.0)
        >>> found = sweep(Trapezoids(ProductField(), path, rule), path)
        >>> (found.mean_gradient * path.delta / 3 - 1).abs().max().item() < 0.01  # x₀ x₁ / 2 each
        True

    Attributes:
        rtol: relative error at which a row stops.
        marks: number of running integrals.
        panels: trapezoid sums of the open rows, panel by panel.
        record: of the nodes of the open rows.
        budget: (open,) int64, gradients that the open rows may still take.
        judgement: of the open rows, after the latest pass; None before the first one.
        looks: passes so far.
        taken: (rows, panels) int64, cells of every row at its latest pass.
    """

    def __init__(
        self,
        field: Field,
        path: StraightPath,
        rule: AdaptiveRule,
        *,
        smooth: bool = False,
        consistent: bool = True,
        marks: Sequence[float] = (),
        observers: Sequence[Observer] = (),
        cells: Tensor | None = None,
    ) -> None:
        self.field, self.path, self.rule, self.smooth = field, path, rule, smooth
        self.consistent = consistent
        ends = torch.tensor([*marks, 1.0], dtype=torch.float64)
        self.rtol, self.marks = rule.rtol, len(ends)
        self.warp, self.delta = PowerWarp(rule.warp), path.delta
        self.panels = Panels.of_one_level(rule.intervals, self.warp, ends, self.delta, least=cells)
        self.taken, self._follows = self.panels.cells.clone(), cells is not None
        self.record = NodeRecord(self.delta)
        self.budget = torch.full((len(self.delta),), rule.max_nodes, device=self.delta.device)
        self.judgement: _Judgement | None = None
        self.looks = 0
        self.largest_score = torch.zeros_like(self.delta[:, 0], dtype=torch.float64)
        self.observers, self._skips_baseline = observers, self._may_skip_baseline(observers)
        self.score_input = torch.full_like(self.delta[:, 0], torch.nan)
        self.score_baseline = self._scores_of_baselines()

    def advance(self, rows: Tensor) -> PathPass:
        """The first trapezoid; later its cells halved where it pays."""
        is_first = self.judgement is None
        nodes = self._first_nodes() if self.judgement is None else self._finer_nodes(self.judgement)
        gradients = nodes.per_row(len(rows))
        self.budget, self.looks = self.budget - gradients, self.looks + 1
        wanted = self._wanted(rows, nodes)
        for evaluation in self.field.gradients(wanted.points):
            self._take(wanted, evaluation, is_first=is_first)
        self.record.sort()
        running = self.panels.running()
        self.judgement = self._judged(rows, running)
        self.taken[rows] = self.panels.cells
        return PathPass(
            running=running,
            relative_error=self.judgement.error,
            score_input=self.score_input[rows],
            score_baseline=self.score_baseline[rows],
            evaluations=gradients + int(is_first),  # and the score of the baseline
            exhausted=(self.budget < self.panels.cells.min(dim=1).values) | self._has_followed(self.judgement),
            doubt=torch.where(self.panels.lacking.any(dim=1), torch.inf, self.judgement.doubt),
        )

    def keep(self, remaining: Tensor) -> None:
        """Forget the rows that are done."""
        self.panels.keep(remaining)
        self.record.keep(remaining)
        self.budget = self.budget[remaining]
        self.judgement = None if self.judgement is None else self.judgement.of(remaining)

    def _first_nodes(self) -> Nodes:
        """Those of the first trapezoid; without the baseline where the integrand is 0 there."""
        nodes = self.panels.first_nodes()
        if not self._skips_baseline:
            return nodes
        self.record.expect(torch.zeros(len(self.delta), 1, dtype=torch.float64, device=self.delta.device))
        return nodes.without_baseline()

    def _finer_nodes(self, judged: _Judgement) -> Nodes:
        """Those that halve cells of the open rows where it pays."""
        errors = judged.errors
        panel = (errors.cell * self.panels.count).clamp(max=self.panels.count - 1).long()
        squares = torch.zeros_like(self.panels.cells, dtype=torch.float64)
        squares.scatter_add_(1, panel, suspected_squares(errors, judged.gap))
        share = self.rtol / (judged.error * judged.doubt).clamp(min=1e-300)
        refined, lacking = panels_to_refine(squares, self.panels.cells, share, self.budget), self.panels.lacking
        return self.panels.halve(torch.where(lacking.any(dim=1, keepdim=True), lacking, refined))

    def _has_followed(self, judged: _Judgement) -> Tensor:
        """(open,) whether a row has the cells of another sweep, and is near enough to the tolerance with them."""
        near = judged.error <= NEAR_ENOUGH * self.rtol
        return near & ~self.panels.lacking.any(dim=1) if self._follows else torch.zeros_like(near)

    def _watch(self, row: Tensor, column: Tensor, evaluation: Evaluation) -> None:
        """Take the scores of the inputs; show the first trapezoid to whoever wants to see it."""
        index = column + self._skips_baseline
        at_input = index == self.rule.intervals
        self.score_input[row[at_input]] = evaluation.values[at_input]
        for observer in self.observers:
            observer.observe(row, index, evaluation)

    def _may_skip_baseline(self, observers: Sequence[Observer]) -> bool:
        """Whether the gradient at the baseline is neither wanted nor of any weight."""
        wanted = any(observer.needs_baseline for observer in observers)
        return not wanted and float(self.warp.density(torch.zeros(()))) == 0

    def _wanted(self, rows: Tensor, nodes: Nodes) -> _Wanted:
        """Nodes of the open rows, announced to the record."""
        column = nodes.column + self.record.expect(nodes.by_row(len(rows)))
        t, density = self.warp.t(nodes.u).to(self.delta), self.warp.density(nodes.u).to(self.delta)
        order, place = self._order(rows, nodes)
        row = rows[nodes.slot]
        return _Wanted(nodes, row, column, density, order, self.path.at(row[order], t[order], place))

    def _take(self, wanted: _Wanted, evaluation: Evaluation, *, is_first: bool) -> None:
        """Add what some nodes gave to the panels and to the record."""
        which = wanted.order[evaluation.part]
        row, density = wanted.row[which], wanted.density[which][:, None]
        delta = self.delta[row]
        if is_first:
            self._watch(row, wanted.nodes.column[which], evaluation)
        # neither a node of weight zero nor a feature that does not change may spoil the sum with an
        # infinite gradient
        weightless = (density == 0) | (delta == 0)
        gradients = evaluation.gradients.masked_fill(weightless & ~evaluation.gradients.isfinite(), 0)
        self.panels.add(wanted.nodes, which, gradients)
        self.record.add(wanted.nodes.slot[which], wanted.column[which], gradients * delta * density)
        self.largest_score.scatter_reduce_(0, row, evaluation.values.double().abs(), "amax")

    def _order(self, rows: Tensor, nodes: Nodes) -> tuple[Tensor, Tensor | None]:
        """In which order the nodes are evaluated, and the places that several of them share."""
        every = torch.arange(len(nodes.u), device=nodes.u.device)
        if self.path.sample is None:
            return every, None
        position = (nodes.u * POSITIONS).round().long()
        found = group_equal(self.path.sample[rows[nodes.slot]] * (POSITIONS + 1) + position)
        return found if found else (every, None)

    def _scores_of_baselines(self) -> Tensor:
        """(rows,) f(x'), each baseline that several rows share once."""
        rows = torch.arange(len(self.delta), device=self.delta.device)
        found = None if self.path.start is None else group_equal(self.path.start)
        order, place = found if found else (rows, None)
        scores = torch.empty_like(self.score_input)
        # not from the path: halfway to an input that is not finite there is no baseline
        start = StraightPath(self.path.baseline, self.path.baseline)
        scores[order] = self.field.values(start.at(order, torch.zeros_like(scores)), place)
        return scores

    def _judged(self, rows: Tensor, running: Tensor) -> _Judgement:
        difference = (self.score_input.double() - self.score_baseline.double())[rows]
        rounding = 4 * torch.finfo(self.delta.dtype).eps * self.largest_score[rows]
        errors = self.record.errors()
        if not self.consistent:  # the gap tells of the gradients then, not of the nodes
            difference = errors.sum
        error = adaptive_error(
            errors,
            running[:, -1].double() * self.delta[rows].double(),
            difference,
            rounding,
            smooth=self.smooth,
            dtype=self.delta.dtype,
        )
        gap = completeness_gap(errors, difference, rounding)
        return _Judgement(errors, gap, error, doubt(errors, self.looks, smooth=self.smooth))


def integrate_fixed(field: Field, path: StraightPath, rule: FixedRule) -> PathIntegral:
    """∫₀¹ ∇f(γ(t)) dt by one rule for all rows, as papers and other libraries do.

    Its error is reported, but not acted upon: no row is judged.

    Example:
        >>> from xattr_cli.numerics.examples import ProductField
        >>> path = StraightPath(torch.zeros(1, 2), torch.tensor([[2.0, 3.0]]))
        >>> from xattr_cli.numerics.paths.quadrature import fixed_rule
        >>> found = integrate_fixed(ProductField(), path, fixed_rule("midpoint", 1))
        >>> (found.mean_gradient * path.delta).tolist()  # exact: the gradient is linear on the path
        [[3.0, 3.0]]
    """
    found = sweep(_FixedNodes(field, path, rule), path)
    judged = found.status != Status.NOT_CONVERGED
    return replace(found, status=torch.where(judged, found.status, Status.NOT_JUDGED).to(torch.int8))


class _FixedNodes:
    """The nodes of one rule for all rows, at work on a block: an `Integrator` of a single pass.

    Attributes:
        rtol: no error is small enough, or too large.
        marks: number of running integrals.
    """

    rtol, marks = math.nan, 1

    def __init__(self, field: Field, path: StraightPath, rule: FixedRule) -> None:
        self.field, self.path, self.rule = field, path, rule

    def advance(self, rows: Tensor) -> PathPass:
        """All nodes of all rows."""
        delta, path = self.path.delta, self.path
        halves, shares, evidence = self._halves(rows, delta)
        score_input, score_baseline = (
            self.field.values(path.at(rows, torch.full_like(delta[:, 0], t))) for t in (1.0, 0.0)
        )
        change, share = score_input - score_baseline, self.rule.error_share
        return PathPass(
            running=halves.sum(dim=1, keepdim=True),
            relative_error=fixed_rule_error(halves * delta[:, None], shares, change, evidence, share),
            score_input=score_input,
            score_baseline=score_baseline,
            evaluations=torch.full_like(rows, len(self.rule.nodes) + 2),
            exhausted=torch.ones_like(rows, dtype=torch.bool),
        )

    def keep(self, remaining: Tensor) -> None:
        """Nothing is remembered."""

    def _halves(self, rows: Tensor, delta: Tensor) -> tuple[Tensor, Tensor, Evidence]:
        """Sums over both halves of the nodes (rows, 2, D), the weights (2,) of those, and what all nodes tell."""
        nodes, weights = (torch.from_numpy(numbers).to(delta) for numbers in (self.rule.nodes, self.rule.weights))
        slot, node = rows.repeat_interleave(len(nodes)), torch.arange(len(nodes), device=delta.device)
        node = node.repeat(len(rows))
        sample = self.path.sample
        same = None if sample is None else group_equal(sample[slot] * len(nodes) + node)
        order, place = same if same else (torch.arange(len(slot), device=slot.device), None)
        slot, node = slot[order], node[order]
        belongs, evidence = _halves_of(self.rule).to(delta), Evidence.none_yet(delta)
        halves = delta.new_zeros(2 * len(rows), delta.shape[1])
        for evaluation in self.field.gradients(self.path.at(slot, nodes[node], place)):
            row, which = slot[evaluation.part], node[evaluation.part]
            for half in (0, 1):
                share = (weights * belongs[:, half])[which][:, None]
                halves.index_add_(0, 2 * row + half, share * evaluation.gradients)
            evidence.add(row, evaluation.gradients * delta[row], evaluation.values)
        return halves.view(len(rows), 2, -1), weights @ belongs, evidence


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
