"""Effects and indices of a whole dataset as tables: a number and its standard error per feature and target."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ...store.results.reader import EffectResults
from ..drawing.words import number

__all__ = ["IndexTable", "index_tables"]

_ERROR = "_standard_error"
_RANKING = "importance"
_MOST_FEATURES, _MOST_TARGETS = 30, 6


@dataclass(frozen=True)
class IndexTable:
    """What a population engine says about one target, the strongest features first.

    Attributes:
        title: engine and target.
        heads: of the columns.
        lines: name of a feature or node, and its numbers in words.
        others: features that are not listed.
    """

    title: str
    heads: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    others: int


def index_tables(effects: EffectResults) -> Iterator[IndexTable]:
    """A table per target, of every array with a value per feature, or node, and target that has a standard error.

    An engine without such an array is told by its ranking of the features; one without a ranking has no table.
    """
    names = effects.texts("nodes") or effects.texts("features")
    shape = (len(names), len(effects.target_names))
    candidates = [name for name in effects.names if "/" not in name and f"{name}{_ERROR}" in effects] or [_RANKING]
    per_target = [name for name in candidates if name in effects and effects.axes_of(name)[1:] == ("target",)]
    found = {name: effects.values(name) for name in per_target}
    columns = {name: values for name, values in found.items() if values.shape == shape}
    for target, target_name in enumerate(effects.target_names[:_MOST_TARGETS] if columns else ()):
        first = np.abs(next(iter(columns.values()))[:, target])
        order = np.argsort(-np.nan_to_num(first), kind="stable")[:_MOST_FEATURES]
        lines = [
            (names[place], *(_words(effects, name, values, place, target) for name, values in columns.items()))
            for place in order.tolist()
        ]
        title = f"{effects.label}, target {target_name}" if shape[1] > 1 else effects.label
        heads = tuple(name.replace("_", " ") for name in columns)
        yield IndexTable(title, heads, tuple(lines), len(names) - len(lines))


def _words(effects: EffectResults, name: str, values: np.ndarray, place: int, target: int) -> str:
    text = number(float(values[place, target]))
    if f"{name}{_ERROR}" not in effects:
        return text
    return f"{text} ± {number(float(effects.values(f'{name}{_ERROR}')[place, target]))}"
