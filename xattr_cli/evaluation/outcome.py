"""What an evaluation found: a number per row, candidate and metric, and what they say together."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from ..errors import StoreError
from ..numerics.faithfulness.metrics import MetricEstimate, metric_estimate

__all__ = ["EvaluationOutcome", "Measurement", "evaluation_summary", "write_rows"]


@dataclass(frozen=True)
class Measurement:
    """One metric, of every candidate.

    Attributes:
        metric: its name.
        higher_is_better: which way a more faithful map moves it.
        candidates: their names; the control is the last.
        values: (candidates, rows); NaN where a map is not finite, or the network's scores are not.
        size: units per subset, such as n of sensitivity-n, else None.
        steps: (points,) along the curve, such as numbers of replaced units; None if the metric follows none.
        curves: (candidates, points) mean of the curves over the rows that are used.
        along: what the steps count.
        options: of the metric, those that are others than by default.
        left_out: why rows may have no number.
    """

    metric: str
    higher_is_better: bool
    candidates: tuple[str, ...]
    values: np.ndarray
    size: int | None = None
    steps: np.ndarray | None = None
    curves: np.ndarray | None = None
    along: str = "replaced"
    options: Mapping[str, Any] = field(default_factory=dict)
    left_out: str = ""

    @property
    def title(self) -> str:
        """The metric, with its n if it has one, and what else was asked for."""
        return " ".join([self.metric, *(f"{key}={value}" for key, value in self._told.items())])

    @property
    def _told(self) -> dict[str, Any]:
        return {**({} if self.size is None else {"n": self.size}), **self.options}

    @property
    def used(self) -> np.ndarray:
        """(rows,) bool: where every candidate has a number, so that all are compared on the same rows."""
        return np.asarray(np.isfinite(self.values).all(axis=0))

    def estimates(self, samples: np.ndarray) -> dict[str, MetricEstimate]:
        """Candidate -> mean over the used rows."""
        used = self.used
        return {
            name: metric_estimate(values[used], samples[used])
            for name, values in zip(self.candidates, self.values, strict=True)
        }

    def differences(self, samples: np.ndarray) -> dict[tuple[str, str], MetricEstimate]:
        """(one, other) -> mean of one − other, row by row, for every pair of candidates."""
        used = self.used
        pairs = combinations(range(len(self.candidates)), 2)
        return {
            (self.candidates[a], self.candidates[b]): metric_estimate(
                self.values[a, used] - self.values[b, used], samples[used]
            )
            for a, b in pairs
        }


@dataclass(frozen=True)
class EvaluationOutcome:
    """What an evaluation found.

    Attributes:
        file: the result file.
        score: what of the network's outputs was watched, as in a job file.
        perturbation: kind and options of what took the place of replaced units; empty if none were replaced.
        draws: replacements per row.
        unit, units: what was replaced as one, and how many of it a row has.
        seed: of every random draw.
        rows, samples, targets: (rows,) row numbers in the file, and what each explains.
        scopes: candidate -> "local", "global" or "control".
        measurements: one per metric.
        evaluations: of the network.
        seconds: wall time.
    """

    file: str
    score: str
    perturbation: Mapping[str, Any]
    draws: int
    unit: str
    units: int
    seed: int
    rows: np.ndarray
    samples: np.ndarray
    targets: np.ndarray
    scopes: Mapping[str, str]
    measurements: tuple[Measurement, ...]
    evaluations: int
    seconds: float


def evaluation_summary(evaluation: EvaluationOutcome) -> dict[str, Any]:
    """The evaluation as values that JSON can hold; what is not a number is None.

    Under `metrics`, per metric: per candidate the mean, its standard error and the mean curve; for every
    pair of candidates the difference on the same rows. For `pgu` and `pgi` the sum over k that some papers
    report is `units` times the mean.
    """
    names = ("file", "score", "perturbation", "draws", "unit", "units", "seed", "evaluations", "seconds")
    return {
        **{name: getattr(evaluation, name) for name in names},
        "rows": len(evaluation.rows),
        "samples": len(np.unique(evaluation.samples)),
        "metrics": [_measurement_summary(evaluation, one) for one in evaluation.measurements],
    }


def _measurement_summary(evaluation: EvaluationOutcome, measurement: Measurement) -> dict[str, Any]:
    estimates = measurement.estimates(evaluation.samples)
    drawn = measurement.curves
    curves = [None] * len(estimates) if drawn is None else [_plain(curve) for curve in drawn]
    return {
        "metric": measurement.metric,
        **({} if measurement.size is None else {"n": measurement.size}),
        **({} if not measurement.options else {"options": dict(measurement.options)}),
        "better": "higher" if measurement.higher_is_better else "lower",
        "rows": int(measurement.used.sum()),
        "left_out": int((~measurement.used).sum()),
        **({} if measurement.steps is None else {measurement.along: measurement.steps.tolist()}),
        "engines": [
            {
                "engine": name,
                "scope": evaluation.scopes[name],
                **_numbers(estimate),
                **({} if curve is None else {"curve": curve}),
            }
            for (name, estimate), curve in zip(estimates.items(), curves, strict=True)
        ],
        "differences": [
            {"engine": a, "minus": b, **_numbers(estimate)}
            for (a, b), estimate in measurement.differences(evaluation.samples).items()
        ],
    }


def _numbers(estimate: MetricEstimate) -> dict[str, float | None]:
    mean, error = _plain(np.array([estimate.mean, estimate.standard_error]))
    return {"mean": mean, "standard_error": error}


def _plain(values: np.ndarray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]


# --- per row ------------------------------------------------------------------------------------


def write_rows(evaluation: EvaluationOutcome, path: Path) -> None:
    """Write the number of every row as CSV: one line per row, a column per metric and candidate.

    Columns are `row`, `sample`, `target`, and `METRIC ENGINE`; a cell is empty where there is no number.

    Raises:
        StoreError: the file cannot be written.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            _write(evaluation, file)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(f"{path}: cannot be written: {error}") from error


def _write(evaluation: EvaluationOutcome, file: TextIO) -> None:
    writer = csv.writer(file, lineterminator="\n")
    names = [f"{one.title} {name}" for one in evaluation.measurements for name in one.candidates]
    writer.writerow(["row", "sample", "target", *names])
    columns = np.concatenate([one.values for one in evaluation.measurements])
    identity = zip(evaluation.rows, evaluation.samples, evaluation.targets, strict=True)
    for (row, sample, target), values in zip(identity, columns.T, strict=True):
        writer.writerow([int(row), int(sample), int(target), *(_cell(value) for value in values)])


def _cell(value: float) -> str:
    return repr(float(value)) if np.isfinite(value) else ""
