"""Reported against true errors of integrated Hessians, and the ways that they are computed by."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from scripts.benchmarks.bench_cases import share_covered
from scripts.benchmarks.benchlib import Table
from scripts.benchmarks.hessian_cases import CASES, SecondOrderCase, matrix_error, softplus_mlp
from xattr_cli.device.curvature.field import SecondOrder
from xattr_cli.device.curvature.hvp import WAYS
from xattr_cli.device.curvature.network import Smoothing, find_curvature
from xattr_cli.engines.interactions.bench import InteractionBench
from xattr_cli.engines.interactions.integrated_hessians import IntegratedHessians
from xattr_cli.numerics.interactions.fan import Fan
from xattr_cli.numerics.interactions.grouping import Grouping
from xattr_cli.numerics.interactions.integrate import InteractionRule, integrate_interactions
from xattr_cli.numerics.interactions.log_rules import NODE_COUNTS

__all__ = ["error_bar_table", "way_table"]

RTOLS = (0.05, 0.01)
EXACT = 1e-11


def error_bar_table(rows: int) -> Table:
    """Each row stopped by its own word, against 95 nodes."""
    lines = []
    for name, make in CASES.items():
        for score in ("raw",) if name.startswith("softplus") else ("logit", "probability"):
            case = make(rows, score)
            truth = case.explain(rtol=EXACT).curves["interaction"]
            lines += [_line(case, name, score, truth, rtol) for rtol in RTOLS]
    columns = {"network": "", "score": "", "rtol": "", "covered": ".1%", "ratio p5": ".2f", "ratio p50": ".2f",
               "ratio p95": ".1f", "nodes": ".1f", "true error p95": ".2%", "not converged": "d"}  # fmt: skip
    note = (
        "covered: share of rows whose true relative error (Frobenius norm of the matrix, against 95 nodes) is at "
        "most 1.25 times the reported one; ratio: reported / true, of rows with fewer nodes; nodes: mean per row. "
        "Digits: 16 patches of 2 × 2 pixels; kinks are smoothed with β = 10."
    )
    return Table("The error bar of integrated Hessians", columns, lines, note)


def _line(case: SecondOrderCase, name: str, score: str, truth: Tensor, rtol: float) -> tuple[object, ...]:
    found = case.explain(rtol=rtol)
    true = matrix_error(found.curves["interaction"], truth)
    known = truth.flatten(1).any(dim=1)
    apart = known & (found.curves["nodes"] < NODE_COUNTS[-1])  # else it is the truth that it is held against
    ratio = (found.relative_error / true.clamp(min=1e-15))[apart]
    return (
        name, score, rtol, share_covered(true[known], found.relative_error[known]),
        *(float(ratio.quantile(quantile)) for quantile in (0.05, 0.5, 0.95)),
        float(found.curves["nodes"].double().mean()), float(true[known].quantile(0.95)),
        int((found.status != 0).sum()),
    )  # fmt: skip


# --- ways -----------------------------------------------------------------------------------------


def way_table(repetitions: int = 7) -> Table:
    """Microseconds per product of each way, and which one the engine chooses."""
    lines = []
    for name, features, rows in (("softplus MLP 30", 30, 64), ("softplus MLP 500", 500, 8)):
        torch.manual_seed(1)
        case = SecondOrderCase(
            name, softplus_mlp(features).double(), torch.randn(rows, features).double(), torch.zeros(rows).long(),
            "raw", {},
        )  # fmt: skip
        lines.append(_way_line(case, repetitions))
    for name in ("GELU MLP", "GRU", "ReLU CNN with max-pool, smoothed"):
        lines.append(_way_line(CASES[name](32, "logit"), repetitions))
    columns = {"network": "", "groups": "d", **dict.fromkeys(WAYS, ".1f"), "chosen": ""}
    note = (
        "Microseconds of processor time per Hessian-vector product in float32, all of a sweep over 5 nodes "
        "included; medians. Chosen: by the trial that begins every job."
    )
    return Table("Ways to multiply", columns, lines, note)


def _way_line(case: SecondOrderCase, repetitions: int) -> tuple[object, ...]:
    engine = IntegratedHessians(**case.options)
    block = case.block(engine, torch.float32)
    groups: Grouping = InteractionBench(block, engine).groups
    found = find_curvature(block.scorer, block.rows, Smoothing(), len(groups.chosen))
    chosen, lanes = found.how.way, found.how.lanes
    fan = Fan(block.inputs, torch.zeros_like(block.inputs), is_shared=False)
    rule = InteractionRule(0.999, 5, 2**30)
    seconds: Mapping[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(repetitions):
        for way in WAYS:
            settled = SecondOrder(way, lanes)
            found.how.way, found.how.lanes = settled.way, settled.lanes
            began = time.process_time()
            integrate_interactions(found.field(block.rows), fan, groups, rule)
            seconds[way].append(time.process_time() - began)
    products = 5 * len(block.rows) * len(groups.chosen)
    medians = [1e6 * float(np.median(seconds[way])) / products for way in WAYS]
    return (case.name, len(groups.chosen), *medians, chosen)
