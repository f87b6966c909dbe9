"""Features of a table: how much each contributes on average, and what its value has to do with that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..registry import FIGURES
from ..store.results.engines import EngineResults
from ..store.results.reader import Results
from .drawing.figure import FigureKind
from .drawing.importance import Importance, importances
from .drawing.pictures import is_vector, is_waveform
from .drawing.selection import Drawing, Nothing, Selection, tensors_of
from .drawing.style import GREY, PALETTE, chart, value_map
from .drawing.words import displayed_feature_names, number, of_target, score_unit, shorten
from .rows.token_rows import has_tokens

__all__ = ["Features", "swarm_offsets"]

_TOP = 20
_MOST_TARGETS = 6
_BINS = 80
_NAME_WIDTH = 30
_LEAST_WIDE = 6  # a swarm of few points stays a line


@FIGURES.register("features")
class Features(FigureKind):
    """A figure per engine, tensor with one axis, and target."""

    def draw(self, selection: Selection) -> Iterator[Drawing | Nothing]:
        tensors = tensors_of(selection.engines)
        if not tensors:
            yield Nothing("no engine leaves a map")
        for name, engines in tensors.items():
            shape = engines[0].tensors[name]
            source = selection.results.inputs.get(name)
            if source is not None and (source.is_padded or has_tokens(selection.results, name)):
                yield Nothing(f"the steps of {name!r} are other ones in every sample, and no features")
                continue
            if is_waveform(selection.results, name, shape):
                yield Nothing(f"{name!r} is a wave of {max(shape)} steps, and no features; kind 'lines' shows it")
                continue
            if not is_vector(shape):
                yield Nothing(f"{name!r} of shape {shape} is no table of features")
                continue
            for engine in engines:
                stem = f"features-{engine.label}" + (f"-{name}" if len(tensors) > 1 else "")
                yield from _per_target(selection.results, engine, name, stem)


def _per_target(results: Results, engine: EngineResults, tensor: str, stem: str) -> Iterator[Drawing | Nothing]:
    counts = Counter(results.rows.target.tolist())
    targets = sorted(target for target, _ in counts.most_common(_MOST_TARGETS))
    found = importances(results, engine, tensor, targets)
    for importance in found:
        figure = _Chart(results, engine, tensor, importance).draw()
        name = results.target_name(importance.target)[:_NAME_WIDTH]
        target = name if name == str(importance.target) else f"{importance.target}-{name}"
        yield Drawing(f"{stem}-{target}" if len(counts) > 1 else stem, figure)
    if len(counts) > _MOST_TARGETS:
        yield Nothing(f"{engine.label}: the {_MOST_TARGETS} most frequent of {len(counts)} targets are drawn")
    if not found:
        yield Nothing(f"{engine.label}: all rows are quarantined")


class _Chart:
    """Bars of mean |attribution| at the left, a swarm of the rows' attributions at the right."""

    def __init__(self, results: Results, engine: EngineResults, tensor: str, importance: Importance) -> None:
        self.results = results
        self.engine = engine
        self.importance = importance
        self.order = np.argsort(-importance.mean, kind="stable")[:_TOP]
        self.names = displayed_feature_names(results, tensor, len(importance.mean))
        self.values = _original_values(results, tensor, importance.shown, len(importance.mean))
        self.unit = score_unit(results)
        self.height = 0.28 * max(len(self.order), 3)  # inches of the axes

    def draw(self) -> Figure:
        figure = chart(11.0, 1.5 + self.height)
        bars, swarm = figure.subplots(1, 2, sharey=True, width_ratios=(1.0, 1.35))
        self._draw_bars(bars)
        self._draw_swarm(swarm)
        label = shorten(self.engine.label, _NAME_WIDTH)
        shown = of_target(self.results, label, self.importance.target, self.importance.rows)
        figure.suptitle(f"{self.results.path.name}: {shown}", x=0.01, ha="left", fontweight="bold")
        return figure

    def _draw_bars(self, axes: Axes) -> None:
        places, order, found = np.arange(len(self.order)), self.order, self.importance
        low, high = found.spread
        axes.barh(places, found.mean[order], height=0.62, color="#a6c8e4")
        axes.hlines(places, low[order], high[order], color=GREY, linewidth=0.9)
        axes.errorbar(
            found.mean[order], places, xerr=found.interval[order], fmt="none", ecolor="black", elinewidth=2.0,
            capsize=2.5,
        )  # fmt: skip
        axes.set_yticks(places, labels=[shorten(self.names[feature], _NAME_WIDTH) for feature in order])
        axes.set_ylim(len(order) - 0.4, -0.6)
        axes.set_xlim(left=0)
        axes.set_xlabel(f"mean |attribution| ({self.unit})")
        handles = [
            Line2D([], [], color="black", linewidth=2.0, label="95 % interval of the mean, map errors included"),
            Line2D([], [], color=GREY, linewidth=0.9, label="95 % of the rows"),
        ]
        axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0.2, ncols=1)

    def _draw_swarm(self, axes: Axes) -> None:
        axes.axvline(0.0, color=GREY, linewidth=0.7)
        limit = float(np.abs(self.importance.attributions[:, self.order]).max(initial=0.0)) or 1.0
        for place, feature in enumerate(self.order):
            self._draw_feature(axes, place, int(feature), limit)
        axes.set_xlim(-1.05 * limit, 1.05 * limit)
        axes.set_xlabel(f"attribution per row ({self.unit})")
        axes.tick_params(left=False)
        if self.values is None:
            axes.set_title("inputs not stored: rows without colour", loc="left")
        else:
            self._explain_colours(axes, self.values)

    def _draw_feature(self, axes: Axes, place: int, feature: int, limit: float) -> None:
        attributions = self.importance.attributions[:, feature]
        heights = place + 0.38 * swarm_offsets(attributions, limit)
        if self.values is None:
            axes.scatter(attributions, heights, s=7, color=PALETTE[0], linewidths=0)
            return
        shares = _shares(self.values[:, feature])
        axes.scatter(
            attributions,
            heights,
            s=8,
            c=shares,
            cmap=value_map(),
            vmin=0,
            vmax=1,
            linewidths=0,
            plotnonfinite=True,
        )

    def _explain_colours(self, axes: Axes, values: np.ndarray) -> None:
        """A colour bar from low to high, and the original values that these stand for, per feature."""
        bar = axes.inset_axes((0.1, 1.035, 0.25, 0.16 / self.height))
        bar.imshow(np.linspace(0, 1, 64)[None], cmap=value_map(), aspect="auto")
        bar.set_axis_off()
        looks: dict[str, Any] = {"va": "center", "transform": bar.transAxes, "fontsize": 8}
        bar.text(-0.03, 0.5, "low", ha="right", **looks)
        bar.text(1.03, 0.5, "high: 5th and 95th percentile of the feature's value", ha="left", **looks)
        looks = {"ha": "left", "va": "center", "fontsize": 8, "color": GREY}
        for place, feature in enumerate(self.order):
            low, high = (number(end) for end in value_range(values[:, feature]))
            text = low if low == high else f"{low} … {high}"
            axes.text(1.01, place, text, transform=axes.get_yaxis_transform(), **looks)


def swarm_offsets(values: np.ndarray, limit: float) -> np.ndarray:
    """(n,) offsets in [-1, 1] that spread points of a swarm: the denser the values, the wider.

    Arguments:
        values: (n,) positions along the axis, in [-limit, limit].
        limit: end of the axis; points of the same 1/80 of it lie side by side.
    """
    bins = np.floor(values / limit * _BINS).astype(np.int64)
    _, members, counts = np.unique(bins, return_inverse=True, return_counts=True)
    order = np.argsort(members, kind="stable")
    starts = np.concatenate([[0], counts.cumsum()[:-1]])
    ranks = np.empty(len(values), np.int64)
    ranks[order] = np.arange(len(values)) - starts[members[order]]
    sides = np.where(ranks % 2 == 0, -1.0, 1.0)
    widest = max(_LEAST_WIDE, (int(counts.max(initial=1)) + 1) // 2)
    return np.asarray(sides * ((ranks + 1) // 2) / widest)


def value_range(values: np.ndarray) -> tuple[float, float]:
    """The 5th and 95th percentile of the finite values, the ends of their colours; NaN if there are none."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return np.nan, np.nan
    low, high = np.percentile(finite, [5, 95])
    return float(low), float(high)


def _shares(values: np.ndarray) -> np.ndarray:
    low, high = value_range(values)
    return np.clip((values - low) / (high - low), 0, 1) if high > low else np.where(np.isnan(values), values, 0.5)


def _original_values(results: Results, tensor: str, rows: np.ndarray, count: int) -> np.ndarray | None:
    """(rows, features) in original units; None if they are not stored for all of the rows."""
    source = results.inputs.get(tensor)
    samples = results.rows.sample[rows]
    if source is None or source.shape != (count,) or not np.isin(samples, source.stored).all():
        return None
    return source.original(samples)
