"""What is known of every row in one number or word each: columns to sort, to filter, and to choose rows by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import combinations
from math import prod

import numpy as np

from ...errors import JobError, suggestion
from ...samples import Status
from ...store.results.engines import EngineResults
from ...store.results.reader import Results

__all__ = ["STATUS_WORDS", "RowFacts", "agreement"]

STATUS_WORDS: dict[int, str] = {
    Status.NOT_JUDGED: "not judged",
    Status.CONVERGED: "converged",
    Status.NOT_CONVERGED: "not converged",
    Status.QUARANTINED: "quarantined",
    Status.INCONSISTENT: "inconsistent",
}
"""Status → its word, from what says least to the worst: of several engines, the last counts."""
_WORST = list(STATUS_WORDS)
_MOST_RANKED = 4096  # features of a map, evenly spread, whose ranks are compared


class RowFacts:
    """The columns of a file's rows, each read or computed when it is first asked for.

    Arguments:
        results: an open file.
        engines: that are shown; errors, status and agreement speak of them.
    """

    def __init__(self, results: Results, engines: tuple[EngineResults, ...]) -> None:
        self.results = results
        self.engines = engines
        self._columns: dict[str, Callable[[], np.ndarray]] = {
            "row": lambda: results.rows.id,
            "sample": lambda: results.rows.sample,
            "key": self._keys,
            "label": lambda: self._classes(results.rows.label, results.rows.has_label),
            "predicted": lambda: self._classes(results.rows.prediction, results.rows.prediction >= 0),
            "target": lambda: results.outputs if len(results.outputs) else self._classes(results.rows.target),
            "correct": self._correct,
            "score": lambda: self.score,
            "error": lambda: self.error,
            "gap": lambda: self._largest("relative_gap"),
            "evaluations": lambda: self._sum("evaluations"),
            "status": lambda: np.array([STATUS_WORDS[int(code)] for code in self.status], object),
            "agreement": lambda: self.agreement,
        }
        for engine in engines:
            self._columns[f"error.{engine.label}"] = self._reader(engine, "relative_error")
            self._columns[f"score.{engine.label}"] = self._reader(engine, "score_input")

    def __len__(self) -> int:
        return len(self.results.rows)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all columns."""
        return tuple(self._columns)

    def column(self, name: str) -> np.ndarray:
        """(rows,) numbers, NaN where unknown; or words as objects, '' where unknown.

        Raises:
            JobError: there is no such column.
        """
        if name not in self._columns:
            raise JobError(f"{self.results.path}: no column {name!r} of rows.{suggestion(name, self.names)}")
        return self._columns[name]()

    @cached_property
    def score(self) -> np.ndarray:
        """(rows,) score of the input, of the first engine with a finite one; NaN if none has."""
        return self._first_finite([engine.score_input for engine in self.engines])

    @cached_property
    def error(self) -> np.ndarray:
        """(rows,) largest reported relative error of the engines that report one; NaN if none does."""
        return self._largest("relative_error")

    @cached_property
    def status(self) -> np.ndarray:
        """(rows,) int, the worst status of the engines."""
        worst = np.zeros(len(self), np.int64)
        for engine in self.engines:
            worst = np.maximum(worst, np.array([_WORST.index(int(code)) for code in engine.status], np.int64))
        return np.array(_WORST, np.int64)[worst]

    @cached_property
    def agreement(self) -> np.ndarray:
        """(rows,) agreement of the maps of all engines; NaN with less than two."""
        return agreement([(engine, np.arange(len(self))) for engine in self.engines])

    def _reader(self, engine: EngineResults, name: str) -> Callable[[], np.ndarray]:
        return lambda: np.asarray(getattr(engine, name), np.float64)

    def _first_finite(self, candidates: list[np.ndarray]) -> np.ndarray:
        first = np.full(len(self), np.nan)
        for values in reversed(candidates):
            first = np.where(np.isfinite(values), values, first)
        return first

    def _largest(self, name: str) -> np.ndarray:
        largest = np.full(len(self), np.nan)
        for engine in self.engines:
            largest = np.fmax(largest, getattr(engine, name))
        return largest

    def _sum(self, name: str) -> np.ndarray:
        return sum((getattr(engine, name) for engine in self.engines), np.zeros(len(self), np.int64))

    def _keys(self) -> np.ndarray:
        keys = self.results.keys
        return np.array([keys.get(int(sample), "") for sample in self.results.rows.sample], object)

    def _classes(self, values: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
        """Names of classes; values of a regression stay numbers."""
        if np.issubdtype(values.dtype, np.floating):
            return values
        names = np.array([self.results.class_name(int(value)) for value in values], object)
        return names if known is None else np.where(known, names, "")

    def _correct(self) -> np.ndarray:
        rows = self.results.rows
        if rows.is_regression or np.issubdtype(rows.label.dtype, np.floating):
            return np.full(len(self), "", object)
        words = np.where(rows.label == rows.prediction, "yes", "no").astype(object)
        return np.where(rows.has_label, words, "")


def agreement(parts: Sequence[tuple[EngineResults, np.ndarray]]) -> np.ndarray:
    """(n,) how alike engines rank the features: the lowest Spearman correlation of |map| over all pairs.

    Sizes are compared, not signs: some engines leave none. Only engines that explain the same tensors make a
    pair; NaN where there is none, or a map is quarantined or the same everywhere. Of more than 4,096 features,
    as many evenly spread ones are compared.

    Arguments:
        parts: engines, of one file or several, and for each the positions (n,) of the rows to compare; -1
            where it has none.
    """
    ranks = [(engine.tensors, _ranks(engine, rows)) for engine, rows in parts if engine.tensors]
    lowest = np.full(len(parts[0][1]) if parts else 0, np.nan)
    for (tensors, first), (others, second) in combinations(ranks, 2):
        if tensors == others:
            lowest = np.fmin(lowest, (first * second).sum(axis=1))
    return lowest


def _ranks(engine: EngineResults, rows: np.ndarray) -> np.ndarray:
    """(n, features) ranks of |map|, centred and of length 1, ties at their mean; NaN where there is no map."""
    size = sum(prod(shape) for shape in engine.tensors.values())
    step = -(-size // _MOST_RANKED)
    standardised = np.full((len(rows), -(-size // step)), np.nan)
    for place, row in enumerate(rows.tolist()):  # one at a time: maps may be large
        if row < 0:
            continue
        maps = [np.abs(engine.attribution([row], name)[0]).ravel() for name in engine.tensors]
        values = np.concatenate(maps)[::step]
        _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
        ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
        if np.isfinite(values).all() and len(counts) > 1:
            standardised[place] = (ranks - ranks.mean()) / np.linalg.norm(ranks - ranks.mean())
    return standardised
