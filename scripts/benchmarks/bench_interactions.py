"""Integrated Hessians against path-explain, the paper's own package: time to matrices right within one per cent.

Example: python -m scripts.benchmarks.bench_interactions --rows 32
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from scripts.benchmarks.bench_cases import block_of
from scripts.benchmarks.benchlib import Table, publish, versions
from scripts.benchmarks.hessian_cases import matrix_error, softplus_mlp
from scripts.benchmarks.hessian_error_bars import error_bar_table, way_table
from scripts.benchmarks.hessian_peers import foreseen_seconds, interactions, smallest_samples
from scripts.benchmarks.hessian_sentences import sentence_table
from xattr_cli.engines.interactions.integrated_hessians import IntegratedHessians

WITHIN = 0.01
FEW = 4  # rows on which path-explain's error is measured
ROWS_PER_CALL = 4096
ROWS_AT_ONCE = 100
REPETITIONS = 5
COMPARED = (30, 100)
MEASURED = 30
SENTENCES = 5
PROTOCOL = (5, 50, 500)
PROTOCOL_ROWS = 1000
ASKED: Mapping[str, Mapping[str, Any]] = {
    "all pairs": {},
    "one row": {"row": 0},
    "one pair": {"features": (0, 1), "rest": "drop"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=32, help="rows of the comparison (default: 32)")
    parser.add_argument("--cases", type=int, default=32, help="rows per network of the error bars (default: 32)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument("--quick", action="store_true", help="a small run that publishes nothing: does it work?")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows, cases, protocol_rows = (2, 4, 40) if options.quick else (options.rows, options.cases, PROTOCOL_ROWS)
    samples, comparison = comparison_table(rows)
    tables = [
        comparison,
        protocol_table(samples, protocol_rows),
        sentence_table(1 if options.quick else SENTENCES),
        error_bar_table(cases),
        way_table(),
    ]
    facts = {**versions("torch", "path-explain"), "threads": options.threads, "rows": rows}
    if options.quick:
        print("\n".join(table.markdown() for table in tables))
    else:
        publish("interactions", facts, tables)


# --- time to one per cent -------------------------------------------------------------------------


def comparison_table(rows: int) -> tuple[int, Table]:
    """Both packages on the same network; and the samples that path-explain needs."""
    lines, samples = [], 0
    for features in COMPARED:
        module, inputs = problem(features, rows)
        truth = ours(module, inputs, rtol=1e-9, dtype=torch.float64).curves["interaction"]
        samples = samples or smallest_samples(module, inputs[:FEW], truth[:FEW], matrix_error, WITHIN)[0]
        found = ours(module, inputs)
        before = [seconds_of_ours(module, inputs) for _ in range(REPETITIONS)]
        seconds = foreseen = foreseen_seconds(module, inputs, samples, rows_of_matrix=features)
        error = None
        if features == MEASURED:
            began = time.process_time()
            theirs = interactions(module, inputs, samples)
            seconds = time.process_time() - began
            error = float(matrix_error(theirs, truth).mean())
        after = [seconds_of_ours(module, inputs) for _ in range(REPETITIONS)]
        our_seconds = median([*before, *after])
        true, nodes = matrix_error(found.curves["interaction"], truth), found.curves["nodes"].double()
        lines.append((
            features, our_seconds, float(true.mean()), float(true.max()), float(nodes.mean()), foreseen,
            seconds if error else None, error, seconds / our_seconds,
        ))  # fmt: skip
        print(f"{features} features: ours {our_seconds:.3f} s, path-explain {seconds:.0f} s", flush=True)
    columns = {
        "features": "d", "ours, s": ".3f", "mean error": ".2%", "largest": ".2%", "nodes a row": ".1f",
        "path-explain, s: extrapolated": ".1f", "measured": ".1f", "its mean error": ".2%",
        "path-explain / ours": ",.0f",
    }  # fmt: skip
    note = (
        f"Softplus MLP features-128-128-1 (β = 10, random weights), {rows} rows from a zero baseline, all pairs, "
        "float32; seconds of processor time, so that what else the machine does leaves them alone. Ours stops "
        f"each row when its own reported error is at most {WITHIN:.0%}; path-explain is told the smallest square "
        f"number of samples, {samples}, whose mean error is at most {WITHIN:.0%} on {FEW} rows with "
        f"{MEASURED} features. Errors are relative Frobenius norms against ours at 1e-9 in float64; ours: "
        f"medians of {2 * REPETITIONS} runs. Extrapolated: from one of path-explain's outer nodes and a few rows "
        "of the matrix, without what it takes to keep the graphs of all nodes; the ratio is that of the measured "
        "time, where there is one."
    )
    return samples, Table("Time to one per cent", columns, lines, note)


def problem(features: int, rows: int) -> tuple[nn.Sequential, Tensor]:
    """A network, and inputs with standard normal features."""
    return softplus_mlp(features), torch.randn(rows, features, generator=torch.Generator().manual_seed(1))


def ours(module: nn.Sequential, inputs: Tensor, *, dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    """What integrated Hessians find, computed as a job computes it."""
    engine = IntegratedHessians(**{"rtol": WITHIN, **options})
    network = module if dtype == torch.float32 else softplus_mlp(inputs.shape[1]).to(dtype)
    return engine.explain(block_of(network, inputs.to(dtype), engines=[engine], rows=ROWS_PER_CALL))


def seconds_of_ours(module: nn.Sequential, inputs: Tensor, **options: Any) -> float:
    """Of the rows alone: the network is probed, and the fastest way settled, once per job and not here."""
    engine = IntegratedHessians(**{"rtol": WITHIN, **options})
    blocks = [block_of(module, some, engines=[engine], rows=ROWS_PER_CALL) for some in inputs.split(ROWS_AT_ONCE)]
    engine.check(blocks[0])
    for block in blocks[1:]:
        block.scorer.curvatures.update(blocks[0].scorer.curvatures)
    began = time.process_time()
    for block in blocks:
        engine.explain(block)
    return time.process_time() - began


# --- the paper's timing protocol ------------------------------------------------------------------


def protocol_table(samples: int, rows: int) -> Table:
    """5, 50 and 500 features, 1,000 rows; all pairs, one row, one pair."""
    lines = []
    for features in PROTOCOL:
        module, inputs = problem(features, rows)
        few = inputs[:32]
        for asked, options in ASKED.items():
            seconds = seconds_of_ours(module, inputs, **options)
            rows_of_matrix = features if asked == "all pairs" else 1
            theirs = foreseen_seconds(module, few, samples, rows_of_matrix=rows_of_matrix) * rows / len(few)
            lines.append((features, asked, seconds, theirs, theirs / seconds))
            print(f"{features} features, {asked}: ours {seconds:.2f} s, theirs {theirs:.0f} s", flush=True)
    columns = {
        "features": "d", "wanted": "", "ours, s": ".2f", "path-explain, s (extrapolated)": ",.0f", "ratio": ",.0f",
    }  # fmt: skip
    gigabytes = rows * samples**0.5 * PROTOCOL[-1] ** 2 * 4 / 1e9
    note = (
        f"{rows:,} rows, networks, accuracy and clock as above. Path-explain's time is extrapolated from a part "
        f"of its loops on 32 rows; as it is written, it could not finish 500 features: it keeps {gigabytes:.0f} "
        "GB of matrices, one per outer node. It has no single pairs: a pair costs it a row."
    )
    return Table("The paper's timing protocol", columns, lines, note)


if __name__ == "__main__":
    main()
