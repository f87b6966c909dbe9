"""Interactions of the tokens of real sentences in a transformer: what they take, and how far their sums close."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from scripts.benchmarks.benchlib import ROOT, Table
from xattr_cli.reports.interactions.matrix import row_matrix
from xattr_cli.store.results.reader import Results

__all__ = ["sentence_table"]

JOB = ROOT / "configs" / "minilm_interactions.yaml"
OUTPUT = ROOT / "runs" / "minilm" / "interactions.h5"

# a process that is started from a large one begins its peak there, so that a small one stands between
LAUNCHER = """
import json, resource, subprocess, sys
subprocess.run([sys.executable, "-m", "xattr_cli", *sys.argv[1:]], check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
unit = 1 if sys.platform == "darwin" else 1024
print(json.dumps({"seconds": used.ru_utime + used.ru_stime, "bytes": used.ru_maxrss * unit}))
"""


def sentence_table(sentences: int, output: Path = OUTPUT) -> Table:
    """Run the job on the first sentences of its file, in a process of its own, and read what it has left."""
    used = _run("run", JOB, "--overwrite", "--quiet", "--set", f"dataset.limit={sentences}",
                "--set", f"output.path={output}", "--set", "compute.threads=1")  # fmt: skip
    with Results.open(output) as results:
        lines = [_line(results, row) for row in range(len(results.rows))]
    columns = {
        "sentence": "", "tokens": "d", "change of the score": ".3f", "reported error": ".2%", "row-sum gap": ".2%",
        "whole gap": ".2%", "nodes": "d", "strongest pair": "", "Γ + Γᵀ": "+.3f",
    }  # fmt: skip
    note = (
        f"MiniLM, similarity to a reference, padding as baseline, `{JOB.relative_to(ROOT)}`: {len(lines)} "
        f"sentences took {used['seconds']:.0f} s of processor time and {used['bytes'] / 2**20:,.0f} MiB at most, "
        "loading included. Row-sum gap: what all rows of the matrix together miss the attributions of their "
        "tokens by, Σᵢ |Σⱼ Γᵢⱼ − IGᵢ|, over the change of the score; whole gap: what the sum of the matrix misses "
        "the change by."
    )
    return Table("Tokens of real sentences", columns, lines, note)


def _run(*arguments: object) -> dict[str, float]:
    command = [sys.executable, "-c", LAUNCHER, *map(str, arguments)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(told.splitlines()[-1])
    return found


def _line(results: Results, row: int) -> tuple[object, ...]:
    engine = results.engine("integrated_hessians")
    found = engine.interactions
    assert found is not None
    matrix = row_matrix(results, engine, found, row)
    change = float(engine.score_input[row] - engine.score_baseline[row])
    ((one, other), size, _), *_ = matrix.strongest(1)
    gaps = found.row_sum_gap([row])[0]
    return (
        " ".join(matrix.rows[1:-1]), len(matrix.rows), change, float(engine.relative_error[row]),
        float(np.abs(gaps).sum() / abs(change)), float(abs(found.matrix([row]).sum() - change) / abs(change)),
        int(engine.evaluations[row] // (1 + found.shape[0])), f"{one} × {other}", size,
    )  # fmt: skip
