"""What the value of a feature has to do with its attribution, coloured by the feature it interacts with most."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...samples import Status
from ...store.results.engines import EngineResults
from ...store.results.interactions import InteractionResults
from ...store.results.reader import Results
from ..drawing.pictures import is_vector
from ..drawing.selection import Drawing, Nothing, spread
from ..drawing.style import GREY, chart, value_map
from ..drawing.words import number, of_target, score_unit, shorten
from .pairs import pair_strengths

__all__ = ["draw"]

_PAIRS = 4
_MOST_ROWS = 1000
_NAME_WIDTH = 26


def draw(results: Results, engine: EngineResults, interactions: InteractionResults) -> Iterator[Drawing | Nothing]:
    """One figure of the strongest pairs, for tables whose features are the groups and whose inputs are stored."""
    reason = _why_not(results, engine, interactions)
    if reason:
        yield Nothing(f"{engine.label}: {reason}")
        return
    target = _most_frequent(results.rows.target)
    rows = np.flatnonzero((results.rows.target == target) & (engine.status != Status.QUARANTINED))
    rows = rows[np.isin(results.rows.sample[rows], list(results.stored))]
    strengths = pair_strengths(results, engine, [target])
    if not len(rows) or not strengths or not strengths[0].mean.any():
        yield Nothing(f"{engine.label}: no pair interacts in the rows whose inputs are stored")
        return
    shown = np.array(spread(rows.tolist(), _MOST_ROWS), np.int64)
    pairs = [tuple(pair) for pair, mean in zip(strengths[0].pairs, strengths[0].mean, strict=True) if mean > 0]
    yield Drawing(
        f"dependence-{engine.label}", _figure(results, engine, interactions, shown, pairs[:_PAIRS], target)
    )


def _why_not(results: Results, engine: EngineResults, interactions: InteractionResults) -> str:
    tensors = engine.tensors
    shape = next(iter(tensors.values()), ())
    if len(tensors) != 1 or not is_vector(shape):
        return "no table of features, so no dependence of attributions on values"
    if not interactions.is_square or interactions.chosen_per_row:
        return "its rows look at different features, or at one; no dependence plot"
    if (
        len(interactions.groups) != shape[0]
        or interactions.group_of is None
        or (np.diff(interactions.group_of) != 1).any()
    ):
        return "its groups are not the single features; no dependence plot"
    source = results.inputs.get(next(iter(tensors)))
    return "" if source is not None and source.stored else "inputs are not stored; no dependence plot"


def _most_frequent(targets: np.ndarray) -> int:
    values, counts = np.unique(targets, return_counts=True)
    return int(values[counts.argmax()])


def _figure(
    results: Results,
    engine: EngineResults,
    interactions: InteractionResults,
    rows: np.ndarray,
    pairs: list[tuple[int, ...]],
    target: int,
) -> Figure:
    tensor = next(iter(engine.tensors))
    values = results.inputs[tensor].original(results.rows.sample[rows])
    maps, matrices = engine.attribution(rows).astype(np.float64), interactions.matrix(rows).astype(np.float64)
    figure = chart(3.1 * len(pairs) + 0.6, 6.2)
    grid = figure.subplots(2, len(pairs), squeeze=False, sharex="col")
    unit = score_unit(results)
    for (above, below), (i, j) in zip(grid.T, pairs, strict=True):
        names = [shorten(interactions.groups[k], _NAME_WIDTH) for k in (i, j)]
        both = matrices[:, i, j] + matrices[:, j, i]
        _scatter(above, values[:, i], maps[:, i], values[:, j], names[1])
        _scatter(below, values[:, i], both, values[:, j], "")
        above.set_title(f"{names[0]} × {names[1]}", loc="left", fontweight="bold")
        below.set_xlabel(names[0])
    grid[0, 0].set_ylabel(f"attribution of the feature ({unit})")
    grid[1, 0].set_ylabel(f"Γᵢⱼ + Γⱼᵢ of the pair ({unit})")
    title = f"{results.path.name}: strongest pairs, {of_target(results, engine.label, target, len(rows))}"
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return figure


def _scatter(axes: Axes, x: np.ndarray, y: np.ndarray, partner: np.ndarray, label: str) -> None:
    finite = np.isfinite(x) & np.isfinite(y)
    low, high = np.nanpercentile(partner[finite], [5, 95]) if finite.any() else (0.0, 1.0)
    points = axes.scatter(
        x[finite], y[finite], s=9, c=partner[finite], cmap=value_map(), linewidths=0,
        vmin=low, vmax=high if high > low else low + 1.0, plotnonfinite=True,
    )  # fmt: skip
    axes.axhline(0.0, color=GREY, linewidth=0.7, zorder=0)
    if label:
        bar = axes.figure.colorbar(points, ax=axes, location="top", fraction=0.05, pad=0.02, aspect=30)
        ends = [low, high if high > low else low + 1.0]
        bar.set_ticks(ends, labels=[number(float(end)) for end in ends], fontsize=7)
        bar.set_label(f"colour: {label}", fontsize=8, labelpad=-6)
        bar.outline.set_visible(False)
