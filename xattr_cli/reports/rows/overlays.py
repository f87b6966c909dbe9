"""Maps over the photographs that they explain, with the pixels that carry most of them outlined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from ...registry import FIGURES
from ...store.results.engines import EngineResults
from ...store.results.reader import Results
from ..drawing.figure import FigureKind
from ..drawing.pictures import Canvas, is_picture
from ..drawing.selection import Drawing, Nothing, Selection, paged, tensors_of
from ..drawing.sheet import BAR, GAP, Sheet, title_lines, title_map
from ..drawing.style import LOWERS, RAISES, symmetric_limit
from ..drawing.words import percent, score_unit

__all__ = ["Overlays", "outlined", "smoothed_map"]

_ROWS_PER_PAGE = 6
_SMALLEST = 24  # pixels a side; below, single pixels can be seen in the heat map itself
_TOP = 0.05  # share of the pixels inside the outline
_BLUR = 0.02  # standard deviation of the blur, relative to the longer side

# inches
_CELL, _BESIDE = 2.2, 0.05


@FIGURES.register("overlays")
class Overlays(FigureKind):
    """Pages of photographs, each with its heat map and the same map over the photograph, per engine."""

    def draw(self, selection: Selection) -> Iterator[Drawing | Nothing]:
        is_any, tensors = False, tensors_of(selection.engines)
        for name, engines in tensors.items():
            canvas = Canvas(selection.results, engines[0], name) if is_picture(engines[0].tensors[name]) else None
            if canvas is None or not canvas.is_image or min(canvas.shape[-2:]) < _SMALLEST:
                continue
            is_any = True
            rows = [
                row for row in selection.rows.tolist() if int(selection.results.rows.sample[row]) in canvas.stored
            ]
            if not rows:
                yield Nothing(f"the images {name!r} are not stored for any of the selected rows")
            whole = "overlays" if len(tensors) == 1 else f"overlays-{name}"
            for stem, some in paged(whole, rows, _ROWS_PER_PAGE):
                yield Drawing(stem, OverlaySheet(selection.results, canvas, engines, some).draw())
        if not is_any:
            yield Nothing(f"no explained tensor is an image of {_SMALLEST} × {_SMALLEST} pixels or more")


class OverlaySheet(Sheet):
    """A line per row: the photograph, then for each engine its heat map and its map over the photograph."""

    def __init__(
        self, results: Results, canvas: Canvas, engines: Sequence[EngineResults], rows: Sequence[int]
    ) -> None:
        self.canvas = canvas
        self.engines = tuple(engines)
        self.cell_height = _CELL * canvas.aspect
        self._step = 2 * _CELL + _BESIDE + BAR + GAP
        first = _CELL + GAP
        super().__init__(
            results,
            rows,
            title=f"{results.path.name}: attribution of {canvas.tensor}, over the images",
            legend=(
                f"Orange raises the {score_unit(results)} of the target, blue lowers it. "
                "±: reported relative L2 error of the map.\n"
                f"Outlined: the {100 * _TOP:.0f} % of the pixels with the largest |attribution| around them (a "
                f"blur of {100 * _BLUR:.0f} % of the side); in the corner: the share of all |attribution| inside."
            ),
            width=first + len(engines) * self._step,
            height=self.cell_height,
            title_lines=title_lines(engines, rows),
            heads={first + place * self._step: engine.label for place, engine in enumerate(engines)},
        )

    def draw_cells(self, row: int, left: float, top: float) -> None:
        sample = int(self.results.rows.sample[row])
        axes = self._cell(left, top)
        self.canvas.paint_input(axes, sample)
        grey = _grey(self.canvas, sample)
        left += _CELL + GAP
        for engine in self.engines:
            axes = self._cell(left, top)
            if title_map(axes, engine, row):
                self._draw_pair(axes, engine, row, grey, left, top)
            left += self._step

    def _draw_pair(
        self, axes: Axes, engine: EngineResults, row: int, grey: np.ndarray, left: float, top: float
    ) -> None:
        values = engine.attribution([row], self.canvas.tensor)[0].astype(np.float64)
        pixels = self.canvas.pixels(values)
        limit = symmetric_limit(pixels)
        image = self.canvas.paint_map(axes, values, limit, int(self.results.rows.sample[row]))
        over = self._cell(left + _CELL + _BESIDE, top)
        self._draw_over(over, pixels, limit, grey)
        self.page.colour_bar(image, left + 2 * _CELL + _BESIDE + 0.06, top, self.cell_height)

    def _draw_over(self, axes: Axes, pixels: np.ndarray, limit: float, grey: np.ndarray) -> None:
        shares = np.clip(pixels / limit, -1, 1)
        colours = np.where(shares[..., None] > 0, to_rgb(RAISES), to_rgb(LOWERS))
        # what is strong hides the photograph, what is weak lets it be seen
        weight = np.abs(shares)[..., None]
        axes.set_anchor("NW")
        axes.imshow(weight * colours + (1 - weight) * grey[..., None])
        axes.spines[:].set(visible=True, color="0.7")
        _outline(axes, np.abs(pixels))

    def _cell(self, left: float, top: float) -> Axes:
        axes = self.page.axes(left, top, _CELL, self.cell_height)
        axes.set(xticks=[], yticks=[])
        return axes


def _outline(axes: Axes, sizes: np.ndarray) -> None:
    """Draw a line around the largest attributions, and say what share of all they are."""
    near = smoothed_map(sizes, _BLUR * max(sizes.shape))
    inside = outlined(near, _TOP)
    if inside.all() or not inside.any():  # the same everywhere
        return
    for colour, width in (("white", 2.2), ("black", 0.9)):
        axes.contour(near, levels=[near[inside].min()], colors=colour, linewidths=width)
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.0}
    share = percent(float(sizes[inside].sum() / sizes.sum()))
    axes.text(0.98, 0.02, share, transform=axes.transAxes, fontsize=7, ha="right", va="bottom", bbox=box)


def smoothed_map(values: np.ndarray, deviation: float) -> np.ndarray:
    """(height, width) values blurred by a Gaussian of that standard deviation in pixels; edges are mirrored."""
    reach = max(1, int(np.ceil(3 * deviation)))
    places = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (places / max(deviation, 1e-6)) ** 2)
    weights /= weights.sum()
    for _ in range(2):  # rows, then columns
        padded = np.pad(values, [(reach, reach), (0, 0)], mode="symmetric")
        values = sum(weight * padded[shift : shift + len(values)] for shift, weight in enumerate(weights)).T
    return values


def outlined(values: np.ndarray, share: float) -> np.ndarray:
    """(*shape) bool, where the largest values are: that share of all, none zero; more if several are equal."""
    least = np.quantile(values, 1 - share, method="higher")
    return np.asarray((values >= least) & (values > 0))


def _grey(canvas: Canvas, sample: int) -> np.ndarray:
    """(height, width) the photograph in light grey tones, so that colours stand out from it."""
    values = canvas.results.original(canvas.tensor, sample)
    grey = np.nan_to_num(values.mean(axis=0) if values.ndim == 3 else values)
    low, high = np.percentile(grey, [1, 99])
    tones = np.clip((grey - low) / (high - low if high > low else 1.0), 0, 1)
    return np.asarray(0.45 + 0.55 * tones)
