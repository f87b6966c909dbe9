"""The matrix of one row as it is drawn: with names or tokens along it, and without what is padding."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...store.results.engines import EngineResults
from ...store.results.interactions import InteractionResults
from ...store.results.reader import Results
from .pairs import matrix_errors, pair_errors, pair_sums

__all__ = ["RowMatrix", "row_matrix"]

_STEP_KINDS = ("tokens", "time")


@dataclass(frozen=True)
class RowMatrix:
    """Interactions of one row.

    Attributes:
        values: (rows, columns), Γ.
        errors: of what `strongest` gives.
        rows, columns: names.
        is_square: whether rows and columns are the same groups.
    """

    values: np.ndarray
    errors: np.ndarray
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    is_square: bool

    @property
    def pairs(self) -> np.ndarray:
        """(n, 2) entries that stand for two different groups, each pair once."""
        if self.is_square:
            return np.stack(np.triu_indices(len(self.values), 1), axis=1)
        return np.argwhere(np.array(self.rows)[:, None] != np.array(self.columns)[None, :])

    @property
    def off_diagonal(self) -> np.ndarray:
        """(entries,) those that stand for two different groups."""
        first, second = self.pairs.T
        return np.asarray(self.values[first, second])

    def strongest(self, count: int) -> list[tuple[tuple[str, str], float, float]]:
        """Names, interaction and error of the strongest pairs; both halves of a square matrix together."""
        sums = pair_sums(self.values[None])[0] if self.is_square else self.values
        first, second = self.pairs.T
        order = np.argsort(-np.abs(sums[first, second]), kind="stable")[:count]
        order = order[sums[first, second][order] != 0]
        return [
            ((self.rows[i], self.columns[j]), float(sums[i, j]), float(np.nan_to_num(self.errors[i, j])))
            for i, j in zip(first[order], second[order], strict=True)
        ]


def row_matrix(results: Results, engine: EngineResults, interactions: InteractionResults, row: int) -> RowMatrix:
    """What there is to draw of one row."""
    values = interactions.matrix([row]).astype(np.float64)
    errors = (pair_errors if interactions.is_square else matrix_errors)(engine, [row], values)[0]
    rows, columns = interactions.rows(row), interactions.columns(row)
    steps = _shown(results, engine, interactions, row) if interactions.is_square else {}
    if not steps:
        return RowMatrix(values[0], errors, rows, columns, interactions.is_square)
    others = range(len(interactions.groups), len(columns))  # the rest
    keep = np.array([*steps, *others])
    names = (*steps.values(), *(columns[i] for i in others))
    cut = np.ix_(keep, keep)
    return RowMatrix(values[0][cut], errors[cut], names, names, True)


def _shown(results: Results, engine: EngineResults, interactions: InteractionResults, row: int) -> dict[int, str]:
    """Number of each group that the row has -> its name; empty if all groups are shown under their own names."""
    segments = interactions.segments(row)
    if segments is None:
        return _steps(results, engine, interactions, row)
    return {} if engine.options.get("top") else {int(k): interactions.groups[k] for k in np.unique(segments)}


def _steps(results: Results, engine: EngineResults, interactions: InteractionResults, row: int) -> dict[int, str]:
    """Number of each real step -> what it is called; empty if the groups are no steps of a sample in the file."""
    sample, options = int(results.rows.sample[row]), engine.options
    tensors = [results.inputs[name] for name in engine.tensors if name in results.inputs]
    is_plain = options.get("groups") in _STEP_KINDS and not options.get("features") and not options.get("top")
    if len(tensors) != 1 or not is_plain or sample not in results.stored:
        return {}
    real = tensors[0].real([sample])
    steps = range(len(interactions.groups)) if real is None else np.flatnonzero(real[0]).tolist()
    texts = tensors[0].tokens(sample) or tuple(interactions.groups[step] for step in steps)
    return dict(zip(steps, texts, strict=False))
