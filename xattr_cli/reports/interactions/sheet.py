"""Rows one by one: each with its matrix of interactions, and its strongest pairs with error bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator

from ...store.results.engines import EngineResults
from ...store.results.interactions import InteractionResults
from ...store.results.reader import Results
from ..drawing.pictures import Canvas
from ..drawing.sheet import BAR, Sheet, title_lines, title_map
from ..drawing.style import GREY, LOWERS, RAISES, diverging_map, symmetric_limit
from ..drawing.words import score_unit
from .matrix import RowMatrix, row_matrix
from .overview import name_axes
from .pairs import brief

__all__ = ["InteractionSheet"]

_TOP = 10
_NAME_WIDTH = 17  # characters

# inches
_CELL, _STRIP, _BARS, _NAMES, _PAIR_NAMES, _GAP, _LINE = 2.7, 0.45, 1.7, 1.05, 2.45, 0.15, 0.2
_BETWEEN = _NAMES + _CELL + BAR + _GAP + _PAIR_NAMES


class InteractionSheet(Sheet):
    """A line per row: its matrix with the names of its groups or tokens, and its strongest pairs."""

    def __init__(
        self, results: Results, engine: EngineResults, interactions: InteractionResults, rows: Sequence[int]
    ) -> None:
        self.engine = engine
        self.found = interactions
        score = score_unit(results)
        super().__init__(
            results,
            rows,
            title=f"{results.path.name}: interactions, {engine.label}",
            legend=(
                f"Orange: together they raise the {score} of the target, blue: they lower it. On the diagonal, "
                "what each does alone.\nColours end at the strongest pairs. ±: reported relative error of the "
                "matrix; lines: its share in each pair."
            ),
            width=_BETWEEN + _BARS,
            height=_CELL + _NAMES if interactions.is_square else _TOP * _LINE + 0.4,
            title_lines=title_lines([engine], rows),
            heads={_NAMES: "interactions", _BETWEEN: "strongest pairs"},
        )

    def draw_cells(self, row: int, left: float, top: float) -> None:
        matrix = row_matrix(self.results, self.engine, self.found, row)
        height = _CELL if matrix.is_square else _STRIP
        axes = self.page.axes(left + _NAMES, top, _CELL, height)
        if not title_map(axes, self.engine, row):
            return
        limit = symmetric_limit(matrix.off_diagonal if matrix.off_diagonal.any() else matrix.values)
        looks: dict[str, Any] = {"cmap": diverging_map(), "vmin": -limit, "vmax": limit, "aspect": "auto"}
        image = axes.imshow(matrix.values, interpolation="nearest", **looks)
        axes.spines[:].set(visible=True, color="0.7")
        name_axes(axes, matrix.rows, matrix.columns, 7.0 if len(matrix.columns) <= 20 else 5.5)
        self.page.colour_bar(image, left + _NAMES + _CELL + 0.08, top, height)
        self._draw_pairs(matrix, left + _BETWEEN, top)
        segments = self.found.segments(row)
        if segments is not None:
            self._draw_segments(row, segments, left + _BETWEEN, top + (_TOP + 2.4) * _LINE)

    def _draw_segments(self, row: int, segments: np.ndarray, left: float, top: float) -> None:
        """The sample's image with the outlines and the numbers of its superpixels."""
        height, width = segments.shape
        scale = min(_BARS / width, (_CELL + _NAMES - (_TOP + 2.4) * _LINE) / height)
        axes = self.page.axes(left, top, width * scale, height * scale)
        Canvas(self.results, self.engine, next(iter(self.engine.tensors))).paint_input(
            axes, int(self.results.rows.sample[row])
        )
        axes.set(xticks=[], yticks=[])
        for number in np.unique(segments):
            inside = segments == number
            axes.contour(inside, levels=[0.5], colors=RAISES, linewidths=0.8)
            y, x = (float(np.median(place)) for place in np.nonzero(inside))
            outline = [withStroke(linewidth=1.5, foreground="black")]
            looks: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7, "path_effects": outline}
            axes.text(x, y, str(number), color="white", **looks)

    def _draw_pairs(self, matrix: RowMatrix, left: float, top: float) -> None:
        pairs = matrix.strongest(_TOP)
        if not pairs:
            return
        axes = self.page.axes(left, top, _BARS, max(2, len(pairs)) * _LINE)
        names = [f"{brief(one, _NAME_WIDTH)} × {brief(other, _NAME_WIDTH)}" for (one, other), _, _ in pairs]
        _, sizes, errors = zip(*pairs, strict=True)
        _draw_bars(axes, np.array(sizes), np.array(errors))
        axes.set_yticks(range(len(pairs)), labels=names, fontsize=7.5)
        axes.set_xlabel("Γᵢⱼ + Γⱼᵢ" if matrix.is_square else "Γᵢⱼ", fontsize=8)


def _draw_bars(axes: Axes, sizes: np.ndarray, errors: np.ndarray) -> None:
    places = np.arange(len(sizes))
    axes.barh(places, sizes, height=0.7, color=np.where(sizes < 0, LOWERS, RAISES))
    axes.errorbar(sizes, places, xerr=errors, fmt="none", ecolor="black", elinewidth=1.0)
    axes.axvline(0.0, color=GREY, linewidth=0.7)
    axes.set_ylim(max(2, len(sizes)) - 0.4, -0.6)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    limit = float(np.max(np.abs(sizes) + errors, initial=0.0)) or 1.0
    axes.set_xlim(-1.05 * limit, 1.05 * limit)
    axes.xaxis.set_major_locator(MaxNLocator(3, symmetric=True))
