"""Heat maps of continuations: a line per output token, a column per token before it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure

from ...registry import FIGURES
from ...samples import Status
from ..drawing.figure import FigureKind
from ..drawing.page import Page
from ..drawing.selection import Drawing, Nothing, Selection
from ..drawing.style import GREY, WARNING, diverging_map
from ..drawing.words import score_unit, shorten
from .output_maps import OutputMap, OutputReader

__all__ = ["OutputPages"]

_MOST_COLUMNS, _MOST_LINES = 100, 60  # the report has all of them
_MARGIN, _TITLE, _HEAD, _NAMES, _COLUMNS = 0.2, 0.55, 0.3, 1.3, 0.9  # inches
_WIDE, _HIGH, _BAR = 0.27, 0.24, 0.7


@FIGURES.register("outputs")
class OutputPages(FigureKind):
    """A page per sample: which tokens of a prompt led to which tokens of its continuation."""

    def draw(self, selection: Selection) -> Iterator[Drawing | Nothing]:
        reader = OutputReader(selection.results, selection.engines)
        wanted = dict.fromkeys(selection.results.rows.sample[selection.rows].tolist())
        samples = [sample for sample in reader.samples if sample in wanted]
        if not samples:
            yield Nothing("the file explains no output tokens whose prompts are stored")
        for sample in samples:
            yield Drawing(f"outputs-{sample}", _page(reader, sample))


def _page(reader: OutputReader, sample: int) -> Figure:
    maps = list(reader.maps(sample))
    columns = max(1, min(_MOST_COLUMNS, len(maps[0].tokens)))
    lines = min(_MOST_LINES, len(maps[0].outputs))
    each = _HEAD + lines * _HIGH + _COLUMNS
    width = max(2 * _MARGIN + _NAMES + columns * _WIDE + _BAR, 6.0)
    page = Page(width, _MARGIN + _TITLE + len(maps) * each + _MARGIN)
    title = f"{reader.results.path.name}: sample {sample}"
    page.text(_MARGIN, _MARGIN, title, fontsize=10, fontweight="bold")
    more = "" if len(maps[0].tokens) <= columns else f"; the first {columns} of {len(maps[0].tokens)} tokens"
    legend = (
        f"Orange raises the {score_unit(reader.results)} of the output token at the left, blue lowers it{more}."
    )
    page.text(_MARGIN, _MARGIN + 0.22, legend, fontsize=8, color=GREY)
    for number, one in enumerate(maps):
        _draw(page, one, _MARGIN + _TITLE + number * each, lines, columns)
    return page.figure


def _draw(page: Page, shown: OutputMap, top: float, lines: int, columns: int) -> None:
    left = _MARGIN + _NAMES
    page.text(left, top, shorten(shown.engine.label, 60), fontsize=8.5)
    axes = page.axes(left, top + _HEAD - 0.08, columns * _WIDE, lines * _HIGH)
    values = shown.values[:lines, :columns]
    image = axes.imshow(values, cmap=diverging_map(), vmin=-shown.limit, vmax=shown.limit, aspect="auto")
    axes.set_xticks(range(columns), [shorten(text, 12) for text in shown.tokens[:columns]])
    axes.tick_params(axis="x", labelsize=7.5, labelrotation=90)
    axes.set_yticks(range(lines), [shorten(text, 18) for text in shown.outputs[:lines]], fontsize=8)
    axes.tick_params(length=0)
    settled = np.isin(shown.engine.status[shown.rows], (Status.CONVERGED, Status.NOT_JUDGED))
    for label, is_settled in zip(axes.get_yticklabels(), settled[:lines], strict=True):
        label.set_color("black" if is_settled else WARNING)
    for _, start in shown.parts[1:]:
        if start < columns:
            axes.axvline(start - 0.5, color="0.3", linewidth=0.8)
    page.colour_bar(image, left + columns * _WIDE + 0.08, top + _HEAD - 0.08, lines * _HIGH)
