"""Interactions: strongest pairs over all rows, matrices row by row, and what values have to do with them."""

from __future__ import annotations

from collections.abc import Iterator

from ..drawing.selection import Drawing, Nothing, Selection
from . import dependence
from . import overview as interaction_overview
from .sheet import InteractionSheet

__all__ = ["draw"]

_ROWS_PER_PAGE = 6


def draw(selection: Selection) -> Iterator[Drawing | Nothing]:
    """Figures of every engine that leaves interactions."""
    found = [(engine, engine.interactions) for engine in selection.engines]
    if not any(interactions for _, interactions in found):
        yield Nothing("no engine leaves interactions; integrated_hessians and expected_hessians do")
    for engine, interactions in found:
        if interactions is None:
            continue
        yield from interaction_overview.draw(selection.results, engine, interactions)
        starts = range(0, len(selection.rows), _ROWS_PER_PAGE)
        for page, start in enumerate(starts, start=1):
            rows = selection.rows[start : start + _ROWS_PER_PAGE].tolist()
            figure = InteractionSheet(selection.results, engine, interactions, rows).draw()
            stem = f"interaction-rows-{engine.label}"
            yield Drawing(stem if len(starts) == 1 else f"{stem}-{page}", figure)
        yield from dependence.draw(selection.results, engine, interactions)
