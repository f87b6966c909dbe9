"""Values that no other figure knows, such as those of a new engine: bars, lines or heat maps by their axes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import JobError
from ..registry import FIGURES
from ..store.results.engines import EngineResults
from ..store.results.reader import EffectResults
from .drawing.figure import FigureKind
from .drawing.selection import Drawing, Nothing, Selection
from .drawing.style import PALETTE, diverging_map, panels, symmetric_limit
from .drawing.words import shorten

__all__ = ["Values"]

_MOST_PANELS = 6
_MOST_BARS = 40


@FIGURES.register("values")
class Values(FigureKind):
    """What engines leave that no other kind of figure speaks for: a figure for each array of numbers."""

    def draw(self, selection: Selection) -> Iterator[Drawing | Nothing]:
        strange = [array for found in _engines(selection) for array in _strange(found, selection)]
        if not strange:
            yield Nothing("other kinds speak for all values")
        for array in strange:
            yield Drawing(f"values-{array.label}-{array.name.replace('/', '-')}", _figure(selection, array))
            left_out = len(array.panels) - _MOST_PANELS
            if left_out > 0:
                yield Nothing(f"{array.label}, {array.name}: {_MOST_PANELS} parts are drawn, {left_out} are not")


@dataclass(frozen=True)
class _Array:
    """An array of numbers.

    Attributes:
        label: of the engine.
        name: of the value.
        values: the numbers; of values per row, those of the selected rows.
        axes: labels, '' where there are none.
        places: axis -> what its positions are called, where that is known.
    """

    label: str
    name: str
    values: np.ndarray
    axes: tuple[str, ...]
    places: dict[str, np.ndarray]

    @property
    def panels(self) -> list[tuple[int, ...]]:
        """Positions on all axes but the last two."""
        return list(np.ndindex(self.values.shape[:-2]))


def _engines(selection: Selection) -> Sequence[EngineResults | EffectResults]:
    return [*selection.engines, *selection.effects]


def _strange(results: EngineResults | EffectResults, selection: Selection) -> Iterator[_Array]:
    """The arrays of an engine that no kind of figure knows."""
    known = [name for kind in _other_kinds() for name in kind.knows(results)]
    strangers = [name for name in results.names if not any(fnmatchcase(name, pattern) for pattern in known)]
    # what names the places of an axis belongs to the values along it
    sources = {source for name in strangers for axis in results.axes_of(name) for source in _sources(axis)}
    for name in (name for name in strangers if name not in sources):
        axes = results.axes_of(name)
        values = results.read(name, selection.rows if axes[:1] == ("row",) else None)
        if values.ndim and values.size and values.dtype.kind in "biuf":
            places = _places(results, selection, axes, values)
            yield _Array(results.label, name, values.astype(np.float64), axes, places)


def _sources(axis: str) -> tuple[str, ...]:
    """Values that may name the places of an axis, the best first."""
    return (f"{axis}_names", axis, f"{axis}s") if axis else ()


def _other_kinds() -> Iterator[FigureKind]:
    """All kinds that can be loaded; who draws hears elsewhere of those that cannot."""
    for name in FIGURES.names():
        try:
            yield FIGURES.get(name)()
        except JobError:
            continue


def _places(
    results: EngineResults | EffectResults, selection: Selection, axes: tuple[str, ...], values: np.ndarray
) -> dict[str, np.ndarray]:
    places: dict[str, np.ndarray] = {}
    for axis, length in zip(axes, values.shape, strict=True):
        candidates = [results.read(source) for source in _sources(axis) if source in results.names]
        if axis == "row":
            candidates = [np.array([f"row {number}" for number in selection.results.rows.id[selection.rows]])]
        fitting = [names for names in candidates if names.shape == (length,)]
        if fitting:
            places[axis] = fitting[0]
    return places


# --- drawing ------------------------------------------------------------------------------------


def _figure(selection: Selection, array: _Array) -> Figure:
    positions = array.panels[:_MOST_PANELS]
    figure, grid = panels(len(positions), 3, (3.6, 2.8), room=(2.0, 1.0))
    limit = symmetric_limit(array.values)
    for axes, panel in zip(grid, positions, strict=True):
        _draw(axes, array, array.values[panel], limit)
        words = [_place(array, axis, position) for axis, position in zip(array.axes, panel, strict=False)]
        axes.set_title(", ".join(words), loc="left")
    title = f"{selection.results.path.name}: {shorten(array.label, 30)}, {shorten(array.name, 40)}"
    figure.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return figure


def _draw(axes: Axes, array: _Array, values: np.ndarray, limit: float) -> None:
    """One panel: an array of one axis as bars or a line, of two as a few lines or a heat map."""
    label = array.axes[-1]
    if values.ndim == 1:
        _draw_line(axes, array, values, "", is_alone=True)
    elif len(values) <= len(PALETTE) and _is_line(array, values.shape[-1]):
        for position, line in enumerate(values):
            _draw_line(axes, array, line, _place(array, array.axes[-2], position), color=PALETTE[position])
        axes.legend()
    else:
        image = axes.imshow(values, cmap=diverging_map(), vmin=-limit, vmax=limit, aspect="auto")
        axes.figure.colorbar(image, ax=axes)
        axes.set_ylabel(array.axes[-2])
        _name_ticks(axes, array, array.axes[-2], len(values), along="y")
        _name_ticks(axes, array, label, values.shape[-1], along="x")
    axes.set_xlabel(label)


def _is_line(array: _Array, length: int) -> bool:
    coordinates = array.places.get(array.axes[-1])
    return length > _MOST_BARS or (coordinates is not None and coordinates.dtype.kind in "iuf")


def _draw_line(
    axes: Axes, array: _Array, values: np.ndarray, name: str, *, color: str = PALETTE[0], is_alone: bool = False
) -> None:
    if is_alone and not _is_line(array, len(values)):
        axes.bar(np.arange(len(values)), values, color=color)
        _name_ticks(axes, array, array.axes[-1], len(values), along="x")
        return
    coordinates = array.places.get(array.axes[-1])
    if coordinates is None or coordinates.dtype.kind not in "iuf":
        coordinates = np.arange(len(values))
    axes.plot(coordinates, values, color=color, label=name)


def _name_ticks(axes: Axes, array: _Array, axis: str, length: int, *, along: str) -> None:
    if axis in array.places and length <= _MOST_BARS:
        names = [shorten(str(place), 20) for place in array.places[axis]]
        if along == "x":
            axes.set_xticks(range(length), labels=names, rotation=30, ha="right")
        else:
            axes.set_yticks(range(length), labels=names)


def _place(array: _Array, axis: str, position: int) -> str:
    if axis in array.places:
        return str(array.places[axis][position])
    return f"{axis or 'part'} {position}"
