"""Maps along the path: Δ ⊙ gradient at chosen α and its integral up to there, beside the curve of the score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes

from ...samples import Status
from ...store.results.engines import EngineResults
from ...store.results.reader import Results
from ..drawing.pictures import Canvas, is_picture
from ..drawing.selection import Drawing, Nothing, Selection, spread
from ..drawing.sheet import BAR, Sheet
from ..drawing.style import GREY, PALETTE, symmetric_limit
from ..drawing.words import ALPHA, number, score_unit
from ..rows.token_rows import is_text

__all__ = ["draw", "draw_score"]

_MOST_ROWS = 4
_MOST_MAPS = 8

# inches
_CELL, _GAP, _LINE_GAP, _LABEL = 1.3, 0.1, 0.18, 0.3
_SCALE, _TICKS = 0.34, 0.1


def draw(selection: Selection, engine: EngineResults) -> Iterator[Drawing | Nothing]:
    """A strip of maps for up to four of the selected rows, per tensor of two or three axes."""
    if not len(engine.map_alpha):
        yield Nothing(f"{engine.label}: no maps along the path; its option `alphas` is empty")
        return
    rows = [row for row in selection.rows.tolist() if engine.status[row] != Status.QUARANTINED]
    for tensor, shape in engine.tensors.items():
        stem = f"saturation-maps-{engine.label}" + (f"-{tensor}" if len(engine.tensors) > 1 else "")
        if is_text(selection.results, tensor):
            continue
        if not is_picture(shape):
            yield Nothing(f"{engine.label}: maps of {tensor!r}, of shape {shape}, are no pictures")
        elif not rows:
            yield Nothing(f"{engine.label}: all of the selected rows are quarantined")
        else:
            yield Drawing(stem, _Strips(selection.results, engine, tensor, spread(rows, _MOST_ROWS)).draw())


def draw_score(axes: Axes, results: Results, engine: EngineResults, row: int) -> None:
    """The score on the way to the input, marked where there are maps."""
    if "score" not in engine.curves:
        axes.set_axis_off()
        return
    alpha, scores = engine.alpha, engine.curve("score", [row])[0]
    axes.plot(alpha, scores, color=PALETTE[0], linewidth=1.6)
    axes.plot(engine.map_alpha, np.interp(engine.map_alpha, alpha, scores), "o", color="black", markersize=2.5)
    ends = [float(scores[0]), float(scores[-1])]
    axes.set_yticks(ends, labels=[number(end) for end in ends])
    axes.set_xticks([0, 1])
    axes.tick_params(labelsize=6.5, length=2, pad=1.5)
    axes.set_title(f"{score_unit(results)} over {ALPHA}", fontsize=7, pad=2, loc="left", color=GREY)


class _Strips(Sheet):
    """Per row the score over α and two strips of maps, each with one scale of colours from left to right."""

    def __init__(self, results: Results, engine: EngineResults, tensor: str, rows: Sequence[int]) -> None:
        self.engine = engine
        self.tensor = tensor
        self.canvas = Canvas(results, engine, tensor)
        self.places = spread(range(len(engine.map_alpha)), _MOST_MAPS)
        self.cell_height = _CELL * self.canvas.aspect
        self.maps_left = _CELL + _GAP + _LABEL
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
            height=2 * self.cell_height + _LINE_GAP + _TICKS,
            title_lines=0,
            heads=heads,
        )

    def draw_cells(self, row: int, left: float, top: float) -> None:
        sample, below = int(self.results.rows.sample[row]), top + self.cell_height + _LINE_GAP
        if self.canvas.stored:
            axes = self.page.axes(left, top, _CELL, self.cell_height)
            self.canvas.paint_input(axes, sample)
            axes.set(xticks=[], yticks=[])
        field = (left + _SCALE, below if self.canvas.stored else top, _CELL - _SCALE, self.cell_height)
        draw_score(self.page.axes(*field), self.results, self.engine, row)
        maps, running = (found[0][self.places] for found in self.engine.path_maps([row], self.tensor))
        left += self.maps_left
        self._draw_strip("Δ ⊙ gradient", maps, sample, left, top)
        self._draw_strip(f"integral to {ALPHA}", running, sample, left, below)

    def _draw_strip(self, label: str, maps: np.ndarray, sample: int, left: float, top: float) -> None:
        limit = symmetric_limit(*(self.canvas.pixels(values) for values in maps))
        looks = {"rotation": 90, "ha": "right", "va": "center", "fontsize": 8, "color": GREY}
        self.page.text(left - 0.08, top + self.cell_height / 2, label, **looks)
        for values in maps:
            axes = self.page.axes(left, top, _CELL, self.cell_height)
            image = self.canvas.paint_map(axes, values, limit, sample)
            axes.set(xticks=[], yticks=[])
            left += _CELL + _GAP
        self.page.colour_bar(image, left, top, self.cell_height)
