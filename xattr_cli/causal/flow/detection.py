"""What kind of variable each column of the data is: continuous, integer, or a category."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...errors import DataError, JobError
from ..graph.graph import Graph, among
from .units import Categorical, Continuous, Integer, Unit

__all__ = ["find_units"]

MOST_CATEGORIES = 10
"""A column with more distinct values is no category unless somebody says so."""
MOST_STEPS = 256
"""On a finer grid it makes no difference whether a column is integer."""


def find_units(
    graph: Graph, columns: np.ndarray, names: Sequence[str], kinds: Mapping[str, str]
) -> tuple[tuple[Unit, ...], tuple[int, ...]]:
    """The units of every node, in the order of the nodes.

    A node of several columns is one category if they are one-hot: each takes two values, and at most one of
    them its larger value in any row. Otherwise each of its columns is a unit of its own.

    Arguments:
        graph: over the columns.
        columns: (n, D) data.
        names: of the columns.
        kinds: column -> "continuous", "integer" or "categorical", where the data would mislead.

    Returns:
        the units, and the node of each.

    Raises:
        JobError: `kinds` names no column, or an integer kind for a column on no regular grid.
        DataError: a column is constant.
    """
    for name in kinds:
        if name not in names:
            raise JobError(f"flow.kinds: no column is called {name!r}.{among(name, names)}")
    units: list[Unit] = []
    owner: list[int] = []
    for node, held in enumerate(graph.columns):
        block = _one_hot(held, columns) if len(held) > 1 else None
        units_of_node = (
            [block] if block else [_unit(j, columns[:, j], names[j], kinds.get(names[j])) for j in held]
        )
        units += units_of_node
        owner += [node] * len(units_of_node)
    return tuple(units), tuple(owner)


def _unit(column: int, values: np.ndarray, name: str, kind: str | None) -> Unit:
    distinct = np.unique(values)
    if len(distinct) == 1:
        raise DataError(
            f"column {name!r} is {distinct[0]:g} in all {len(values)} rows. A constant has no noise: leave the "
            "column out of the inputs that are explained."
        )
    grid = _grid(distinct) if kind in (None, "integer") else None
    if kind == "categorical" or (kind is None and len(distinct) <= MOST_CATEGORIES):
        return _codes(column, values)
    if kind == "integer" and grid is None:
        raise JobError(f"flow.kinds.{name}: integer, but the values lie on no regular grid.")
    if grid is not None and (kind == "integer" or grid[1] < MOST_STEPS):
        return _integer(column, values, *grid)
    return Continuous((column,), float(values.mean()), float(values.std()))


def _codes(column: int, values: np.ndarray) -> Categorical:
    distinct, counts = np.unique(values, return_counts=True)
    shares = tuple(float(count / len(values)) for count in counts)
    return Categorical((column,), tuple((float(value),) for value in distinct), shares)


def _grid(distinct: np.ndarray) -> tuple[float, int] | None:
    """(step, steps) of the regular grid that sorted values lie on; None if they lie on none."""
    least = np.diff(distinct).min()
    if least < 1e-6 * (distinct[-1] - distinct[0]):
        return None
    steps = np.rint((distinct - distinct[0]) / least)
    step = (distinct[-1] - distinct[0]) / steps[-1]
    # columns are often stored, and scaled, in float32
    on_grid = np.abs(distinct - distinct[0] - step * steps) < 1e-3 * step
    return (float(step), int(steps[-1])) if on_grid.all() else None


def _integer(column: int, values: np.ndarray, step: float, top: int) -> Integer:
    start = float(values.min())
    number = np.rint((values - start) / step)
    deviation = float(np.sqrt(number.var() + 1 / 12))
    return Integer((column,), start, step, top, float(number.mean()) + 0.5, deviation)


def _one_hot(held: Sequence[int], columns: np.ndarray) -> Categorical | None:
    """The category of a one-hot block, in the order in which its columns are listed; None if it is none."""
    block = columns[:, list(held)]
    if any(len(np.unique(block[:, j])) > 2 for j in range(len(held))):
        return None
    levels, counts = np.unique(block, axis=0, return_counts=True)
    hot = levels > levels.min(axis=0)
    if len(levels) < 2 or (hot.sum(axis=1) > 1).any():
        return None
    order = np.argsort(np.where(hot.any(axis=1), hot.argmax(axis=1) + 1, 0))
    return Categorical(
        tuple(held),
        tuple(tuple(map(float, levels[i])) for i in order),
        tuple(float(counts[i] / len(columns)) for i in order),
    )
