"""Interior gradients: how score, gradient, running integral and layers change on the way to the input."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...registry import FIGURES
from ...samples import Status
from ...store.results.engines import EngineResults
from ...store.results.reader import EffectResults, Results
from ..drawing.figure import FigureKind
from ..drawing.selection import Drawing, Nothing, Selection, spread
from ..drawing.style import GREY, PALETTE, chart
from ..drawing.words import ALPHA, legend_name, score_unit, shorten
from . import maps as path_maps
from . import tokens as token_paths

__all__ = ["Saturation", "half_way"]

_MOST_ROWS = 5000
_THIN_LINES = 40
_DASHES = ("-", "--", ":", "-.")
_MOST_BANDS = 3
_TITLES = {
    "score": f"{{unit}} at {ALPHA}",
    "gradient_norm": f"length of the gradient at {ALPHA}",
    "directional_derivative": f"directional derivative Δ·gradient at {ALPHA}",
    "running_sum": f"integral of the derivative up to {ALPHA}",
}


_PATH = ("alpha", "curve/*", "layers", "map_alpha", "maps*", "running*")


@FIGURES.register("saturation")
class Saturation(FigureKind):
    """Curves over α for every engine that has them, and strips of maps for images and sequences."""

    def knows(self, values: EngineResults | EffectResults) -> tuple[str, ...]:
        return _PATH if isinstance(values, EngineResults) and values.curves else ()

    def draw(self, selection: Selection) -> Iterator[Drawing | Nothing]:
        along_path = [engine for engine in selection.engines if engine.curves]
        if not along_path:
            yield Nothing("no engine has curves along its path; interior_gradients has")
        for engine in along_path:
            rows = np.flatnonzero(engine.status != Status.QUARANTINED)
            if not len(rows):
                yield Nothing(f"{engine.label}: all rows are quarantined")
                continue
            yield Drawing(f"saturation-{engine.label}", _draw_curves(selection.results, engine, rows))
            yield from path_maps.draw(selection, engine)
            yield from token_paths.draw(selection, engine)


def half_way(alpha: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(rows,) the α by which half of a row's change of score is first made, linear between the nodes.

    Arguments:
        alpha: (alphas,), rising from 0 to 1.
        scores: (rows, alphas); a row that does not change gets NaN.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = (scores - scores[:, :1]) / (scores[:, -1:] - scores[:, :1])
        after = np.argmax(shares >= 0.5, axis=1)
        rows, before = np.arange(len(scores)), np.maximum(after - 1, 0)
        left, right = shares[rows, before], shares[rows, after]
        inside = (0.5 - left) / (right - left)
        found = alpha[before] + inside * (alpha[after] - alpha[before])
    return np.where(np.isfinite(shares).all(axis=1), found, np.nan)


def _draw_curves(results: Results, engine: EngineResults, rows: np.ndarray) -> Figure:
    shown = np.array(spread(rows.tolist(), _MOST_ROWS), np.int64)
    names = [name for name in _TITLES if name in engine.curves]
    with_layers = "saturation" in engine.curves and bool(engine.layers)
    panels = len(names) + with_layers
    lines = -(-panels // 2)
    figure = chart(10.0, 0.9 + 2.6 * lines)
    grid = figure.subplots(lines, 2, squeeze=False).ravel()
    for axes, name in zip(grid, names, strict=False):
        _draw_rows(axes, engine.alpha, engine.curve(name, shown))
        axes.set_title(_TITLES[name].format(unit=score_unit(results)), loc="left")
    if with_layers:
        _draw_layers(grid[len(names)], engine, shown)
    for axes in grid[:panels]:
        axes.set(xlim=(0, 1), xlabel=f"{ALPHA}: from the baseline (0) to the input (1)")
    for axes in grid[panels:]:
        axes.set_axis_off()
    _explain_lines(figure, grid[0], grid[panels] if panels < len(grid) else None)
    figure.suptitle(_title(results, engine, shown, len(rows)), x=0.01, ha="left", fontweight="bold")
    return figure


def _title(results: Results, engine: EngineResults, shown: np.ndarray, rows: int) -> str:
    counted = f"{rows} row{'' if rows == 1 else 's'}"
    count = counted if len(shown) == rows else f"{len(shown)} of {counted}"
    title = f"{results.path.name}: {engine.label}, {count}"
    if "score" not in engine.curves:
        return title
    middles = half_way(engine.alpha, engine.curve("score", shown))
    middles = middles[np.isfinite(middles)]
    if not len(middles):
        return title
    middle = f"{ALPHA} = {float(np.median(middles)):.2g}"
    return f"{title}. Half of the change of the score is made by {middle}{' (median)' if rows > 1 else ''}"


def _draw_rows(axes: Axes, alpha: np.ndarray, values: np.ndarray) -> None:
    """Thin lines for some rows, the median thick, a band from the 10th to the 90th percentile."""
    for line in spread(list(values), _THIN_LINES):
        axes.plot(alpha, line, color=GREY, linewidth=0.5, alpha=0.45, label="single rows")
    low, middle, high = _percentiles(values)
    axes.fill_between(alpha, low, high, color=PALETTE[0], alpha=0.2, linewidth=0, label="10 to 90 % of rows")
    axes.plot(alpha, middle, color=PALETTE[0], linewidth=2.2, label="median")


def _draw_layers(axes: Axes, engine: EngineResults, rows: np.ndarray) -> None:
    values = engine.curve("saturation", rows)
    for layer, name in enumerate(engine.layers):
        low, middle, high = _percentiles(values[:, layer])
        color, dash = PALETTE[layer % len(PALETTE)], _DASHES[layer // len(PALETTE) % len(_DASHES)]
        axes.plot(engine.alpha, middle, dash, color=color, linewidth=2.0, label=legend_name(shorten(name, 30)))
        if len(engine.layers) <= _MOST_BANDS:
            axes.fill_between(engine.alpha, low, high, color=color, alpha=0.15, linewidth=0)
    axes.set_title(f"layers: cosine of their activation at {ALPHA} and at the input", loc="left")
    axes.set_ylim(top=1.02)
    axes.legend(loc="lower right", ncols=1 + len(engine.layers) // 8, title="median of layer")


def _percentiles(values: np.ndarray) -> np.ndarray:
    """(3, alphas) 10th, 50th and 90th percentile over rows; NaN where no row is finite."""
    found = np.full((3, values.shape[1]), np.nan)
    known = np.isfinite(values).any(axis=0)
    found[:, known] = np.nanpercentile(
        np.where(np.isfinite(values), values, np.nan)[:, known], [10, 50, 90], axis=0
    )
    return found


def _explain_lines(figure: Figure, first: Axes, free: Axes | None) -> None:
    """The legend, in the panel that is left free if there is one."""
    handles, labels = first.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    if free is not None:
        free.legend(unique.values(), unique.keys(), loc="upper left")
    else:
        figure.legend(unique.values(), unique.keys(), loc="outside lower right", ncols=len(unique))
