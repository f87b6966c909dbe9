"""Differences between two results as a table for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["difference_text", "effect_lines", "engine_lines"]

_HEAD = (
    "engine",
    "rows",
    "beyond errors",
    "distance: median",
    "95 %",
    "rank corr.: median",
    "5 %",
    "flips",
    "|Δ score|",
)


def difference_text(summary: Mapping[str, Any]) -> str:
    """What `ResultDifference.summary` says, in lines."""
    return "\n".join(_lines(summary))


def engine_lines(summary: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Heads, and a line per engine: how far its maps are from each other."""
    return [_HEAD, *(_cells(label, about) for label, about in summary["engines"].items())]


def effect_lines(effects: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Heads, and a line per array of a study of the whole dataset that differs."""
    return [
        ("whole dataset", "array", "largest |Δ|", "in standard errors"),
        *(
            (label, name, _number(about["largest"]), _number(about["in_standard_errors"]))
            for label, arrays in effects.items()
            for name, about in arrays.items()
            if about["largest"]
        ),
    ]


def _lines(summary: Mapping[str, Any]) -> Iterator[str]:
    rows = summary["rows"]
    yield f"A        {summary['a']}"
    yield f"B        {summary['b']}"
    for number, line in enumerate(summary["changed"]):
        yield f"{'' if number else 'changed':<8} {line}"
    if not summary["changed"]:
        yield "changed  nothing: the same job, checkpoint and data"
    only = [f"{rows[key]} only in {key[-1].upper()}" for key in ("only_a", "only_b") if rows[key]]
    counts = ", ".join([f"{rows['matched']} in both", *only])
    yield f"rows     {counts}; matched by {rows['matched_by']} and target"
    yield f"samples  {summary['samples']} in both; {summary['predictions_moved']} predicted otherwise"
    if summary["engines"]:
        yield ""
        yield from _table(engine_lines(summary))
    for label, reason in summary["not_compared"].items():
        yield f"{label}: not compared: {reason}"
    yield from _worst(summary["engines"])
    yield from _effects(summary["effects"])


def _worst(engines: Mapping[str, Any]) -> Iterator[str]:
    lines = [
        (
            label,
            f"row {one['row']}",
            f"sample {one['sample']}",
            f"target {one['target']}",
            _percent(one["distance"]),
            "beyond both error bars" if one["beyond_error_bars"] else "",
        )
        for label, about in engines.items()
        for one in about["worst"]
    ]
    if lines:
        yield ""
        yield "furthest apart"
        yield from _table(lines)


def _effects(effects: Mapping[str, Any]) -> Iterator[str]:
    lines = effect_lines(effects)
    if len(lines) > 1:
        yield ""
        yield from _table(lines)


def _cells(label: str, about: Mapping[str, Any]) -> tuple[str, ...]:
    distance, correlation, flips, change = (
        about[name] or {} for name in ("distance", "rank_correlation", "sign_flips", "score_change")
    )
    beyond = f"{about['beyond_error_bars']} of {about['judged']}"
    return (
        label,
        str(about["rows"]),
        beyond,
        _percent(distance.get("median")),
        _percent(distance.get("p95")),
        _number(correlation.get("median")),
        _number(correlation.get("p5")),
        _percent(flips.get("median")),
        _number(change.get("median")),
    )


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()


def _percent(share: float | None) -> str:
    return "-" if share is None else "0 %" if share == 0 else f"{100 * share:.2g} %"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
