"""A page of rows: in words what each explains, and beside it cells for a figure to fill."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import chain
from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...samples import Status
from ...store.results.engines import EngineResults
from ...store.results.reader import Results
from .page import BAR_WIDTH, Page
from .pictures import blank
from .style import GREY, WARNING
from .words import WARNINGS, describe_map, describe_row, fold, shorten

__all__ = ["BAR", "CELL", "GAP", "Sheet", "by_unit", "heads_of", "title_lines", "title_map"]

# inches
CELL, GAP = 1.62, 0.16
BAR = BAR_WIDTH + 0.62  # a colour bar with its numbers
_MARGIN, _TEXT = 0.2, 1.8
_TITLE, _LEGEND_LINE, _HEAD_LINE, _MAP_TITLE_LINE = 0.26, 0.16, 0.17, 0.15
_BETWEEN, _LOWEST_LINE = 0.14, 1.7
_WIDEST, _NARROWEST = 13.0, 6.2
_HEAD_WIDTH = 20  # characters
_TITLE_LETTER, _LEGEND_LETTER = 0.096, 0.065  # inches, a little more than the mean letter takes


class Sheet(ABC):
    """One page: a line per row of the file; narrow lines stand beside each other.

    Arguments:
        results: the file.
        rows: positions of the rows.
        title, legend: above the lines.
        width, height: of the cells of a line, in inches.
        title_lines: of text above each cell.
        heads: what stands above the cells of the first line, at its distance in inches from their left.
    """

    def __init__(
        self,
        results: Results,
        rows: Sequence[int],
        *,
        title: str,
        legend: str,
        width: float,
        height: float,
        title_lines: int,
        heads: dict[float, str],
    ) -> None:
        self.results = results
        self.rows = list(rows)
        self._heads = {left: fold(head, _HEAD_WIDTH) for left, head in heads.items()}
        self._line_width = _TEXT + width
        self._above = 0.06 + title_lines * _MAP_TITLE_LINE
        self._pitch = max(self._above + height + _BETWEEN, _LOWEST_LINE)
        across = max(1, min(int(_WIDEST / self._line_width), len(self.rows) // 2))
        self._down = -(-len(self.rows) // across)
        head_lines = max((head.count("\n") + 1 for head in self._heads.values()), default=0)
        width = max(across * self._line_width + 2 * _MARGIN, _NARROWEST)
        self._title = shorten(title, int((width - 2 * _MARGIN) / _TITLE_LETTER))
        lines = [wrap(line, int((width - 2 * _MARGIN) / _LEGEND_LETTER)) for line in legend.split("\n")]
        self._legend = "\n".join(chain.from_iterable(lines))
        self._top = _MARGIN + _TITLE + (self._legend.count("\n") + 2) * _LEGEND_LINE + head_lines * _HEAD_LINE
        self.page = Page(width, self._top + self._down * self._pitch + _MARGIN)

    def draw(self) -> Figure:
        """Draw everything; the page's figure."""
        self.page.text(_MARGIN, _MARGIN, self._title, fontsize=10, fontweight="bold")
        self.page.text(_MARGIN, _MARGIN + _TITLE, self._legend, fontsize=8, color=GREY, linespacing=1.35)
        for place, row in enumerate(self.rows):
            left = _MARGIN + place // self._down * self._line_width
            top = self._top + place % self._down * self._pitch + self._above
            self._draw_words(row, left, top)
            if place % self._down == 0:
                self._draw_heads(left + _TEXT)
            self.draw_cells(row, left + _TEXT, top)
        return self.page.figure

    @abstractmethod
    def draw_cells(self, row: int, left: float, top: float) -> None:
        """Fill a line: (left, top) is where its cells begin, in inches."""

    def _draw_words(self, row: int, left: float, top: float) -> None:
        first, *others = describe_row(self.results, row)
        self.page.text(left, top, first, fontweight="bold")
        self.page.text(left, top + 0.18, "\n".join(others), fontsize=8.5, linespacing=1.35)

    def _draw_heads(self, left: float) -> None:
        for distance, head in self._heads.items():
            self.page.text(left + distance, self._top, head, fontweight="bold", va="bottom")


def title_map(axes: Axes, engine: EngineResults, row: int) -> bool:
    """Write error bar and cost above a map; False if the row is quarantined, which is said in its place."""
    if engine.status[row] == Status.QUARANTINED:
        blank(axes, "quarantined:\nscore or gradient\nis not finite")
        return False
    color = WARNING if int(engine.status[row]) in WARNINGS else "black"
    axes.set_title(describe_map(engine, row), fontsize=8, pad=3, loc="left", color=color)
    return True


def title_lines(engines: Sequence[EngineResults], rows: Sequence[int]) -> int:
    """Lines that `title_map` needs for these rows."""
    return 1 + any(np.isin(engine.status[list(rows)], list(WARNINGS)).any() for engine in engines)


def by_unit(engines: Sequence[EngineResults]) -> list[list[EngineResults]]:
    """Engines whose maps sum to a difference of scores, and each other one by itself."""
    complete = [engine for engine in engines if np.isfinite(engine.completeness_gap).any()]
    others = [[engine] for engine in engines if engine not in complete]
    return [complete, *others] if complete else others


def heads_of(
    units: Sequence[Sequence[EngineResults]], width: float, first: float = 0.0, *, inset: float = 0.0
) -> tuple[dict[float, str], float]:
    """Where the columns of the engines begin, with their labels, and where the last ends; in inches.

    Arguments:
        units: engines that share a colour bar, which stands behind them.
        width: of a cell.
        first: where the first one begins.
        inset: of a label in its cell.
    """
    heads, left = {}, first
    for unit in units:
        for engine in unit:
            heads[left + inset] = engine.label
            left += width + GAP
        left += BAR
    return heads, left
