"""Our metrics of maps beside those of Quantus: the same numbers, and how long both take.

Example: python -m scripts.benchmarks.bench_evaluate --rows 500
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import quantus
import torch

from scripts.benchmarks.benchlib import Table, alternate, median_ratio, publish, versions
from scripts.benchmarks.quantus_cases import CASES, QUIET, Bed

PACKAGES = ("quantus", "torch", "numpy")
ROWS, BATCH = 500, 256
MOST_OFF = 1e-5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--only", choices=("numbers", "times"), help="one table; default: both")
    options = parser.parse_args()
    facts = {**versions(*PACKAGES), "threads": torch.get_num_threads()}
    with TemporaryDirectory() as folder:
        if options.only != "times":
            publish("metrics_quantus", facts, [numbers(Bed(Path(folder)))])
    with TemporaryDirectory() as folder:
        if options.only != "numbers":
            publish("evaluate", facts, [times(Bed(Path(folder), options.rows), options.repetitions)])


def numbers(bed: Bed) -> Table:
    """Whether both give the same for every row."""
    rows = []
    for case in CASES:
        ours, theirs = case.found(bed)
        off: float | None = float(np.abs(ours - theirs).max())
        if case.ours == "completeness":
            same, off = f"no: true of {theirs.mean():.0%} of complete maps", None
        elif case.agrees:
            same = "yes" if off is not None and off <= MOST_OFF else "NO"
        else:
            same = "no, but convertible"
        rows.append([case.ours, case.theirs, len(ours), off, same, case.note])
    note = (
        "A small network of random weights on digits, signed gradients as maps, float32. Quantus was handed our "
        "random numbers: subsets, noise, outputs, shuffled networks. `make test` asserts the same figures."
    )
    columns = {"metric": "", "Quantus": "", "numbers": "d", "largest difference": ".1e", "same definition": "",
               "how compared, and what differs": ""}  # fmt: skip
    return Table("The same numbers as Quantus", columns, rows, note)


def times(bed: Bed, repetitions: int) -> Table:
    """Seconds of both for the same rows."""
    rows = []
    for asked, make in timed(bed).items():
        ours, theirs = make
        seconds = alternate({"ours": ours, "theirs": theirs}, repetitions)
        middle = median(seconds["ours"]), median(seconds["theirs"])
        rows.append([asked, *middle, median_ratio(seconds["theirs"], seconds["ours"])])
        print(rows[-1], flush=True)
    note = (
        f"{len(bed.images)} digits, a map of each; medians of {repetitions} alternating repetitions, ratios "
        "within one. Ours is the whole command without its imports: it opens the job, reads and checks the file, "
        f"and evaluates a random map beside. Quantus has the arrays at hand, in batches of {BATCH}."
    )
    columns = {"metric": "", "ours, s": ".2f", "Quantus, s": ".2f", "Quantus / ours": ".1f"}
    return Table("Time of an evaluation", columns, rows, note)


Pair = tuple[Callable[[], object], Callable[[], object]]


def timed(bed: Bed) -> dict[str, Pair]:
    """Metric with its options -> both ways to compute it."""
    again = {"explain_func": bed.gradients}

    def pair(asked: dict[str, Any], peer: Any, **given: Any) -> Pair:
        return lambda: bed.ours(asked), lambda: bed.theirs(peer, batch_size=BATCH, **given)

    plain = {**QUIET, "normalise": False}
    layers = {"return_last_correlation": False}
    return {
        "faithfulness_correlation, 100 subsets": pair(
            {"kind": "faithfulness_correlation", "n": 16},
            quantus.FaithfulnessCorrelation(nr_runs=100, subset_size=16, perturb_baseline=0.0, **plain),
        ),
        "faithfulness_estimate, 64 pixels": pair(
            {"kind": "faithfulness_estimate"},
            quantus.FaithfulnessEstimate(features_in_step=1, perturb_baseline=0.0, **plain),
        ),
        "non_sensitivity, 64 pixels": pair(
            {"kind": "non_sensitivity"}, quantus.NonSensitivity(perturb_baseline=0.0, **plain)
        ),
        "road, 3 percentages": pair(
            {"kind": "road", "percentages": [10, 50, 90]}, quantus.ROAD(percentages=[10, 50, 90], **plain)
        ),
        "sufficiency": pair({"kind": "sufficiency"}, quantus.Sufficiency(**plain)),
        "max_sensitivity, 10 draws": pair(
            {"kind": "max_sensitivity"}, quantus.MaxSensitivity(nr_samples=10, **plain), **again
        ),
        "local_lipschitz, 10 draws": pair(
            {"kind": "local_lipschitz"}, quantus.LocalLipschitzEstimate(nr_samples=10, **plain), **again
        ),
        "mprt, 3 layers": pair({"kind": "mprt"}, quantus.MPRT(**layers, **plain), **again),
        "random_logit": pair(
            {"kind": "random_logit"},
            quantus.RandomLogit(
                similarity_func=quantus.similarity_func.correlation_spearman, num_classes=10, **plain
            ),
            **again,
        ),
        "sparseness": pair({"kind": "sparseness"}, quantus.Sparseness(**plain)),
    }


if __name__ == "__main__":
    main()
