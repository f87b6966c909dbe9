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
    given = ", ".join(f"{key} {value}" for key, value in options if value not in (None, [], ()))
    what = f"{kind[1]} ({given})" if given else str(kind[1])
    turns = f", {evaluation.draws} draws per row" if evaluation.draws > 1 else ""
    return f"{evaluation.file}: {rows}, {units} replaced by {what}{turns}; score {evaluation.score}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _lines(evaluation: EvaluationOutcome, one: Measurement) -> Iterator[tuple[str, ...]]:
    estimates = one.estimates(evaluation.samples)
    against = {a: found for (a, b), found in one.differences(evaluation.samples).items() if b == CONTROL}
    for name, found in estimates.items():
        yield (
            one.title,
            "higher" if one.higher_is_better else "lower",
            name,
            _SCOPES[evaluation.scopes[name]],
            _with_error(found),
            _with_error(against[name]) if name in against else "",
            str(int(one.used.sum())),
        )


def _pairs(evaluation: EvaluationOutcome, one: Measurement) -> Iterator[tuple[str, ...]]:
    for (a, b), found in one.differences(evaluation.samples).items():
        if b != CONTROL:
            yield one.title, f"{a} − {b}", _with_error(found)


def _remarks(evaluation: EvaluationOutcome) -> Iterator[str]:
    for one in evaluation.measurements:
        left_out = int((~one.used).sum())
        if left_out:
            yield (f"{one.title}: {_count(left_out, 'row')} left out: {one.left_out}")


def _with_error(found: MetricEstimate) -> str:
    """Mean and standard error to the second digit of the error."""
    if not np.isfinite(found.mean):
        return "unknown"
    if not np.isfinite(found.standard_error) or found.standard_error == 0:
        return f"{found.mean:.4g} ± {'?' if np.isnan(found.standard_error) else '0'}"
    digits = 1 - int(np.floor(np.log10(found.standard_error)))
    if not 0 <= digits <= 6:
        return f"{found.mean:.4g} ± {found.standard_error:.2g}"
    return f"{found.mean:.{digits}f} ± {found.standard_error:.{digits}f}"


def _aligned(lines: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    ]
