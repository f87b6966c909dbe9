"""Where nodes sit, and how many there are at first: powers of the warp t = u^p against starting intervals."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

from scripts.benchmarks.bench_cases import Case, share_covered, true_error
from scripts.benchmarks.benchlib import Table
from xattr_cli.engines.path.integrated_gradients import IntegratedGradients
from xattr_cli.numerics.paths.integrate import integrate
from xattr_cli.numerics.paths.quadrature import AdaptiveRule
from xattr_cli.numerics.paths.straight import StraightPath

__all__ = ["placement_table"]

POWERS = (1.0, 1.5, 2.0, 3.0)
FIRST_INTERVALS = (4, 6, 8)
RTOL = 0.05
MAX_NODES = 1024


def placement_table(cases: Sequence[Case]) -> Table:
    """Cost and accuracy over all cases, apart for networks with and without kinks."""
    columns = {"networks": "", "warp p": "", "first intervals": "d", "gradients": ".1f",
               "gradients, costliest": ".1f", "true error p95, worst": ".2%", "covered, worst": ".1%"}  # fmt: skip
    rows = [
        ("kinked" if kinked else "smooth", power, intervals, *_summary(
            [_measure(case, power, intervals) for case in cases if case.kinked == kinked]
        ))
        for kinked, power, intervals in product((True, False), POWERS, FIRST_INTERVALS)
    ]  # fmt: skip
    note = f"Nested rule at rtol {RTOL}; worst and costliest: over networks, scores and baselines."
    return Table("Placement of the nodes", columns, rows, note)


def _measure(case: Case, power: float, intervals: int) -> tuple[float, float, float]:
    """Mean gradients per row, 95th percentile of the true error, share covered."""
    block = case.block(IntegratedGradients())
    path = StraightPath(block.reference(None), block.inputs)
    rule = AdaptiveRule(rtol=RTOL, max_nodes=MAX_NODES, intervals=intervals, warp=power)
    found = integrate(block.field, path, rule, smooth=not case.kinked)
    error = true_error(found.mean_gradient * path.delta, case.truth)
    gradients = (found.evaluations - 1).double().mean()
    return float(gradients), float(error.quantile(0.95)), share_covered(error, found.relative_error)


def _summary(measured: Sequence[tuple[float, float, float]]) -> tuple[Any, ...]:
    gradients, errors, covered = zip(*measured, strict=True)
    return sum(gradients) / len(gradients), max(gradients), max(errors), min(covered)
