"""Interior gradients as an animation: the map at α and its integral up to α, from the baseline to the input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ...registry import FIGURES
from ...samples import Status
from ...store.results.engines import EngineResults
from ...store.results.reader import Results
from ..drawing.figure import FigureKind
from ..drawing.pictures import Canvas, is_picture
from ..drawing.selection import Animation, Drawing, Nothing, Selection, spread
from ..drawing.sheet import BAR, CELL, GAP, Sheet
from ..drawing.style import PALETTE, symmetric_limit
from ..drawing.words import ALPHA, score_unit
from ..rows.token_rows import is_text
from .maps import draw_score

__all__ = ["InteriorAnimation"]

_MOST_ROWS = 3
_SECONDS, _LAST = 0.5, 1.5  # of a frame, of the last one

# inches
_SCALE, _TICKS = 0.42, 0.3


@FIGURES.register("animation")
class InteriorAnimation(FigureKind):
    """A GIF per engine that kept maps along its path, for images and sequences."""

    def draw(self, selection: Selection) -> Iterator[Drawing | Animation | Nothing]:
        found = False
        for engine in (one for one in selection.engines if len(one.map_alpha) > 1):
            rows = [row for row in selection.rows.tolist() if engine.status[row] != Status.QUARANTINED]
            for tensor, shape in engine.tensors.items():
                if rows and is_picture(shape) and not is_text(selection.results, tensor):
                    found = True
                    stem = f"animation-{engine.label}" + (f"-{tensor}" if len(engine.tensors) > 1 else "")
                    yield _animation(stem, selection.results, engine, tensor, spread(rows, _MOST_ROWS))
        if not found:
            yield Nothing("no engine has kept maps of images or sequences along its path; interior_gradients does")


def _animation(stem: str, results: Results, engine: EngineResults, tensor: str, rows: Sequence[int]) -> Animation:
    frames = [_Frame(results, engine, tensor, rows, place).draw() for place in range(len(engine.map_alpha))]
    return Animation(stem, tuple(frames), (*[_SECONDS] * (len(frames) - 1), _LAST))


class _Frame(Sheet):
    """Rows at one α: the score on its way there, Δ ⊙ gradient, and the integral so far; scales never change."""

    def __init__(
        self, results: Results, engine: EngineResults, tensor: str, rows: Sequence[int], place: int
    ) -> None:
        self.engine = engine
        self.tensor = tensor
        self.place = place
        self.canvas = Canvas(results, engine, tensor)
        self.cell_height = CELL * self.canvas.aspect
        alpha = f"{ALPHA} = {engine.map_alpha[place]:.3g}"
        unit = score_unit(results)
        heads = ["input"] if self.canvas.stored else []
        heads += [unit, "Δ ⊙ gradient", f"integral to {ALPHA}"]
        super().__init__(
            results,
            rows,
            title=f"{results.path.name}: {engine.label}, {tensor} at {alpha}",
            legend=f"Orange raises the {unit} of the target, blue lowers it. One scale for all {ALPHA}.",
            width=len(heads) * (CELL + GAP) + _SCALE + 2 * BAR,
            height=self.cell_height + _TICKS,
            title_lines=0,
            heads=dict(zip(self._lefts(), heads, strict=True)),
        )

    def _lefts(self) -> list[float]:
        """Where the cells begin: of the input if it is stored, the curve, and two maps with their colours."""
        lefts = [0.0] if self.canvas.stored else []
        curve = lefts[-1] + CELL + GAP if lefts else 0.0
        first = curve + _SCALE + CELL + GAP
        return [*lefts, curve + _SCALE, first, first + CELL + GAP + BAR]

    def draw_cells(self, row: int, left: float, top: float) -> None:
        sample = int(self.results.rows.sample[row])
        *stored, curve, gradient, integral = self._lefts()
        for distance in stored:
            axes = self.page.axes(left + distance, top, CELL, self.cell_height)
            self.canvas.paint_input(axes, sample)
            axes.set(xticks=[], yticks=[])
        self._draw_curve(row, left + curve, top)
        for distance, maps in zip((gradient, integral), self.engine.path_maps([row], self.tensor), strict=True):
            limit = symmetric_limit(*(self.canvas.pixels(values) for values in maps[0]))
            axes = self.page.axes(left + distance, top, CELL, self.cell_height)
            image = self.canvas.paint_map(axes, maps[0][self.place].astype(np.float64), limit, sample)
            axes.set(xticks=[], yticks=[])
            self.page.colour_bar(image, left + distance + CELL + 0.05, top, self.cell_height)

    def _draw_curve(self, row: int, left: float, top: float) -> None:
        axes = self.page.axes(left, top, CELL, self.cell_height)
        draw_score(axes, self.results, self.engine, row)
        axes.set_title("", loc="left")
        if "score" in self.engine.curves:
            alpha = float(self.engine.map_alpha[self.place])
            score = float(np.interp(alpha, self.engine.alpha, self.engine.curve("score", [row])[0]))
            axes.plot([alpha], [score], "o", color=PALETTE[1], markersize=6, zorder=4)
