"""How far the maps can be trusted and what they cost: errors, completeness gaps, evaluations, failed rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from ..registry import FIGURES
from ..samples import Status
from ..store.results.engines import PER_ROW, EngineResults
from ..store.results.reader import EffectResults
from .drawing.figure import FigureKind
from .drawing.selection import Drawing, Nothing, Selection, spread
from .drawing.style import GREY, PALETTE, WARNING, chart
from .drawing.words import percent, shorten

__all__ = ["Diagnostics", "cost_bins", "failed_rows", "log_axis"]

Dash = Literal["-", "--", ":", "-."]
_DASHES: tuple[Dash, ...] = ("-", "--", ":", "-.")
_MARKERS = "os^DvP"
_FLOOR = 1e-6  # below it lies the rounding of float32
_POINTS = 4000
_LISTED = 15
_FAILURES = {Status.QUARANTINED: "quarantined", Status.INCONSISTENT: "inconsistent"}
_COLUMNS = {"row": 0.0, "sample": 0.1, "target": 0.22, "engine": 0.44, "error": 0.8}


@dataclass(frozen=True)
class _Pen:
    """How one engine is drawn in every panel."""

    engine: EngineResults
    color: str
    dash: Dash
    marker: str


@FIGURES.register("diagnostics")
class Diagnostics(FigureKind):
    """One figure for all chosen engines."""

    def knows(self, values: EngineResults | EffectResults) -> tuple[str, ...]:
        return PER_ROW if isinstance(values, EngineResults) else ()

    def draw(self, selection: Selection) -> Iterator[Drawing | Nothing]:
        if not selection.engines:
            yield Nothing("no engine has one map per row")
            return
        pens = [
            _Pen(engine, PALETTE[k % len(PALETTE)], _DASHES[k // len(PALETTE) % 4], _MARKERS[k % len(_MARKERS)])
            for k, engine in enumerate(selection.engines)
        ]
        draws: list[Callable[[Axes], None]] = []
        if not all(_is_exact(pen.engine) for pen in pens):
            draws.append(partial(_draw_errors, pens=pens))
        if any(np.isfinite(pen.engine.relative_gap).any() for pen in pens):
            draws.append(partial(_draw_gaps, pens=pens))
        draws.append(partial(_draw_costs, pens=pens))
        failed = failed_rows(selection.engines, 1)[1]
        if failed:
            draws.append(partial(_list_failures, selection=selection))
        across = len(draws) if len(draws) < 4 else 2
        figure = chart(max({2: 5.5, 3: 4.4}.get(across, 7.0) * across, 7.0), 4.2 * len(draws) / across)
        for axes, draw in zip(
            figure.subplots(len(draws) // across, across, squeeze=False).ravel(), draws, strict=True
        ):
            draw(axes)
        handles = [Line2D([], [], color=p.color, linestyle=p.dash, marker=p.marker, linewidth=2) for p in pens]
        labels = [shorten(pen.engine.label, 30) + (" (exact)" if _is_exact(pen.engine) else "") for pen in pens]
        figure.legend(handles, labels, loc="outside lower left", ncols=min(len(pens), 4))
        rows = len(selection.results.rows)
        title = f"{selection.results.path.name}: evidence of {rows} row{'' if rows == 1 else 's'}"
        title += "" if failed else ", none failed"
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
        yield Drawing("diagnostics", figure)


def _is_exact(engine: EngineResults) -> bool:
    known = engine.relative_error[np.isfinite(engine.relative_error)]
    return bool(len(known)) and not known.any()


def _draw_errors(axes: Axes, pens: Sequence[_Pen]) -> None:
    """Share of all rows whose reported error is at most x; quarantined rows never get there."""
    seen: list[float] = []
    for k, pen in enumerate(pens):
        errors = pen.engine.relative_error
        known = np.sort(np.maximum(errors[np.isfinite(errors)], _FLOOR))
        if len(known) and not _is_exact(pen.engine):
            shares = np.arange(1, len(known) + 1) / len(errors)
            x, y = np.r_[known[0], known], np.r_[0.0, shares]
            wide = 2.0 + 2.5 * _covered(k, pens)
            axes.step(x, y, pen.dash, where="post", color=pen.color, linewidth=wide)
            seen += [known[0], known[-1]]
    seen += _draw_tolerances(axes, pens)
    log_axis(axes, "x", seen)
    axes.set(ylim=(0, 1.02), xlabel="reported relative error of the map", ylabel="share of rows")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share * 100:.0f} %"))
    axes.set_title("Rows within an error", loc="left", pad=44)


def _draw_tolerances(axes: Axes, pens: Sequence[_Pen]) -> list[float]:
    asked: dict[float, list[_Pen]] = {}
    for pen in pens:
        if pen.engine.rtol is not None:
            asked.setdefault(pen.engine.rtol, []).append(pen)
    for rtol, same in asked.items():
        color = same[0].color if len(same) == 1 else GREY
        axes.axvline(rtol, color=color, linewidth=1, linestyle=(0, (4, 3)))
        looks: dict[str, Any] = {"rotation": 35, "rotation_mode": "anchor", "va": "bottom", "fontsize": 8}
        text = f"rtol {rtol * 100:g} %"
        axes.text(rtol, 1.03, text, transform=axes.get_xaxis_transform(), color=color, **looks)
    return list(asked)


def _draw_gaps(axes: Axes, pens: Sequence[_Pen]) -> None:
    seen: list[np.ndarray] = []
    for k, pen in enumerate(pens):
        error, gap = pen.engine.relative_error, pen.engine.relative_gap
        known = spread(np.flatnonzero(np.isfinite(error) & np.isfinite(gap)).tolist(), _POINTS)
        points = np.maximum([error[known], gap[known]], _FLOOR)
        seen.append(points)
        size = 14 + 40 * _covered(k, pens)
        looks: dict[str, Any] = {"marker": pen.marker, "color": pen.color, "alpha": 0.6, "linewidths": 0}
        axes.scatter(points[0], points[1], size, rasterized=True, **looks)
    axes.set_title("Completeness gap against error", loc="left", pad=20)
    both = np.concatenate(seen, axis=1)
    axes.axline((_FLOOR, _FLOOR), (1.0, 1.0), color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    note = "dashed: gap = error. A small gap does not prove a small error."
    axes.text(0.0, 1.03, note, transform=axes.transAxes, fontsize=8, color=GREY)
    log_axis(axes, "x", both[0])
    log_axis(axes, "y", both[1])
    axes.set(xlabel="reported relative error of the map", ylabel="|gap| / |change of the score|")


def _covered(place: int, pens: Sequence[_Pen]) -> int:
    """How many later engines have the same errors and would hide this one unless it is drawn wider."""
    errors = pens[place].engine.relative_error
    return sum(np.array_equal(errors, pen.engine.relative_error, equal_nan=True) for pen in pens[place + 1 :])


def cost_bins(costs: Sequence[np.ndarray]) -> np.ndarray:
    """(bins + 1,) powers of two: bin k counts the rows whose evaluations are in (edges[k] / 2, edges[k]]."""
    most = max((int(cost.max(initial=1)) for cost in costs), default=1)
    least = min((int(cost.min(initial=most)) for cost in costs), default=1)
    first = int(np.ceil(np.log2(max(least, 1))))
    return 2 ** np.arange(first, max(int(np.ceil(np.log2(max(most, 1)))), first) + 1)


def _draw_costs(axes: Axes, pens: Sequence[_Pen]) -> None:
    edges = cost_bins([pen.engine.evaluations for pen in pens])
    width = 0.8 / len(pens)
    for k, pen in enumerate(pens):
        bins = np.searchsorted(edges, pen.engine.evaluations)
        counts = np.bincount(bins, minlength=len(edges))
        places = np.arange(len(edges)) + (k - (len(pens) - 1) / 2) * width
        axes.bar(places, counts, width=0.92 * width, color=pen.color)
    labels = [f"{high}" if high <= 2 else f"{high // 2 + 1} to {high}" for high in edges.tolist()]
    axes.set_xticks(range(len(edges)), labels=labels, rotation=30 if len(edges) > 3 else 0)
    axes.set(xlabel="evaluations of the network", ylabel="rows")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    spare = max(0.0, (4 - len(edges)) / 2)
    axes.set_xlim(-0.6 - spare, len(edges) - 0.4 + spare)
    axes.set_title("Cost of a row", loc="left")


def failed_rows(engines: Sequence[EngineResults], count: int) -> tuple[list[tuple[int, EngineResults]], int]:
    """Rows that are quarantined, inconsistent, or have not converged.

    Returns:
        At most `count` of them as position and engine, inconsistent ones first, then quarantined ones, then
        in the order of the rows; and how many there are.
    """
    status = np.stack([engine.status for engine in engines], axis=1)
    rows, columns = np.nonzero((status != Status.CONVERGED) & (status != Status.NOT_JUDGED))
    order = np.argsort(-status[rows, columns], kind="stable")[:count]
    return [(int(rows[k]), engines[columns[k]]) for k in order], len(rows)


def _list_failures(axes: Axes, selection: Selection) -> None:
    results, rows = selection.results, selection.results.rows
    failed, count = failed_rows(selection.engines, _LISTED)
    axes.set_title("Rows that were quarantined, inconsistent or missed their rtol", loc="left")
    axes.set_axis_off()
    lines = [tuple(_COLUMNS)]
    for row, engine in failed:
        status = Status(int(engine.status[row]))
        outcome = _FAILURES.get(status, f"±{percent(engine.relative_error[row])}")
        target = shorten(results.row_target(row), 13)
        lines.append((str(rows.id[row]), str(rows.sample[row]), target, shorten(engine.label, 23), outcome))
    for line, words in enumerate(lines):
        for left, word in zip(_COLUMNS.values(), words, strict=True):
            color = GREY if line == 0 else "black"
            axes.text(left, 0.97 - 0.058 * line, word, transform=axes.transAxes, va="top", fontsize=8, color=color)
    if count > _LISTED:
        rest = f"and {count - _LISTED} more"
        axes.text(0.0, 0.97 - 0.058 * (_LISTED + 1), rest, transform=axes.transAxes, va="top", color=WARNING)


def log_axis(axes: Axes, which: Literal["x", "y"], values: Sequence[float] | np.ndarray) -> None:
    """Per cent on a logarithmic axis of at least a decade around the values."""
    low, high = (float(min(values)), float(max(values))) if len(values) else (1e-3, 1e-1)
    room = max(1.5, (10 / (high / low)) ** 0.5)
    (axes.set_xlim if which == "x" else axes.set_ylim)(low / room, high * room)
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    axis = axes.xaxis if which == "x" else axes.yaxis
    decades = np.log10(high / low * room**2)
    axis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0) if decades < 2.5 else (1.0,), numticks=9))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda share, _: f"{share * 100:g} %"))
