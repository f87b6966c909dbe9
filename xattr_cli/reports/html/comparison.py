"""A page of what differs between two results: what moved beyond both error bars first, maps side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from ...export.compare.difference import ResultDifference
from ...export.compare.matching import sample_names
from ...export.compare.text import effect_lines, engine_lines
from ..diagnostics import log_axis
from ..drawing.selection import Drawing, spread
from ..drawing.style import GREY, PALETTE, missing_glyphs_said_once, panels, styled
from ..drawing.words import number, percent
from .cards import Beside
from .charts import Chart, chart_of
from .choice import Chosen
from .facts import RowFacts
from .report import file_of, render, short_names, write_page

__all__ = ["write_comparison"]

_FLOOR = 1e-6  # below it lies the rounding of float32
_MOST_POINTS, _MOST_MOVED = 4000, 50
_ORDER = "those beyond both error bars first, then those of the largest distance"


def write_comparison(difference: ResultDifference, output: str | Path, *, rows: int = 50) -> Path:
    """Write the page of what differs between two results.

    Arguments:
        difference: the comparison; its files are open.
        output: of the page.
        rows: how many rows to show.

    Returns:
        `output`.

    Raises:
        JobError: there is a result file.
        StoreError: the page cannot be written.
    """
    order = _order(difference)[:rows]
    at, bt = (places[order] for places in difference.matching.rows)
    names = short_names([difference.a.path, difference.b.path])
    files = [file_of(results, name) for results, name in zip((difference.a, difference.b), names, strict=True)]
    total = len(difference.matching)
    files[0] = replace(files[0], chosen=Chosen(at, total, _ORDER if len(order) < total else ""))
    columns = {name: values[order] for name, values in _columns(difference, files[1].facts).items()}
    words = {label: [_words(difference, label, place) for place in order] for label in difference.engines}
    beside = Beside(np.stack([at, bt], axis=1), columns, words)
    page = render([files], beside, _told(difference, files[0].facts, files[1].facts))
    return write_page(page, Path(output))


def _order(difference: ResultDifference) -> np.ndarray:
    """(matched,) places: beyond both error bars first, then what cannot be compared, then by distance."""
    distance = _greatest(difference, "distance")
    return np.lexsort([-np.nan_to_num(distance, nan=np.inf), ~_beyond(difference)])


def _beyond(difference: ResultDifference) -> np.ndarray:
    """(matched,) bool, whether any engine's maps differ by more than both error bars."""
    flags = [engine.maps.beyond for engine in difference.engines.values()]
    return np.any(flags, axis=0) if flags else np.zeros(len(difference.matching), bool)


def _greatest(difference: ResultDifference, name: str) -> np.ndarray:
    """(matched,) the greatest of what all engines have; NaN where none has a number."""
    columns = [getattr(engine.maps, name) for engine in difference.engines.values()]
    return np.asarray(np.fmax.reduce(columns)) if columns else np.full(len(difference.matching), np.nan)


def _columns(difference: ResultDifference, facts_b: RowFacts) -> dict[str, np.ndarray]:
    """Further columns of the table of rows, (matched,) each; of several engines the one that moved most."""
    judged = [engine.maps.judged for engine in difference.engines.values()]
    known = np.any(judged, axis=0) if judged else np.zeros(len(difference.matching), bool)
    beyond = np.where(_beyond(difference), "yes", np.where(known, "no", "not judged")).astype(object)
    correlations = [-engine.maps.rank_correlation for engine in difference.engines.values()]
    changes = [engine.score_change for engine in difference.engines.values()]
    moved = np.isin(difference.a.rows.sample[difference.matching.rows[0]], _moved_samples(difference))
    columns = {
        "beyond errors": beyond,
        "distance": _greatest(difference, "distance"),
        "rank corr.": -np.fmax.reduce(correlations) if correlations else np.full(len(beyond), np.nan),
        "flips": _greatest(difference, "sign_flips"),
        "Δ score": changes[0] if changes else np.full(len(beyond), np.nan),
    }
    if moved.any():
        now = facts_b.column("predicted")[difference.matching.rows[1]]
        columns["now predicted"] = np.where(moved, now, "" if now.dtype == object else np.nan)
    return columns


def _moved_samples(difference: ResultDifference) -> np.ndarray:
    """Numbers, in A, of the samples that are predicted otherwise."""
    return np.asarray(difference.a.rows.sample[difference.matching.samples[0][difference.moved]])


def _words(difference: ResultDifference, label: str, place: int) -> tuple[str, str]:
    """How far B's map of a row is from A's, and a warning if that is beyond both error bars."""
    maps = difference.engines[label].maps
    if not np.isfinite(maps.distance[place]):
        return "cannot be compared", ""
    told = f"{percent(maps.distance[place])} from A's map, {percent(maps.sign_flips[place])} of the signs flipped"
    if np.isfinite(maps.rank_correlation[place]):
        told += f", rank correlation {number(float(maps.rank_correlation[place]))}"
    beyond = f"beyond both error bars ({percent(float(maps.allowed[place]))})" if maps.beyond[place] else ""
    return told, beyond


def _told(difference: ResultDifference, facts_a: RowFacts, facts_b: RowFacts) -> Mapping[str, object]:
    """What the page says of the two files as a whole."""
    summary = difference.summary(0)
    beyond, judged = int(_beyond(difference).sum()), len(difference.matching)
    differs = bool(beyond or difference.predictions_moved or difference.unmatched[0])
    changed = [("changed", line) for line in difference.changed]
    only = [f"{count:,} only in {name}" for name, count in zip("AB", difference.unmatched, strict=True) if count]
    by = "name" if difference.matching.by == "key" else "sample number"
    facts = [
        ("A", str(difference.a.path)),
        ("B", str(difference.b.path)),
        *(changed or [("changed", "nothing: the same job, checkpoint and data")]),
        ("rows", ", ".join([f"{judged:,} in both", *only]) + f"; matched by {by} and output"),
    ]
    tables = [
        ("Engines", engine_lines(summary)),
        ("Studies of the whole dataset", effect_lines(summary["effects"])),
    ]
    tables.append((f"Predictions that moved{_of_all(difference)}", _moved(difference, facts_a, facts_b)))
    return {
        "verdict": _verdict(difference, beyond),
        "differs": differs,
        "facts": facts,
        "tables": [(title, lines) for title, lines in tables if len(lines) > 1],
        "notes": [f"{label}: not compared: {reason}" for label, reason in difference.not_compared.items()],
        "chart": _chart(difference),
    }


def _verdict(difference: ResultDifference, beyond: int) -> str:
    if not len(difference.matching):
        return "No row is in both; what they say of their whole datasets is compared."
    count, moved = len(difference.matching), difference.predictions_moved
    told = f"{beyond:,} of {count:,} common rows differ" if beyond else f"None of {count:,} common rows differs"
    return (
        f"{told} by more than both error bars; {moved:,} of {len(difference.moved):,} samples are predicted "
        "otherwise."
    )


def _of_all(difference: ResultDifference) -> str:
    return (
        f" (the first {_MOST_MOVED} of {difference.predictions_moved:,})"
        if difference.predictions_moved > _MOST_MOVED
        else ""
    )


def _moved(difference: ResultDifference, facts_a: RowFacts, facts_b: RowFacts) -> list[tuple[str, ...]]:
    """Heads, and a line for each of the first samples that are predicted otherwise."""
    places = np.flatnonzero(difference.moved)[:_MOST_MOVED]
    at, bt = (samples[places] for samples in difference.matching.samples)
    columns = [
        sample_names(difference.a, at),
        *(_texts(facts.column(name)[rows]) for facts, name, rows in _shown_of(facts_a, facts_b, at, bt)),
    ]
    return [("sample", "label", "in A", "in B"), *zip(*columns, strict=True)]


def _shown_of(
    facts_a: RowFacts, facts_b: RowFacts, at: np.ndarray, bt: np.ndarray
) -> Iterator[tuple[RowFacts, str, np.ndarray]]:
    yield facts_a, "label", at
    yield facts_a, "predicted", at
    yield facts_b, "predicted", bt


def _texts(values: np.ndarray) -> list[str]:
    return [value if isinstance(value, str) else number(float(value)) for value in values]


@styled
def _chart(difference: ResultDifference) -> Chart | None:
    """Distances against what both error bars allow, a panel for each engine; None if no row has both."""
    shown = {
        label: _points(engine.maps.allowed, engine.maps.distance) for label, engine in difference.engines.items()
    }
    shown = {label: points for label, points in shown.items() if points.size}
    if not shown:
        return None
    figure, grid = panels(len(shown), 3, (4.2, 3.6), room=(0.0, 0.0))
    for axes, (label, points) in zip(grid, shown.items(), strict=True):
        beyond = points[1] > points[0]
        for some, colour in ((~beyond, PALETTE[0]), (beyond, PALETTE[1])):
            axes.scatter(points[0, some], points[1, some], 14, color=colour, alpha=0.6, linewidths=0)
        axes.axline((_FLOOR, _FLOOR), (1.0, 1.0), color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
        for which in ("x", "y"):  # the same for both, so that the diagonal is in sight
            log_axis(axes, which, points.ravel())
        axes.set_title(f"{label}: {beyond.sum():,} beyond", loc="left")
        axes.set(xlabel="both error bars together", ylabel="distance of the maps")
    with missing_glyphs_said_once():
        return chart_of(Drawing("comparison", figure))


def _points(allowed: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """(2, n) of at most a few thousand rows that have both."""
    known = np.flatnonzero(np.isfinite(allowed) & np.isfinite(distance))
    chosen = spread(known.tolist(), _MOST_POINTS)
    return np.maximum([allowed[chosen], distance[chosen]], _FLOOR)
