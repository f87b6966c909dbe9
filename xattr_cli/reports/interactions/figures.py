"""Interactions: strongest pairs over all rows, matrices row by row, and what values have to do with them."""

from __future__ import annotations

from collections.abc import Iterator

from ...registry import FIGURES
from ...store.results.engines import EngineResults
from ...store.results.reader import EffectResults
from ..drawing.figure import FigureKind
from ..drawing.selection import Drawing, Nothing, Selection, paged
from . import dependence
from . import overview as interaction_overview
from .sheet import InteractionSheet

__all__ = ["Interactions"]

_ROWS_PER_PAGE = 6


@FIGURES.register("interactions")
class Interactions(FigureKind):
    """Figures of every engine that leaves interactions."""

    def knows(self, values: EngineResults | EffectResults) -> tuple[str, ...]:
        return ("*",) if isinstance(values, EngineResults) and values.interactions else ()

    def draw(self, selection: Selection) -> Iterator[Drawing | Nothing]:
        with_interactions = [(engine, engine.interactions) for engine in selection.engines]
        if not any(interactions for _, interactions in with_interactions):
            yield Nothing("no engine leaves interactions; integrated_hessians and expected_hessians do")
        for engine, interactions in with_interactions:
            if interactions is None:
                continue
            yield from interaction_overview.draw(selection.results, engine, interactions)
            for stem, rows in paged(f"interaction-rows-{engine.label}", selection.rows, _ROWS_PER_PAGE):
                yield Drawing(stem, InteractionSheet(selection.results, engine, interactions, rows).draw())
            yield from dependence.draw(selection.results, engine, interactions)
