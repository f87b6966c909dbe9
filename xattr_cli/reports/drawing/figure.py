"""What a kind of figure is: something that draws what it knows of a result file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

from ...registry import Plugin
from ...store.results.engines import EngineResults
from ...store.results.reader import EffectResults
from .selection import Animation, Document, Drawing, Nothing, Selection

__all__ = ["FigureKind"]


class FigureKind(Plugin, ABC):
    """A kind of figure, named by `xattr-cli plot --kind`; its options, if any, have defaults.

    Example:
        >>> from matplotlib.figure import Figure
        >>> class Scores(FigureKind):
        ...     '''How the scores of all rows are distributed.'''
        ...
        ...     def draw(self, selection):
        ...         for engine in selection.engines:
        ...             figure = Figure()
        ...             figure.subplots().hist(engine.score_input)
        ...             yield Drawing(f"scores-{engine.label}", figure)
    """

    def knows(self, values: EngineResults | EffectResults) -> tuple[str, ...]:
        """Names of an engine's values that this figure speaks for; `*` stands for any characters.

        What no figure speaks for gets the figure `values`.
        """
        return ()

    @abstractmethod
    def draw(self, selection: Selection) -> Iterator[Drawing | Animation | Document | Nothing]:
        """Finished figures, and why there are none where the file has nothing for this kind.

        Arguments:
            selection: the open file with the engines and rows that are asked for.
        """
