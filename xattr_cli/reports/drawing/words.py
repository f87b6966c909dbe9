"""What a figure says in words: a row's sample and scores, how sure and how dear its map is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from textwrap import wrap

import numpy as np

from ...samples import Status
from ...store.results.engines import EngineResults
from ...store.results.reader import Results

__all__ = [
    "ALPHA",
    "MINUS",
    "WARNINGS",
    "describe_map",
    "describe_row",
    "displayed_feature_names",
    "fold",
    "legend_name",
    "number",
    "of_target",
    "percent",
    "score_unit",
    "shorten",
]

ALPHA = "\N{GREEK SMALL LETTER ALPHA}"
MINUS = "\N{MINUS SIGN}"


def describe_row(results: Results, row: int, width: int = 25) -> list[str]:
    """Lines of at most `width` characters that say which sample and target a row explains, and its score."""
    lines: list[str] = []
    for fact in _describe(results, row):
        first = wrap(fact, width)[0]
        rest = fact[len(first) :].strip()
        lines += [first, "  " + shorten(rest, width - 2)] if rest else [first]
    return lines


def _describe(results: Results, row: int) -> Iterator[str]:
    rows = results.rows
    sample = int(rows.sample[row])
    yield f"sample {sample}"
    if sample in results.keys:
        yield results.keys[sample]
    if rows.has_label[row]:
        yield f"label {_value_or_class(results, rows.label[row])}"
    if rows.is_regression or rows.prediction[row] >= 0 or not len(results.outputs):
        yield f"predicted {_value_or_class(results, rows.prediction[row])}"
    if not rows.is_regression:
        yield f"target {results.row_target(row)}"
    yield _score(results, row)


def _value_or_class(results: Results, value: np.generic) -> str:
    if isinstance(value, np.floating):
        return number(float(value))
    return results.class_name(int(value.item()))


def _score(results: Results, row: int) -> str:
    scores = [float(engine.score_input[row]) for engine in results.engines.values()]
    finite = [score for score in scores if np.isfinite(score)]
    return f"{score_unit(results)} {number(finite[0]) if finite else 'not a number'}"


def score_unit(results: Results) -> str:
    """What the explained score is: "score", "logit", "probability", "log probability", or one of a plugin."""
    kind = results.job.get("score")
    kind = next(iter(kind), None) if isinstance(kind, dict) else kind
    return kind.replace("_", " ") if isinstance(kind, str) and kind not in ("auto", "raw") else "score"


WARNINGS: dict[int, str] = {
    Status.NOT_CONVERGED: "not converged",
    Status.INCONSISTENT: "inconsistent: gradients do not add up to the score",
}
"""Status → what is said of a row whose map is there, but not to be trusted."""


def describe_map(engine: EngineResults, row: int) -> str:
    """Error bar and cost of a row's map: "±3.1 %, 33 evaluations"; a second line if it is not to be trusted."""
    error, cost = float(engine.relative_error[row]), int(engine.evaluations[row])
    bar = "exact" if error == 0 else f"±{percent(error)}" if np.isfinite(error) else "error unknown"
    line = f"{bar}, {cost} evaluation{'' if cost == 1 else 's'}"
    warning = WARNINGS.get(int(engine.status[row]))
    return line if warning is None else f"{line}\n{warning}"


def displayed_feature_names(results: Results, tensor: str, count: int) -> list[str]:
    """Names of the features of a table, or the numbers of features or steps if the dataset knows none."""
    source = results.inputs.get(tensor)
    known = source.features if source is not None and len(source.features) == count else ()
    noun = "step" if source is not None and source.is_padded else "feature"
    return list(known) or [f"{noun} {place}" for place in range(count)]


def of_target(results: Results, label: str, target: int, rows: int) -> str:
    """What a figure of many rows shows: an engine, the explained output, and how many rows."""
    output = [] if results.rows.is_regression else [f"target {shorten(results.target_name(target), 40)}"]
    return ", ".join([label, *output, f"{rows} row{'' if rows == 1 else 's'}"])


def percent(share: float) -> str:
    """A share in per cent with two significant digits: 0.0312 -> "3.1 %"."""
    if not np.isfinite(share):
        return "unknown" if np.isnan(share) else "∞ %"
    if 0 < abs(share) < 1e-4:
        return "<0.01 %"
    digits = 0 if share == 0 else max(0, 1 - int(np.floor(np.log10(abs(share) * 100))))
    return f"{share * 100:.{digits}f} %"


def number(value: float) -> str:
    """A number with three significant digits, whole from a thousand to a million, and a real minus sign."""
    if not np.isfinite(value):
        return "not a number" if np.isnan(value) else "∞" if value > 0 else f"{MINUS}∞"
    if value == 0:
        return "0"
    text = f"{value:.0f}" if 1e3 <= abs(value) < 1e6 else f"{value:#.3g}".rstrip(".")
    return text.replace("-", MINUS)


def legend_name(name: str) -> str:
    """A name as legends show it: matplotlib leaves out those that begin with an underscore."""
    return f" {name}" if name.startswith("_") else name


def shorten(text: str, width: int) -> str:
    """The text, or its beginning and end around an ellipsis if it is longer than `width`."""
    if len(text) <= width:
        return text
    tail = (width - 1) // 3
    return text[: width - 1 - tail] + "…" + text[len(text) - tail :]


def fold(label: str, width: int, lines: int = 2) -> str:
    """A label in at most `lines` lines, broken where words, underscores, dots or dashes end."""
    if len(label) <= width:
        return label
    pieces = wrap(re.sub(r"([_.-])", r"\1 ", label), width)
    folded = [re.sub(r"([_.-]) ", r"\1", piece) for piece in pieces]
    shown = [*folded[: lines - 1], "".join(folded[lines - 1 :])] if len(folded) > lines else folded
    return "\n".join(shorten(line, width) for line in shown)
