"""Sequences as lines over their steps, coloured by attribution: signals, time series, waves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

from ...registry import FIGURES
from ...store.results.engines import EngineResults
from ...store.results.reader import Results
from ..drawing.figure import FigureKind
from ..drawing.selection import Drawing, Nothing, Selection, paged, tensors_of
from ..drawing.sequences import Steps, is_sequence
from ..drawing.sheet import BAR, GAP, Sheet, by_unit, heads_of, title_lines, title_map
from ..drawing.style import GREY, diverging_map, symmetric_limit
from ..drawing.words import number, score_unit, shorten
from .token_rows import has_tokens

__all__ = ["Lines"]

_ROWS_PER_PAGE = 6
_TRACES = 4
_NAME_WIDTH = 22  # characters

# inches
_WIDTH, _TRACE, _WAVE, _NAME, _SCALE, _TICKS = 3.4, 0.42, 0.9, 0.15, 0.55, 0.34


@FIGURES.register("lines")
class Lines(FigureKind):
    """Pages of at most six rows, for every explained tensor that runs along steps without names."""

    def draw(self, selection: Selection) -> Iterator[Drawing | Nothing]:
        results, tensors = selection.results, tensors_of(selection.engines)
        shown = [
            name
            for name in tensors
            if is_sequence(results, tensors[name][0], name) and not has_tokens(results, name)
        ]
        if not shown:
            yield Nothing("no explained tensor runs along steps: steps by features, channels by steps, or a wave")
        for name in shown:
            whole = "lines" + (f"-{name}" if len(shown) > 1 else "")
            for stem, rows in paged(whole, selection.rows, _ROWS_PER_PAGE):
                yield Drawing(stem, _LineSheet(results, name, tensors[name], rows).draw())


class _LineSheet(Sheet):
    """A column per engine; in it, the features of a row's largest attributions below each other."""

    def __init__(
        self, results: Results, tensor: str, engines: Sequence[EngineResults], rows: Sequence[int]
    ) -> None:
        self.units = by_unit(engines)
        self.steps = Steps(results, tensor, engines[0])
        features = self.steps.attribution(engines[0], rows[0]).shape[1]
        self.traces = min(_TRACES, features)
        self.names = self.steps.names(features)
        self.pitch = _WAVE if features == 1 else _TRACE + _NAME
        heads, width = heads_of(self.units, _SCALE + _WIDTH, inset=_SCALE)
        more = f" The {_TRACES} features of the largest attributions." if features > _TRACES else ""
        super().__init__(
            results,
            rows,
            title=f"{results.path.name}: attribution of {tensor}",
            legend=(
                f"Lines: the input over its steps. Their colour: orange raises the {score_unit(results)} of the "
                f"target, blue lowers it.{more} ±: reported relative L2 error of the map."
            ),
            width=width,
            height=self.traces * self.pitch + _TICKS,
            title_lines=title_lines(engines, rows),
            heads=heads,
        )

    def draw_cells(self, row: int, left: float, top: float) -> None:
        values = self.steps.input(row)
        for unit in self.units:
            maps = [self.steps.attribution(engine, row) for engine in unit]
            limit = symmetric_limit(*maps)
            for engine, attribution in zip(unit, maps, strict=True):
                self._draw_engine(
                    engine, row, attribution if values is None else values, attribution, limit, left + _SCALE, top
                )
                left += _SCALE + _WIDTH + GAP
            colours = ScalarMappable(Normalize(-limit, limit), diverging_map())
            self.page.colour_bar(colours, left - GAP / 2, top, self.traces * self.pitch)
            left += BAR

    def _draw_engine(
        self,
        engine: EngineResults,
        row: int,
        values: np.ndarray,
        maps: np.ndarray,
        limit: float,
        left: float,
        top: float,
    ) -> None:
        order = np.argsort(-np.nan_to_num(np.abs(maps)).sum(axis=0), kind="stable")[: self.traces]
        is_good = True
        for place, feature in enumerate(order):
            named = _NAME if self.names[feature] else 0.0
            axes = self.page.axes(left, top + place * self.pitch + named, _WIDTH, self.pitch - named - 0.04)
            if place == 0:
                room = self.page.axes(left, top, _WIDTH, self.pitch)
                room.set_axis_off()
                is_good = title_map(room, engine, row)
            if not is_good:
                axes.set_axis_off()
                return
            _draw_trace(axes, values[:, feature], maps[:, feature] / limit)
            axes.tick_params(labelbottom=place == len(order) - 1)
            if named:
                name = shorten(self.names[feature], _NAME_WIDTH)
                self.page.text(left, top + place * self.pitch + 0.01, name, fontsize=7, color=GREY)
        axes.set_xlabel("step", labelpad=1, fontsize=8)


def _draw_trace(axes: Axes, values: np.ndarray, shares: np.ndarray) -> None:
    """A thin dark line on a broad one in the colours of the attributions, pale grey where there are none."""
    steps = np.arange(len(values))
    points = np.stack([steps, values], axis=1)
    middles = (points[1:] + points[:-1]) / 2
    ends = np.concatenate([points[:1], middles, points[-1:]])  # every step has its colour half way to the next
    pieces = np.stack([ends[:-1], points, ends[1:]], axis=1)
    axes.plot(steps, values, color="0.9", linewidth=5, solid_capstyle="round")
    strong = np.abs(np.nan_to_num(shares)) > 0.06
    colours = diverging_map()(0.5 + 0.5 * np.clip(shares[strong], -1, 1))
    looks: dict[str, Any] = {"linewidths": 5, "capstyle": "butt", "joinstyle": "round", "zorder": 2.1}
    axes.add_collection(LineCollection(list(pieces[strong]), colors=colours, **looks))
    axes.plot(steps, values, color="0.1", linewidth=0.7, zorder=3)
    axes.set_xlim(-0.5, len(values) - 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    low, high = float(np.nanmin(values, initial=np.inf)), float(np.nanmax(values, initial=-np.inf))
    if np.isfinite([low, high]).all() and high > low:
        axes.set_ylim(low - 0.12 * (high - low), high + 0.12 * (high - low))
        axes.set_yticks([low, high], labels=[number(low), number(high)])
    axes.tick_params(labelsize=6.5, length=2, pad=1.5)
