"""Reported against true errors, on trained networks with and without kinks.

Example: python -m scripts.benchmarks.bench_error_bars --rows 200
"""

from __future__ import annotations

import argparse
from itertools import product

import torch

from scripts.benchmarks.bench_cases import NETWORKS, Case, case_of, share_covered, true_error
from scripts.benchmarks.benchlib import Table, publish, versions
from xattr_cli.engines.path.integrated_gradients import IntegratedGradients

RTOLS = (0.05, 0.02)
MAX_NODES = 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200, help="digits to explain (default: 200)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: as torch finds them)")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    cases = [
        case_of(name, options.rows, score=score, origin=origin)
        for name, score, origin in product(NETWORKS, ("logit", "probability"), ("zero", "mean"))
    ]
    lines = [line_of(case, rtol) for case in cases for rtol in RTOLS]
    columns = {"network": "", "score": "", "baseline": "", "rtol": "", "covered": ".1%", "ratio p5": ".2f",
               "ratio p50": ".2f", "ratio p95": ".1f", "gradients": ".1f", "true error p95": ".2%",
               "not converged": "d"}  # fmt: skip
    note = (
        "Integrated gradients against 2048 intervals. covered: share of rows whose true relative error is at "
        "most 1.25 times the reported one; ratio: reported / true; gradients: mean per row."
    )
    table = Table("The error bar of the nested rule", columns, lines, note)
    publish("error_bars", versions("torch") | {"rows": options.rows}, [table])


def line_of(case: Case, rtol: float) -> tuple[object, ...]:
    """What the engine reports of the rows of a case, computed as a job computes it, beside the true errors."""
    engine = IntegratedGradients(rtol=rtol, max_nodes=MAX_NODES)
    block = case.block(engine)
    block.smooth = not case.kinked
    explained = engine.explain(block)
    reported, true = explained.relative_error, true_error(explained.attribution, case.truth)
    ratio = reported / true.clamp(min=1e-7)
    gradients = explained.evaluations - 1  # the other one is the score of the baseline
    return (
        case.name, case.score, case.origin, rtol, share_covered(true, reported),
        *(float(ratio.quantile(quantile)) for quantile in (0.05, 0.5, 0.95)),
        float(gradients.double().mean()), float(true.quantile(0.95)), int((explained.status != 0).sum()),
    )  # fmt: skip


if __name__ == "__main__":
    main()
