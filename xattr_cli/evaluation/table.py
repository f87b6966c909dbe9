"""An evaluation as a table for people."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..metrics import CONTROL
from ..numerics.faithfulness.metrics import MetricEstimate
from .outcome import EvaluationOutcome, Measurement

__all__ = ["evaluation_text"]

_HEADS = ("metric", "better", "engine", "ranks", "mean ± SE", "minus random", "rows")
_SCOPES = {"local": "each row", "global": "all rows", "control": "each row"}


def evaluation_text(evaluation: EvaluationOutcome) -> str:
    """What was replaced by what; a line per metric and engine; and the differences between engines."""
    lines = [_HEADS, *(line for one in evaluation.measurements for line in _lines(evaluation, one))]
    pairs = [line for one in evaluation.measurements for line in _pairs(evaluation, one)]
    text = [_heading(evaluation), "", *_aligned(lines)]
    if pairs:
        text += ["", "differences on the same rows", *_aligned(pairs)]
    return "\n".join([*text, *_remarks(evaluation)])


def _heading(evaluation: EvaluationOutcome) -> str:
    units = _count(evaluation.units, evaluation.unit if " " not in evaluation.unit else "unit")
    rows = _count(len(evaluation.rows), "row")
    if not evaluation.perturbation:
        return f"{evaluation.file}: {rows}, {units}; score {evaluation.score}"
    kind, *options = evaluation.perturbation.items()
    settings = ", ".join(f"{key} {value}" for key, value in options if value not in (None, [], ()))
    what = f"{kind[1]} ({settings})" if settings else str(kind[1])
    turns = f", {evaluation.draws} draws per row" if evaluation.draws > 1 else ""
    return f"{evaluation.file}: {rows}, {units} replaced by {what}{turns}; score {evaluation.score}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _lines(evaluation: EvaluationOutcome, measurement: Measurement) -> Iterator[tuple[str, ...]]:
    estimates = measurement.estimates(evaluation.samples)
    differences = measurement.differences(evaluation.samples)
    against = {a: estimate for (a, b), estimate in differences.items() if b == CONTROL}
    for name, estimate in estimates.items():
        yield (
            measurement.title,
            "higher" if measurement.higher_is_better else "lower",
            name,
            _SCOPES[evaluation.scopes[name]],
            _with_error(estimate),
            _with_error(against[name]) if name in against else "",
            str(int(measurement.used.sum())),
        )


def _pairs(evaluation: EvaluationOutcome, measurement: Measurement) -> Iterator[tuple[str, ...]]:
    for (a, b), estimate in measurement.differences(evaluation.samples).items():
        if b != CONTROL:
            yield measurement.title, f"{a} − {b}", _with_error(estimate)


def _remarks(evaluation: EvaluationOutcome) -> Iterator[str]:
    for one in evaluation.measurements:
        left_out = int((~one.used).sum())
        if left_out:
            yield (f"{one.title}: {_count(left_out, 'row')} left out: {one.left_out}")


def _with_error(estimate: MetricEstimate) -> str:
    """Mean and standard error to the second digit of the error."""
    if not np.isfinite(estimate.mean):
        return "unknown"
    if not np.isfinite(estimate.standard_error) or estimate.standard_error == 0:
        return f"{estimate.mean:.4g} ± {'?' if np.isnan(estimate.standard_error) else '0'}"
    digits = 1 - int(np.floor(np.log10(estimate.standard_error)))
    if not 0 <= digits <= 6:
        return f"{estimate.mean:.4g} ± {estimate.standard_error:.2g}"
    return f"{estimate.mean:.{digits}f} ± {estimate.standard_error:.{digits}f}"


def _aligned(lines: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    ]
