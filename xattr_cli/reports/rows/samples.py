"""Samples beside their maps: the input, and one map per engine with its error bar and its cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes

from ...registry import FIGURES
from ...store.results.engines import EngineResults
from ...store.results.reader import EffectResults, Results
from ..drawing.figure import FigureKind
from ..drawing.pictures import Canvas, is_picture, is_vector, is_waveform
from ..drawing.selection import Drawing, Nothing, Selection, paged, tensors_of
from ..drawing.sheet import BAR, CELL, GAP, Sheet, by_unit, heads_of, title_lines, title_map
from ..drawing.style import symmetric_limit
from ..drawing.words import score_unit
from .bars import BarSheet
from .token_rows import has_tokens

__all__ = ["SamplePages"]

_ROWS_PER_PAGE = 8
_TICKS = 0.3  # inches


@FIGURES.register("samples")
class SamplePages(FigureKind):
    """Pages of at most eight rows, for every explained tensor of up to three axes."""

    def knows(self, values: EngineResults | EffectResults) -> tuple[str, ...]:
        return ("attribution*", "reduced*", "standard_error*") if isinstance(values, EngineResults) else ()

    def draw(self, selection: Selection) -> Iterator[Drawing | Nothing]:
        tensors = tensors_of(selection.engines)
        if not tensors:
            yield Nothing("no engine leaves a map")
        for name, engines in tensors.items():
            shape = engines[0].tensors[name]
            stem = "samples" if len(tensors) == 1 else f"samples-{name}"
            if has_tokens(selection.results, name):
                yield Nothing(f"the steps of {name!r} have names; kinds 'tokens' and 'molecules' show them")
            elif is_waveform(selection.results, name, shape):
                yield Nothing(f"{name!r} is a wave of {max(shape)} steps; kind 'lines' shows it")
            elif is_picture(shape) or is_vector(shape):
                sheet = PictureSheet if is_picture(shape) else BarSheet
                for page, rows in paged(stem, selection.rows, _ROWS_PER_PAGE):
                    yield Drawing(page, sheet(selection.results, name, engines, rows).draw())
            else:
                yield Nothing(f"{name!r} of shape {shape} is no table, sequence or image")


class PictureSheet(Sheet):
    """Images or sequences: a column per engine.

    Within a line all maps in one unit share a colour scale, so that they can be compared.
    """

    def __init__(
        self, results: Results, tensor: str, engines: Sequence[EngineResults], rows: Sequence[int]
    ) -> None:
        self.tensor = tensor
        self.units = by_unit(engines)
        self.canvas = Canvas(results, engines[0], tensor)
        self.cell_height = CELL * self.canvas.aspect
        first = self.canvas.label_width + (CELL + GAP if self.canvas.stored else 0.0)
        heads, width = heads_of(self.units, CELL, first)
        super().__init__(
            results,
            rows,
            title=f"{results.path.name}: attribution of {tensor}",
            legend=_legend(results, self.canvas),
            width=width,
            height=self.cell_height + (0.0 if self.canvas.is_image else _TICKS),
            title_lines=title_lines(engines, rows),
            heads=heads,
        )

    def draw_cells(self, row: int, left: float, top: float) -> None:
        left += self.canvas.label_width
        labelled = True
        if self.canvas.stored:
            axes = self._cell(left, top, labelled)
            self.canvas.paint_input(axes, int(self.results.rows.sample[row]))
            left, labelled = left + CELL + GAP, False
        for engines in self.units:
            left = self._draw_maps(engines, row, left, top, labelled)
            labelled = False

    def _draw_maps(
        self, engines: Sequence[EngineResults], row: int, left: float, top: float, labelled: bool
    ) -> float:
        """Draw maps of one unit and their colour bar; returns where the next column begins."""
        maps = [engine.attribution([row], self.tensor)[0] for engine in engines]
        limit = symmetric_limit(*(self.canvas.pixels(values) for values in maps))
        image = None
        for engine, values in zip(engines, maps, strict=True):
            axes = self._cell(left, top, labelled)
            if title_map(axes, engine, row):
                image = self.canvas.paint_map(axes, values, limit, int(self.results.rows.sample[row]))
            left, labelled = left + CELL + GAP, False
        if image is not None:
            self.page.colour_bar(image, left - GAP / 2, top, self.cell_height)
        return left + BAR

    def _cell(self, left: float, top: float, labelled: bool) -> Axes:
        axes = self.page.axes(left, top, CELL, self.cell_height)
        self.canvas.label_axes(axes, features=labelled)
        return axes


def _legend(results: Results, canvas: Canvas) -> str:
    text = (
        f"Orange raises the {score_unit(results)} of the target, blue lowers it. "
        "±: reported relative L2 error of the map."
    )
    if canvas.is_image:
        return text
    padding = " Grey: padding." if canvas.is_padded else ""
    return f"{text}\nInputs: every feature from its lowest (dark) to its highest value (bright).{padding}"
