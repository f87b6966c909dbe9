"""Maps along the path: Δ ⊙ gradient at chosen α, and its integral up to there, for images and sequences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..samples import Status
from ..store.engine_results import EngineResults
from ..store.reader import Results
from .pictures import Canvas, is_picture
from .selection import Drawing, Nothing, Selection, spread
from .sheet import BAR, Sheet
from .style import GREY, symmetric_limit
from .words import ALPHA, score_unit

__all__ = ["draw"]

_MOST_ROWS = 4
_MOST_MAPS = 8

# inches
_CELL, _GAP, _LINE_GAP, _LABEL = 1.3, 0.1, 0.16, 0.3


def draw(selection: Selection, engine: EngineResults) -> Iterator[Drawing | Nothing]:
    """A strip of maps for up to four of the selected rows, per tensor of two or three axes."""
    if not len(engine.map_alpha):
        yield Nothing(f"{engine.label}: no maps along the path; its option `alphas` is empty")
        return
    rows = [row for row in selection.rows.tolist() if engine.status[row] != Status.QUARANTINED]
    for tensor, shape in engine.tensors.items():
        stem = f"saturation-maps-{engine.label}" + (f"-{tensor}" if len(engine.tensors) > 1 else "")
        if not is_picture(shape):
            yield Nothing(f"{engine.label}: maps of {tensor!r}, of shape {shape}, are no pictures")
        elif not rows:
            yield Nothing(f"{engine.label}: all of the selected rows are quarantined")
        else:
            yield Drawing(stem, _Strips(selection.results, engine, tensor, spread(rows, _MOST_ROWS)).draw())


class _Strips(Sheet):
    """Per row two strips of maps, each with one scale of colours from left to right."""

    def __init__(self, results: Results, engine: EngineResults, tensor: str, rows: Sequence[int]) -> None:
        self.engine = engine
        self.tensor = tensor
        self.canvas = Canvas(results, engine, tensor)
        self.places = spread(range(len(engine.map_alpha)), _MOST_MAPS)
        self.cell_height = _CELL * self.canvas.aspect
        self.maps_left = (_CELL + _GAP if self.canvas.stored else 0.0) + _LABEL
        heads = {
            self.maps_left + column * (_CELL + _GAP): f"{ALPHA} = {engine.map_alpha[place]:.3g}"
            for column, place in enumerate(self.places)
        }
        super().__init__(
            results,
            rows,
            title=f"{results.path.name}: {engine.label}, {tensor} along the path",
            legend=(
                f"Orange raises the {score_unit(results)} of the target, blue lowers it. Every strip has one "
                "scale: gradients that fade to the right show saturation."
            ),
            width=self.maps_left + len(self.places) * (_CELL + _GAP) + BAR,
            height=2 * self.cell_height + _LINE_GAP,
            title_lines=0,
            heads=heads,
        )

    def draw_cells(self, row: int, left: float, top: float) -> None:
        if self.canvas.stored:
            axes = self.page.axes(left, top, _CELL, self.cell_height)
            self.canvas.paint_input(axes, int(self.results.rows.sample[row]))
            axes.set(xticks=[], yticks=[])
        maps, running = (found[0][self.places] for found in self.engine.path_maps([row], self.tensor))
        left += self.maps_left
        self._draw_strip("Δ ⊙ gradient", maps, left, top)
        self._draw_strip(f"integral to {ALPHA}", running, left, top + self.cell_height + _LINE_GAP)

    def _draw_strip(self, label: str, maps: np.ndarray, left: float, top: float) -> None:
        limit = symmetric_limit(*(self.canvas.pixels(values) for values in maps))
        looks = {"rotation": 90, "ha": "right", "va": "center", "fontsize": 8, "color": GREY}
        self.page.text(left - 0.08, top + self.cell_height / 2, label, **looks)
        for values in maps:
            axes = self.page.axes(left, top, _CELL, self.cell_height)
            image = self.canvas.paint_map(axes, values, limit)
            axes.set(xticks=[], yticks=[])
            left += _CELL + _GAP
        self.page.colour_bar(image, left, top, self.cell_height)
