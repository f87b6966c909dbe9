"""Sweeps over paths: what engines demand, what they get, and which demands one sweep can serve."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from ..numerics.paths.quadrature import AdaptiveRule

if TYPE_CHECKING:
    from torch import Tensor

    from ..numerics.paths.straight import StraightPath
    from ..numerics.paths.sweep import PathIntegral
    from .curves import PathCurves

__all__ = ["Integration", "NamedRule", "Sweep", "SweepKey", "SweepRequest", "merge_demands", "sweep_key"]

SweepKey = tuple[Any, ...]
Integration = Literal["auto", "secant", "gradient"]


@dataclass(frozen=True)
class NamedRule:
    """A fixed rule of `numerics.paths.quadrature`: its name and its number of nodes."""

    name: str
    nodes: int


@dataclass(frozen=True)
class SweepRequest:
    """A sweep over the straight paths from a baseline to each input.

    Engines of one job whose demands agree in baseline and nodes share one sweep, made to serve the most
    exacting of them.

    Attributes:
        baseline: a `Baseline` plugin.
        rule: where the nodes lie, and when a row stops.
        curves: the values at the nodes of the first trapezoid are wanted (nested rule only).
        marks: path positions α in (0, 1) up to which the running integral is wanted (nested rule only).
        by: whether an adaptive rule sums gradients at nodes, or cells whose derivatives are secants; auto
            leaves it to what the job's rows have told.
    """

    baseline: Any
    rule: AdaptiveRule | NamedRule
    curves: bool = False
    marks: tuple[float, ...] = ()
    by: Integration = "auto"

    @property
    def may_be_secant(self) -> bool:
        """Whether cells can serve it: gradients at the nodes themselves are not among what they give."""
        return isinstance(self.rule, AdaptiveRule) and self.by != "gradient" and not (self.curves or self.marks)


@dataclass(frozen=True)
class Sweep:
    """A finished sweep, as one of the engines that asked for it sees it.

    Attributes:
        path: baselines and inputs.
        integral: running integrals, errors, scores, costs and status. A sweep that several engines
            share costs them all of its evaluations together, not each.
        marks: α of each running integral of `integral`, ending in 1.
        recorded: what was seen at the first nodes, if curves were asked for.
        stride: of the recorded nodes, how many lie between two that this engine asked for.
    """

    path: StraightPath
    integral: PathIntegral
    marks: tuple[float, ...]
    recorded: PathCurves | None
    stride: int = 1

    @property
    def curves(self) -> PathCurves:
        """Scores and gradients along the path, at the nodes that the demand named."""
        if self.recorded is None:
            raise ValueError("this sweep was demanded without curves")
        return self.recorded.every(self.stride)

    def running(self, alphas: Sequence[float]) -> Tensor:
        """(rows, alphas, D): ∫₀^α ∇f(γ(t)) dt at some of the marks."""
        return self.integral.running[:, [self.marks.index(alpha) for alpha in alphas]]

    def column(self, values: Sequence[float]) -> Tensor:
        """Numbers as a (len, 1) tensor like the path, to be broadcast over its features."""
        return self.path.input.new_tensor(values)[:, None]

    def seen_by(self, demand: SweepRequest, planned: SweepRequest) -> Sweep:
        """This sweep, made for `planned`, in the eyes of an engine that asked for `demand`."""
        if not isinstance(demand.rule, AdaptiveRule) or not isinstance(planned.rule, AdaptiveRule):
            return self
        integral = replace(self.integral, status=self.integral.judged_by(demand.rule.rtol))
        stride = planned.rule.intervals // demand.rule.intervals if demand.curves else 1
        return replace(self, integral=integral, stride=stride)


def sweep_key(demand: SweepRequest) -> SweepKey:
    """Demands of equal key lie on the same paths and on nested nodes, and are served by one sweep."""
    baseline = json.dumps(demand.baseline.model_dump(mode="json"), sort_keys=True)
    rule = demand.rule
    return (baseline, rule.warp, demand.by == "secant") if isinstance(rule, AdaptiveRule) else (baseline, rule)


def merge_demands(demands: Iterable[SweepRequest | None]) -> dict[SweepKey, SweepRequest]:
    """One demand per sweep, as exacting as the most exacting of those it serves."""
    merged: dict[SweepKey, SweepRequest] = {}
    for demand in demands:
        if demand is not None:
            key = sweep_key(demand)
            merged[key] = _merge(merged[key], demand) if key in merged else demand
    return merged


def _merge(one: SweepRequest, other: SweepRequest) -> SweepRequest:
    if not isinstance(one.rule, AdaptiveRule) or not isinstance(other.rule, AdaptiveRule):
        return one
    rule = AdaptiveRule(
        rtol=min(one.rule.rtol, other.rule.rtol),
        max_nodes=max(one.rule.max_nodes, other.rule.max_nodes),
        intervals=_common_intervals([(d.rule.intervals, d.curves) for d in (one, other)]),  # type: ignore[union-attr]
        warp=one.rule.warp,
    )
    marks = tuple(sorted({*one.marks, *other.marks}))
    # whoever leaves it open is served by gradients that another one needs
    by: Integration = one.by if one.by == other.by else "gradient"
    return SweepRequest(one.baseline, rule, curves=one.curves or other.curves, marks=marks, by=by)


def _common_intervals(wishes: list[tuple[int, bool]]) -> int:
    """The first trapezoid must contain the nodes of every curve; whoever wants no curve takes any."""
    of_curves = [intervals for intervals, curves in wishes if curves]
    return math.lcm(*of_curves) if of_curves else max(intervals for intervals, _ in wishes)
