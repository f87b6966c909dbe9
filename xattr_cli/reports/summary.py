"""What a result file says in brief: where it comes from, and per engine how far its maps can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from ..samples import Status
from ..store.results.agreement import agreement_text
from ..store.results.engines import EngineResults
from ..store.results.reader import EffectResults, Results
from .drawing.words import percent

__all__ = ["engine_table", "failures", "remarks", "source_facts", "summarize", "summary_text"]

_LISTED_ROWS = 20
_HASH = 8  # characters that are shown
_PROVENANCE = (
    "format", "package_version", "torch_version", "device", "host", "seed", "started", "ended",
    "command_line", "job_hash", "checkpoint_hash", "dataset_hash", "model_notes", "code_changes",
    "execution", "integration",
)  # fmt: skip

_SOURCE_KEYS = ("factory", "name", "path", "checkpoint")
_SHOWN_ROWS = 8
_STATUS_WORDS = {
    "quarantined": "quarantined, score or gradient is not finite",
    "inconsistent": "inconsistent, the gradients do not add up to the score",
    "not_converged": "not converged within the cap on evaluations",
}
_EXTRAPOLATED = "outside of the range that was studied: effects there are those of its nearest end"
"""What "not converged" means for rows that average causal effects explain: nothing is integrated for them."""
_Column = tuple[str, str, Callable[[Any], str]]
_COLUMNS: tuple[_Column, ...] = (
    ("rows", "rows", str),
    ("converged", "converged", str),
    ("not conv.", "not_converged", str),
    ("quarant.", "quarantined", str),
    ("inconsist.", "inconsistent", str),
    ("not judged", "not_judged", str),
    ("rtol", "rtol", percent),
    ("error: median", "relative_error_median", percent),
    ("95 %", "relative_error_p95", percent),
    ("|gap|: median", "relative_gap_median", percent),
    ("evaluations/row", "evaluations_per_row", "{:.1f}".format),
)

_RARE = ("inconsistent", "not_judged")  # columns that are left out where no row is


def summarize(results: Results) -> dict[str, Any]:
    """What the file holds, as values that JSON can hold; what is not known or not finite is None.

    Under `engines`, per label: counts of rows by status, the numbers of the first rows that did not
    converge, are inconsistent or were quarantined, median and 95th percentile of the relative error, median of the
    completeness gap relative to the change of the score, and the evaluations; under `interactions`, where there
    are any, their shape, how far their sums close, and by how much smoothing has moved the scores.
    """
    rows, job = results.rows, results.job
    return {
        "file": str(results.path),
        "bytes": results.path.stat().st_size,
        **{key: results.attributes.get(key) for key in _PROVENANCE},
        "seconds": _seconds(results.attributes),
        **{key: job.get(key) for key in ("model", "dataset", "target", "score")},
        "rows": len(rows),
        "samples": len(np.unique(rows.sample)),
        "stored_samples": len(results.stored),
        "classes": len(results.classes),
        "agreement": agreement_text(rows.sample, rows.label, rows.prediction),
        "tensors": {
            name: list(shape) for engine in results.engines.values() for name, shape in engine.tensors.items()
        },
        "engines": {label: _summarize_engine(results, engine) for label, engine in results.engines.items()},
        "effects": {label: _summarize_effects(effects) for label, effects in results.effects.items()},
    }


def _summarize_effects(effects: EffectResults) -> dict[str, Any]:
    return {
        "engine": effects.engine,
        "converged": effects.converged,
        "evaluations": effects.evaluations,
        "warnings": list(effects.warnings),
    }


def _summarize_engine(results: Results, engine: EngineResults) -> dict[str, Any]:
    numbers = results.rows.id
    not_converged = numbers[engine.status == Status.NOT_CONVERGED]
    inconsistent = numbers[engine.status == Status.INCONSISTENT]
    quarantined = numbers[engine.status == Status.QUARANTINED]
    return {
        "engine": engine.engine,
        "rtol": engine.rtol,
        "rows": len(numbers),
        "converged": int(np.count_nonzero(engine.status == Status.CONVERGED)),
        "not_converged": len(not_converged),
        "inconsistent": len(inconsistent),
        "not_judged": int(np.count_nonzero(engine.status == Status.NOT_JUDGED)),
        "quarantined": len(quarantined),
        "first_not_converged_rows": not_converged[:_LISTED_ROWS].tolist(),
        "first_inconsistent_rows": inconsistent[:_LISTED_ROWS].tolist(),
        "first_quarantined_rows": quarantined[:_LISTED_ROWS].tolist(),
        "relative_error_median": _percentile(engine.relative_error, 50),
        "relative_error_p95": _percentile(engine.relative_error, 95),
        "relative_gap_median": _percentile(engine.relative_gap, 50),
        "evaluations_per_row": float(engine.evaluations.mean()) if len(numbers) else None,
        "evaluations": int(engine.evaluations.sum()),
        "interactions": _summarize_interactions(engine),
        "stability": _summarize_stability(engine),
    }


def _summarize_stability(engine: EngineResults) -> dict[str, Any]:
    """Medians over the rows: of relative changes with their standard errors, of correlations at the last step."""
    medians: dict[str, Any] = {}
    for name in engine.stability:
        values, errors = engine.read(f"stability/{name}"), engine.read(f"stability/{name}_standard_error")
        last = (values, errors) if values.ndim == 1 else (values[:, -1], errors[:, -1])
        medians[name] = {"median": _percentile(last[0], 50), "standard_error_median": _percentile(last[1], 50)}
    if medians:
        asked = engine.read("stability/evaluations")
        medians["evaluations_per_row"] = float(asked.mean()) if len(asked) else None
    return medians


def _summarize_interactions(engine: EngineResults) -> dict[str, Any] | None:
    """Of a second-order engine: how far its sums close, and what was done to the network; else None."""
    interactions = engine.interactions
    if interactions is None:
        return None
    gaps, drift = np.abs(interactions.row_sum_gap(slice(None))), interactions.drift(slice(None))
    change = np.abs(engine.score_input - engine.score_baseline)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = gaps.max(axis=1, initial=0.0) / change
    return {
        "shape": list(interactions.shape),
        "relative_row_sum_gap_median": _percentile(relative, 50),
        "smoothing_drift_median": None if drift is None else _percentile(np.abs(drift), 50),
        "smoothing_drift_max": None if drift is None else _percentile(np.abs(drift), 100),
        "replaced": list(interactions.replaced),
        "repaired": list(interactions.repaired),
    }


def _percentile(values: np.ndarray, share: float) -> float | None:
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    with np.errstate(invalid="ignore"):  # errors that are unknown are infinite
        value = float(np.percentile(known, share))
    return value if np.isfinite(value) else None


def _seconds(attributes: Mapping[str, Any]) -> float | None:
    try:
        start, end = (datetime.fromisoformat(str(attributes[key])) for key in ("started", "ended"))
        return (end - start).total_seconds()
    except (KeyError, ValueError, TypeError):
        return None


def summary_text(summary: Mapping[str, Any]) -> str:
    """The summary as a short table for people."""
    facts = [f"{name:<9}{text}" for name, text in source_facts(summary)]
    engines, effects = summary["engines"], summary["effects"]
    rows = ["", *_table(engines), *failures(engines), *remarks(engines)] if engines else []
    return "\n".join([*facts, *rows, *_effects(effects)])


def _effects(effects: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """A line per population engine, and one per warning that it had."""
    if effects:
        yield ""
    width = max(map(len, effects), default=0)
    for label, about in effects.items():
        state = "converged" if about["converged"] else "NOT CONVERGED within the cap on evaluations"
        yield f"{label:<{width}}  {about['engine']}: {state}, {about['evaluations']:,} evaluations"
        yield from (f"{'':<{width}}  warning: {warning}" for warning in about["warnings"])


def _interactions(engines: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """For each second-order engine, how far its sums close, and by how much smoothing has moved the scores."""
    for label, engine in engines.items():
        about = engine["interactions"]
        if about is None:
            continue
        size, gap = " × ".join(map(str, about["shape"])), about["relative_row_sum_gap_median"]
        closes = "" if gap is None else f", row sums within {percent(gap)} of the score's change (median)"
        yield f"{label}: {size} interactions a row{closes}"
        if about["replaced"]:
            moved = f"{about['smoothing_drift_median'] or 0:.2g} (median), {about['smoothing_drift_max'] or 0:.2g}"
            yield f"{label}: smoothed, {', '.join(about['replaced'])}; moves scores by {moved} at most"


_FIRM = {
    "weights": "noise in the weights changes a map by {median} ± {error} (median of the rows)",
    "inputs": "noise in the input changes a map by {median} ± {error} (median of the rows)",
    "randomised": "rank correlation with the map of a network shuffled from the top: {median} ± {error} (median)",
}


def _stability(engines: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """A line per question that was asked of an engine's firmness."""
    for label, engine in engines.items():
        for name, sentence in _FIRM.items():
            change = engine["stability"].get(name)
            if change and change["median"] is not None:
                show = "{:.2f}".format if name == "randomised" else percent
                yield f"{label}: " + sentence.format(
                    median=show(change["median"]), error=show(change["standard_error_median"] or 0.0)
                )


def _score(score: Any) -> str:
    """A name, or a name and its options, as a job file has them."""
    if not isinstance(score, Mapping):
        return str(score)
    ((name, options),) = score.items()
    return f"{name} {{{', '.join(f'{key}: {value}' for key, value in options.items())}}}"


def remarks(engines: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What else is told of the engines: of their interactions, and of the stability of their maps."""
    yield from _interactions(engines)
    yield from _stability(engines)


def source_facts(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Name and text of what is known of a file as a whole."""
    yield "file", f"{_nearby(summary['file'])} ({_size(summary['bytes'])}, {summary['format']})"
    yield "model", f"{_source(summary['model'])} [{_short(summary['checkpoint_hash'])}]"
    yield "dataset", f"{_source(summary['dataset'])} [{_short(summary['dataset_hash'])}]"
    yield "job", f"[{_short(summary['job_hash'])}] score {_score(summary['score'])}, target {summary['target']}"
    versions = f"xattr-cli {summary['package_version']}, torch {summary['torch_version']}"
    duration = "" if summary["seconds"] is None else f", took {_duration(summary['seconds'])}"
    yield "run", f"{versions} on {summary['device']}, {summary['started']}{duration}"
    if summary["execution"]:
        yield "network", str(summary["execution"])
    if summary["integration"] not in (None, "", "gradients"):
        yield "paths", str(summary["integration"])
    samples = f"{summary['samples']} samples (inputs of {summary['stored_samples']} stored)"
    tensors = ", ".join(f"{name} {tuple(shape)}" for name, shape in summary["tensors"].items())
    if summary["engines"] or not summary["effects"]:
        yield "rows", f"{summary['rows']} of {samples}; {tensors or 'no maps'}"
    if summary["agreement"]:
        yield "labels", summary["agreement"]
    for line in filter(None, str(summary["code_changes"] or "").splitlines()):
        yield "changed", line
    for note in filter(None, str(summary["model_notes"] or "").splitlines()):
        yield "note", note


def _source(section: Any) -> str:
    """Kind, and the texts that say which model or dataset of that kind."""
    if not isinstance(section, Mapping):
        return "unknown"
    texts = [str(section[key]) for key in ("kind", *_SOURCE_KEYS) if isinstance(section.get(key), str)]
    return " ".join(map(_nearby, texts))


def _nearby(text: str) -> str:
    """A path below the current folder as a person there would write it; anything else as it is."""
    path = Path(text)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else text


def _short(digest: Any) -> str:
    return str(digest)[:_HASH] if digest else "no hash"


def _size(count: int) -> str:
    value, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def _table(engines: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines = engine_table(engines)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return [
        "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def engine_table(engines: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Heads, and a line of cells per engine."""
    shown = [
        column for column in _COLUMNS if column[1] not in _RARE or any(e[column[1]] for e in engines.values())
    ]
    heads = ("engine", *(head for head, _, _ in shown))
    return [heads, *((label, *_cells(engine, shown)) for label, engine in engines.items())]


def _cells(engine: Mapping[str, Any], columns: Sequence[_Column]) -> Iterator[str]:
    for _, key, show in columns:
        yield "-" if engine[key] is None else show(engine[key])


def failures(engines: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """One line per status, reason and set of rows; engines that fail at the same rows share it."""
    for status, words in _STATUS_WORDS.items():
        labels: dict[tuple[Any, ...], list[str]] = {}
        for label, engine in engines.items():
            if engine[status]:
                reason = _EXTRAPOLATED if engine["engine"] == "ace" and status == "not_converged" else words
                labels.setdefault((reason, engine[status], *engine[f"first_{status}_rows"]), []).append(label)
        for (reason, count, *first), same in labels.items():
            shown = ", ".join(str(row) for row in first[:_SHOWN_ROWS])
            more = f" and {count - _SHOWN_ROWS} more" if count > _SHOWN_ROWS else ""
            who = "all engines" if len(same) == len(engines) > 1 else ", ".join(same)
            yield f"{reason}: row{'' if count == 1 else 's'} {shown}{more} ({who})"
