"""Integrated Hessians along paths, refined row by row until each matrix is as accurate as asked."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ...samples import Status
from .error_bar import Witnesses
from .fan import Fan, FanNodes
from .grouping import Grouping, HessianField
from .log_rules import LogRule, nested_log_rules

NODE_BYTES = 64

__all__ = ["InteractionIntegral", "InteractionRule", "integrate_interactions", "level_bytes"]


@dataclass(frozen=True)
class InteractionRule:
    """How accurately interactions are integrated.

    Attributes:
        rtol: relative error at which a row stops.
        max_nodes: no row is evaluated at more nodes than this.
        memory_bytes: what may be held at once, beside the result.

    Example:
        >>> InteractionRule(rtol=0.05, max_nodes=129, memory_bytes=2**30).max_nodes
        129
    """

    rtol: float
    max_nodes: int
    memory_bytes: int


@dataclass(frozen=True)
class InteractionIntegral:
    """What a sweep over the paths of a block found; NaN in rows that met values that are not finite.

    Attributes:
        interaction: (rows, R, C), Γ of the chosen groups with the groups that are shown.
        attribution: (rows, D), Δ ⊙ ∫₀¹ ∇f(γ(t)) dt from the same nodes.
        row_sum_gap: (rows, R) float64, Σ_G' Γ_GG' over all groups, less Σ_{i ∈ G} IG_i.
        relative_error: (rows,) float64, reported bound on ‖Γ − truth‖ / ‖Γ‖, in Frobenius norms.
        score_input, score_baseline: (rows,) f(x) and f(x'), the mean over several paths.
        nodes: (rows,) int64; each took a gradient and R Hessian-vector products on every path.
        status: (rows,) int8, of `Status`.
        interaction_error: (rows, R, C), by how much the last level has changed `interaction`; empty for single
            paths.
        attribution_error: (rows, D), the same of `attribution`.

    Example:
        >>> from xattr_cli.numerics.examples import ProductField
        >>> fan = Fan(torch.tensor([[2.0, 3.0]]), torch.zeros(1, 2), is_shared=False)
        >>> groups = Grouping(torch.arange(2), count=2, chosen=torch.arange(2), shown=2)
        >>> found = integrate_interactions(ProductField(), fan, groups, InteractionRule(1e-3, 129, 2**20))
        >>> found.attribution.round(decimals=4).tolist(), found.status.tolist()
        ([[3.0, 3.0]], [0])
    """

    interaction: Tensor
    attribution: Tensor
    row_sum_gap: Tensor
    relative_error: Tensor
    score_input: Tensor
    score_baseline: Tensor
    nodes: Tensor
    status: Tensor
    interaction_error: Tensor
    attribution_error: Tensor


def integrate_interactions(
    field: HessianField, fan: Fan, groups: Grouping, rule: InteractionRule
) -> InteractionIntegral:
    """Γ_GG' = ∫₀¹ −t ln t · u_Gᵀ H u_G' dt + [G = G'] ∫₀¹ −ln t · u_G·g dt, with g and H at γ(t).

    The paper's double integral depends on the product of its two variables only; with that product as the
    variable it becomes this single one. A row stops alone; the others go on, packed together. The mean over
    several paths that end in x, which expected Hessians are, is one integral over t, too: that of the mean of the
    integrands, in which the peaks of single paths are smoothed out.

    Reference: Janizek, Sturmfels, Lee 2021, "Explaining Explanations: Axiomatic Feature Interactions for Deep
    Networks", arXiv 2002.04138, equations 5 and 6.

    Arguments:
        field: evaluates f and its derivatives.
        fan: the paths of every row.
        groups: of coordinates.
        rule: when to stop, and how much to hold at once.

    Example:
        >>> from xattr_cli.numerics.examples import ProductField
        >>> fan = Fan(torch.tensor([[2.0, 3.0]]), torch.zeros(1, 2), is_shared=False)
        >>> groups = Grouping(torch.arange(2), count=2, chosen=torch.arange(2), shown=2)
        >>> found = integrate_interactions(ProductField(), fan, groups, InteractionRule(1e-3, 129, 2**20))
        >>> (found.interaction / 1.5).round(decimals=4).tolist()  # x₀ x₁ / 4 each
        [[[1.0, 1.0], [1.0, 1.0]]]
    """
    result = _nothing_yet(field, fan, groups)
    at_once = max(1, rule.memory_bytes // 2 // level_bytes(groups, fan.input, rule.max_nodes, fan.paths))
    for some in torch.split(torch.arange(len(fan.input), device=fan.input.device), at_once):
        _Sweep(field, fan, groups, rule, some, result).run()
    return result


def level_bytes(groups: Grouping, input: Tensor, max_nodes: int, paths: int = 1) -> int:
    """Bytes that a row takes while it is refined: a matrix and a map for each level ahead, and its nodes.

    Example:
        >>> groups = Grouping(torch.arange(64), count=64, chosen=torch.arange(64), shown=64)
        >>> level_bytes(groups, torch.zeros(1, 64), max_nodes=129) > 4 * 64 * 64
        True
    """
    levels = len(nested_log_rules(max_nodes).levels)
    matrix, map_size = len(groups.chosen) * groups.count, input.shape[1]
    return int((levels + 5) * (matrix + map_size) * input.element_size()) + NODE_BYTES * max_nodes * paths


def _nothing_yet(field: HessianField, fan: Fan, groups: Grouping) -> InteractionIntegral:
    input, chosen = fan.input, len(groups.chosen)
    unknown = input.new_full((len(input),), torch.nan, dtype=torch.float64)
    matrix = input.new_full((len(input), chosen, groups.shown), torch.nan)
    attribution = torch.full_like(input, torch.nan)
    kept = len(input) if fan.is_shared else 0
    return InteractionIntegral(
        interaction=matrix,
        attribution=attribution,
        row_sum_gap=unknown[:, None].repeat(1, chosen),
        relative_error=unknown,
        score_input=field.values(_inputs(fan)),
        score_baseline=fan.scores(field, 0.0),
        nodes=torch.zeros_like(unknown, dtype=torch.int64),
        status=torch.full_like(unknown, Status.QUARANTINED, dtype=torch.int8),
        interaction_error=matrix[:kept].clone(),
        attribution_error=attribution[:kept].clone(),
    )


def _inputs(fan: Fan) -> FanNodes:
    every = torch.arange(len(fan.input), device=fan.input.device)
    start = torch.zeros_like(every) if fan.is_shared else every
    return FanNodes(fan, every, start, torch.ones_like(fan.input[:, 0]))


class _Level:
    """A rule, and the weighted sums of the open rows so far."""

    def __init__(self, rule: LogRule, rows: int, groups: Grouping, like: Tensor) -> None:
        self.rule = rule
        self.plain, self.ramp = (torch.from_numpy(weights).to(like) for weights in (rule.plain, rule.ramp))
        self.matrix = like.new_zeros(rows, len(groups.chosen), groups.shown)
        self.map = like.new_zeros(rows, like.shape[1])

    def add(self, slot: Tensor, node: Tensor, maps: Tensor, forms: Tensor) -> None:
        self.matrix.index_add_(0, slot, self.ramp[node, None, None] * forms)
        self.map.index_add_(0, slot, self.plain[node, None] * maps)

    def keep(self, remaining: Tensor) -> None:
        self.matrix, self.map = self.matrix[remaining], self.map[remaining]


class _Sweep:
    """Some rows of a block, and the sums of each level ahead of them.

    The weights of a node differ from level to level, so that every level has sums of its own; the matrices of
    the nodes themselves are not kept.
    """

    def __init__(
        self,
        field: HessianField,
        fan: Fan,
        groups: Grouping,
        rule: InteractionRule,
        rows: Tensor,
        result: InteractionIntegral,
    ) -> None:
        rules = nested_log_rules(rule.max_nodes)
        self.field, self.fan, self.groups, self.rtol, self.result = field, fan, groups, rule.rtol, result
        self.open_rows, self.nodes = rows, rules.nodes
        self.before = _Level(rules.shadow, len(rows), groups, fan.input)
        self.ahead = [_Level(log_rule, len(rows), groups, fan.input) for log_rule in rules.levels]
        self.witnesses = Witnesses(len(rows), len(rules.nodes), len(groups.chosen), fan.input)

    def run(self) -> None:
        """Refine until no row is open."""
        done = 0
        while self.ahead and self.open_rows.numel():
            level = self.ahead[0]
            self._evaluate(done, len(level.rule))
            self._close(level)
            done = len(level.rule)
            self.before = self.ahead.pop(0)

    def _evaluate(self, start: int, stop: int) -> None:
        """Add the nodes from `start` to `stop` to every level ahead, and to the one before the first."""
        rows, count, fan = len(self.open_rows), stop - start, self.fan
        slot = torch.arange(rows, device=self.open_rows.device).repeat_interleave(count)
        node = torch.arange(start, stop, device=slot.device).repeat(rows)
        t = torch.from_numpy(self.nodes).to(fan.input)[node]
        points = fan.at(self.open_rows[slot], t)
        slot, node = (numbers.repeat_interleave(fan.paths) for numbers in (slot, node))
        levels = [self.before, *self.ahead] if start == 0 else self.ahead
        for evaluated in self.field.forms(points, self.groups):
            row, where, which = points.row[evaluated.part], slot[evaluated.part], node[evaluated.part]
            delta = points.delta(evaluated.part)
            # a feature that does not change may not spoil the sum with an infinite gradient
            maps = (delta * evaluated.gradients).masked_fill(
                (delta == 0) & ~evaluated.gradients.isfinite(), 0
            ) / fan.paths
            shown = evaluated.forms[:, :, : self.groups.shown] / fan.paths
            for level in levels:
                level.add(where, which, maps, shown)
            self.witnesses.add(where, which, evaluated, delta, self.groups, row, 1 / fan.paths)

    def _matrix(self, level: _Level) -> Tensor:
        """(open, R, C), Γ of a level."""
        matrix = level.matrix.clone()
        chosen = self.groups.chosen
        row = torch.arange(len(chosen), device=chosen.device)[chosen < self.groups.shown]
        matrix[:, row, chosen[row]] += self.witnesses.diagonal(level.rule)[:, row].to(matrix)
        return matrix

    def _close(self, level: _Level) -> None:
        """Write down the rows that are done, and keep the others open."""
        rows, result = self.open_rows, self.result
        matrix, matrix_before = self._matrix(level), self._matrix(self.before)
        ends = torch.stack([result.score_input[rows], result.score_baseline[rows]])
        size, shadow = (
            torch.linalg.vector_norm(matrices.flatten(1), dim=1, dtype=torch.float64)
            for matrices in (matrix, matrix - matrix_before)
        )
        error = self.witnesses.error(level.rule, size, shadow, ends)
        finite = torch.isfinite(size) & torch.isfinite(level.map).all(dim=1) & torch.isfinite(ends).all(dim=0)
        converged = finite & (error <= self.rtol)
        done = finite if len(self.ahead) == 1 else converged
        closing = rows[done]
        result.interaction[closing] = matrix[done]
        result.attribution[closing] = level.map[done]
        result.row_sum_gap[closing] = self.witnesses.row_sum_gap(level.rule)[done]
        result.relative_error[closing] = error[done]
        if self.fan.is_shared:
            result.interaction_error[closing] = (matrix - matrix_before)[done].abs()
            result.attribution_error[closing] = (level.map - self.before.map)[done].abs()
        result.nodes[rows] = len(level.rule)
        status = torch.where(converged, Status.CONVERGED, Status.NOT_CONVERGED)
        result.status[closing] = status[done].to(torch.int8)
        self._keep(finite & ~done)

    def _keep(self, remaining: Tensor) -> None:
        if remaining.all():
            return
        self.open_rows = self.open_rows[remaining]
        for level in self.ahead:
            level.keep(remaining)
        self.witnesses.keep(remaining)
